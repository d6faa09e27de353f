"""Find settings of the attention kernels for a card and write them into
`kernels/ops/temporal_attention/configs.json`.

    python -m benchmarks.gpu.tune_attention --measure [--quick] [--seconds N]     # on the machine's
    GPU
    python -m benchmarks.gpu.tune_attention --static     # by a static model of the RTX cards; no
    GPU

Measuring takes the fastest of those that are right and do not spill, some two seconds a candidate,
most of it compiling; --quick leaves out all but the presets' default window. With --seconds every
class has its share of that time, and gets the fastest of the candidates that were tried in it. A
class of which no candidate can be taken keeps what it has. The table is replaced after each class,
whole or not at all.

The static model compiles every candidate for the card's architecture and leaves out what spills.
These kernels wait for memory, so of the rest it takes what keeps most bytes of keys and values on
their way (programs that a multiprocessor holds, times what each has asked for ahead), counted up to
IN_FLIGHT; among equals the larger blocks, then the fewer registers. Its entries say that they are
not measured.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.harness import measure
from benchmarks.report.gpus import CARDS
from benchmarks.static import compile as ahead_of_time
from benchmarks.static.occupancy import occupancy
from lift.kernels.ops.temporal_attention import configs as tuning
from lift.kernels.ops.temporal_attention import triton_launch as attention
from lift.kernels.ops.temporal_attention.configs import ShapeClass
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference

# What the presets train and infer with: one query frame, 32 channels a head, 16 bits; the
# ablations' windows of 1 beside them.
CLASSES = [
    ShapeClass(f"{family}_{direction}", places, "one", 32, 16)
    for family, places in (("window", 64), ("window", 16), ("location", 1))
    for direction in ("forward", "backward")
]
ARCHITECTURES = {"RTX 30": 86, "RTX 40": 89, "RTX 50": 120}
BEGUN = 5.0  # seconds that a candidate may take that was begun in time
IN_FLIGHT = (
    32 << 10
)  # bytes a multiprocessor: 1.8 TB/s over 170 of them for 3 us, above any latency


def candidates(shape: ShapeClass) -> Iterator[dict[str, int]]:
    """Settings that are worth a try, the default first."""
    default = tuning.default(shape)
    yield default
    if shape.kernel.startswith("location"):
        others = [
            {"VALUES": values, "num_warps": warps}
            for values, warps in itertools.product((1024, 2048, 4096), (4, 8))
        ]
    else:
        others = [
            {"BN": BN, "num_warps": default["num_warps"], "num_stages": stages}
            for BN, stages in itertools.product((16, 32, 64), (2, 3, 4))
            if BN <= shape.places
        ]
    yield from (found for found in others if found != default)


def window(shape: ShapeClass) -> int:
    return {1: 1, 4: 2, 16: 4, 64: 8}[shape.places]


# -- without a GPU ---------------------------------------------------------------------------------


def static(shape: ShapeClass, architecture: int) -> dict[str, int]:
    """What the static model takes; the default where every candidate spills."""
    ranked = []
    for change in candidates(shape):
        kernel, arguments, keywords = launch_of(shape, change)
        found = ahead_of_time.compile_for(architecture, kernel, arguments, keywords)
        held = occupancy(architecture, found.registers, found.shared, change["num_warps"]).blocks
        if not found.local and held:
            size = change.get("VALUES") or change["BN"] * shape.d
            ahead = (
                2 * size * shape.bits // 8 * (change.get("num_stages", 2) - 1)
            )  # keys and values
            ranked.append((min(held * ahead, IN_FLIGHT), size, -found.registers, change))
    return max(ranked, key=lambda x: x[:3])[-1] if ranked else tuning.default(shape)


def launch_of(shape: ShapeClass, change: dict[str, int]) -> tuple:
    """The kernel, arguments and keywords of a launch with these settings."""
    dtype = torch.float16 if shape.bits == 16 else torch.float32
    with settings(lambda s: change if s == shape else tuning.default(s)):
        found = attention._specialisation(
            "", dtype, 1 if shape.frames == "one" else 15, window(shape), shape.d, True
        )
    return next(launch for _, *launch in found if launch[0].__name__ == shape.kernel)


class settings:
    """Make the kernels take other settings inside the `with` block."""

    def __init__(self, chosen: Callable[[ShapeClass], dict[str, int]]):
        self.chosen, self.before = chosen, tuning.settings

    def __enter__(self):
        tuning.settings = lambda shape, card=None: self.chosen(shape)

    def __exit__(self, *error):
        tuning.settings = self.before


# -- with one --------------------------------------------------------------------------------------


def measured(
    shape: ShapeClass,
    rounds: int = 25,
    seconds: float | None = None,
) -> tuple[dict[str, int] | None, dict[str, float], dict[str, str]]:
    """The fastest settings on the machine's GPU (None where none can be taken), the median seconds
    of every candidate that can, and why the others cannot.

    Args:
        rounds: timings of each candidate.
        seconds: in which candidates are begun, the first in any case; None for as long as all take.
    """
    until = None if seconds is None else time.monotonic() + seconds
    B, T, H, W, heads = (
        (1, 15, 68, 120, 8) if shape.places > 4 else (1, 15, 90, 160, 8)
    )  # 1080p at 1/16; 720p at 1/8 for locations
    side, dtype = window(shape), torch.bfloat16 if shape.bits == 16 else torch.float32
    architecture = (
        10 * torch.cuda.get_device_capability()[0] + torch.cuda.get_device_capability()[1]
    )
    if architecture < 80 and shape.bits == 16:
        dtype = torch.float16
    q, k, v = (
        torch.randn(B, t, H, W, heads, shape.d, device="cuda", dtype=dtype)
        for t in (1 if shape.frames == "one" else T, T, T)
    )
    tables = [
        torch.randn(B, heads, q.shape[1], T, device="cuda"),
        torch.randn(heads, 2 * side - 1, 2 * side - 1, device="cuda"),
    ]
    tables = (
        tables[:1] if side == 1 else tables
    )  # a window of 1 has no gradient for its bias to compare

    def variant(change: dict[str, int]) -> measure.Variant:
        def call(*inputs):
            with settings(lambda s: change if s == shape else tuning.default(s)):
                return attention.temporal_attention(*inputs[:3], side, 0, *inputs[3:])[0]

        return measure.Variant(json.dumps(change), call)

    fitting, why = [], {}
    for change in candidates(shape):
        # Half of the time is for compiling what is timed, and for timing it.
        if fitting and until is not None and time.monotonic() > until - seconds / 2:
            why[json.dumps(change)] = measure.LATE
            continue
        spilled = ahead_of_time.compile_for(architecture, *launch_of(shape, change)).local
        if spilled:
            why[json.dumps(change)] = f"spills {spilled} bytes a thread"
        else:
            fitting.append(change)
    found = measure.compare(
        [variant(change) for change in fitting],
        lambda *inputs: temporal_attention_reference(*inputs[:3], side, 0, *inputs[3:])[0],
        (q, k, v, *tables),
        backward="backward" in shape.kernel,
        rounds=rounds,
        until=until,
    )
    why |= {name: x.failure for name, x in found.items() if x.failure is not None}
    times = {name: x.median for name, x in found.items() if x.failure is None}
    return json.loads(min(times, key=times.get)) if times else None, times, why


# -- the table -------------------------------------------------------------------------------------


def write(table: Path, card: str, source: str, chosen: dict[ShapeClass, dict[str, int]]) -> None:
    """Replace a card's entries of these classes in a table; a file that is killed at any moment is
    whole.
    """
    cards = json.loads(table.read_text()) if table.exists() else {}
    kept = [
        entry
        for entry in cards.get(card, {}).get("entries", [])
        if entry["class"] not in map(str, chosen)
    ]
    entries = kept + [
        {"class": str(shape), "settings": found, "source": source}
        for shape, found in chosen.items()
    ]
    cards[card] = {"entries": sorted(entries, key=lambda entry: entry["class"])}
    beside = table.with_name(f".{table.name}.{os.getpid()}")
    beside.write_text(json.dumps(dict(sorted(cards.items())), indent=1) + "\n")
    beside.replace(table)
    tuning._table.cache_clear()


def main(argv: list[str] | None = None) -> int:
    """Fill the table; return 1 where a class has no settings that can be taken."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.tune_attention",
        description="Find settings of the attention kernels.",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--measure", action="store_true", help="time every candidate on this machine's GPU"
    )
    way.add_argument(
        "--static",
        action="store_true",
        help="take what a static model expects of the RTX cards; needs no GPU",
    )
    parser.add_argument(
        "--quick", action="store_true", help="only the classes of the presets' default window"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="with --measure: end by then, with the best found so far (default: try all)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        default=tuning.TABLE,
        help="the file to extend (default: the one that the kernels read)",
    )
    arguments = parser.parse_args(argv)
    classes = CLASSES[:2] if arguments.quick else CLASSES
    if arguments.measure:
        if not torch.cuda.is_available():
            parser.error("torch finds no GPU to measure; --static needs none")
        return _measure(arguments.table, classes, arguments.seconds)
    for series, architecture in ARCHITECTURES.items():
        chosen = {shape: static(shape, architecture) for shape in classes}
        for shape, found in chosen.items():
            print(f"sm_{architecture} {dataclasses.asdict(shape)}: {found}", flush=True)
        for card in CARDS:
            if card.name.startswith(series):
                write(arguments.table, card.reported, "static model, not measured", chosen)
    return 0


def _measure(table: Path, classes: list[ShapeClass], seconds: float | None) -> int:
    card, missing = torch.cuda.get_device_name(), 0
    end = None if seconds is None else time.monotonic() + seconds - BEGUN
    for i, shape in enumerate(classes):
        share = None if end is None else (end - time.monotonic()) / (len(classes) - i)
        if share is not None and share <= 0:
            print(f"{shape}: left out, {measure.LATE}", flush=True)
            continue
        settings, times, why = measured(shape, seconds=share)
        for name, reason in why.items():
            print(f"{shape}: not {name}: {reason}", file=sys.stderr)
        if settings is None:
            missing += 1
            print(f"{shape}: no candidate can be taken; it keeps what it has")
            continue
        default = times.get(json.dumps(tuning.default(shape)))
        beside = (
            "which the default cannot do" if default is None else f"default {default * 1e6:.0f} us"
        )
        print(
            f"{shape}: {settings}, {min(times.values()) * 1e6:.0f} us ({beside}, slowest {max(times.values()) * 1e6:.0f} us)",
            flush=True,
        )
        write(
            table,
            card,
            f"measured {datetime.date.today()}, torch {torch.__version__}",
            {shape: settings},
        )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
