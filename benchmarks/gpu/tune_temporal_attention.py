"""Tune the temporal_attention kernels for a GPU; writes their `configs.json`.

    python -m benchmarks.gpu.tune_temporal_attention --measure [--quick] [--seconds N]
    python -m benchmarks.gpu.tune_temporal_attention --static                # needs no GPU

--measure times the candidates on this machine's GPU and takes the fastest that is correct and does
not spill: about two seconds per candidate, mostly compilation. --quick tunes the presets' default
window only. --seconds divides a time between the classes of shapes; each takes the fastest
candidate tried in its part. A class without a usable candidate keeps its entry. The table is
replaced atomically after each class.

--static ranks the candidates for the RTX GPUs by a model. It compiles each one and drops those that
spill. These kernels are bound by memory latency, so it takes the candidate with most bytes of keys
and values in flight (programs per multiprocessor times prefetched bytes), up to IN_FLIGHT; then the
larger blocks, then the fewer registers. Such entries are marked as not measured.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.harness import measure
from benchmarks.report.gpus import GPUS
from benchmarks.static import compile as ahead_of_time
from benchmarks.static.occupancy import occupancy
from lift.kernels.ops.temporal_attention import configs, triton_arguments, triton_launch
from lift.kernels.ops.temporal_attention.configs import ShapeClass
from lift.kernels.ops.temporal_attention.op import TEMPORAL_ATTENTION
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference

# What the presets train and infer with: one query frame, 32 channels per head, 16 bits; and the
# windows of 1 of the ablations.
CLASSES = [
    ShapeClass(f"{family}_{direction}", positions, "one", 32, 16)
    for family, positions in (("window", 64), ("window", 16), ("small_window", 1))
    for direction in ("fwd", "bwd")
]
# Compute capability by series: "RTX 40" is 89.
ARCHITECTURES = {gpu.name[:6]: gpu.architecture for gpu in GPUS if gpu.name.startswith("RTX")}
LAST = 5.0  # seconds reserved for a candidate that has started in time
# Bytes per multiprocessor: 1.8 TB/s over 170 multiprocessors for 3 us, above any latency.
IN_FLIGHT = 32 << 10


def candidates(shape: ShapeClass) -> Iterator[dict[str, int]]:
    """Configs to try, the default first."""
    default = configs.default(shape)
    yield default
    if shape.is_small_window:
        others = [
            {"VALUES": values, "num_warps": warps}
            for values, warps in itertools.product((1024, 2048, 4096), (4, 8))
        ]
    else:
        others = [
            {"BN": BN, "num_warps": default["num_warps"], "num_stages": stages}
            for BN, stages in itertools.product((16, 32, 64), (2, 3, 4))
            if BN <= shape.positions
        ]
    yield from (found for found in others if found != default)


def window(shape: ShapeClass) -> int:
    return {1: 1, 4: 2, 16: 4, 64: 8}[shape.positions]


# -- without a GPU ---------------------------------------------------------------------------------


def static(shape: ShapeClass, architecture: int) -> dict[str, int]:
    """The config of the static model; the default if every candidate spills."""
    ranked = []
    for change in candidates(shape):
        found = ahead_of_time.compile_for(architecture, *launch_of(shape, change))
        held = occupancy(architecture, found.registers, found.shared, change["num_warps"]).blocks
        if not found.local and held:
            size = change.get("VALUES") or change["BN"] * shape.d
            prefetched = 2 * size * shape.bits // 8 * (change.get("num_stages", 2) - 1)
            ranked.append((min(held * prefetched, IN_FLIGHT), size, -found.registers, change))
    return max(ranked, key=lambda x: x[:3])[-1] if ranked else configs.default(shape)


def launch_of(shape: ShapeClass, change: dict[str, int]) -> tuple:
    """The kernel and the arguments of a launch with this config."""
    dtype = torch.float16 if shape.bits == 16 else torch.float32
    Tq = 1 if shape.frames == "one" else 15
    with overridden(shape, change):
        found = triton_launch.launches_of("", dtype, Tq, window(shape), shape.d, True)
    return next((kernel, arguments) for one, _, kernel, arguments in found if one == shape)


@contextmanager
def overridden(shape: ShapeClass, change: dict[str, int]) -> Iterator[None]:
    """Inside, this class has another config and all others their defaults."""
    before = configs.config
    configs.config = lambda one, gpu=None: change if one == shape else configs.default(one)
    try:
        yield
    finally:
        configs.config = before


# -- with one --------------------------------------------------------------------------------------


def measured(
    shape: ShapeClass,
    rounds: int = 25,
    seconds: float | None = None,
) -> tuple[dict[str, int] | None, dict[str, float], dict[str, str]]:
    """Measure the candidates on this machine's GPU.

    Args:
        shape: class of shapes.
        rounds: timings per candidate.
        seconds: time in which candidates may start, the first in any case; None: no limit.

    Returns:
        The fastest config (None if none is usable), median seconds of the usable candidates, and
        the reason of each other one.
    """
    until = None if seconds is None else time.monotonic() + seconds
    # 1080p at 1/16; 720p at 1/8 for small windows.
    B, T, H, W, heads = (1, 15, 68, 120, 8) if shape.positions > 4 else (1, 15, 90, 160, 8)
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
    if side == 1:  # its window_bias has no gradient to compare
        tables = tables[:1]

    attention = TEMPORAL_ATTENTION.bind("lift_triton")

    def variant(change: dict[str, int]) -> measure.Variant:
        def call(*inputs):
            with overridden(shape, change):
                return attention(*inputs[:3], side, 0, *inputs[3:])[0]

        return measure.Variant(json.dumps(change), call)

    fitting, why = [], {}
    for change in candidates(shape):
        # The second half of the time is for compiling and timing those that do not spill.
        if fitting and until is not None and time.monotonic() > until - seconds / 2:
            why[json.dumps(change)] = measure.LATE
            continue
        spilled = ahead_of_time.compile_for(architecture, *launch_of(shape, change)).local
        if spilled:
            why[json.dumps(change)] = f"spills {spilled} bytes per thread"
        else:
            fitting.append(change)
    found = measure.compare(
        [variant(change) for change in fitting],
        lambda *inputs: temporal_attention_reference(*inputs[:3], side, 0, *inputs[3:])[0],
        (q, k, v, *tables),
        backward="bwd" in shape.kernel,
        rounds=rounds,
        until=until,
    )
    why |= {name: x.failure for name, x in found.items() if x.failure is not None}
    times = {name: x.median for name, x in found.items() if x.failure is None}
    return json.loads(min(times, key=times.get)) if times else None, times, why


# -- the table -------------------------------------------------------------------------------------


def write(table: Path, gpu: str, source: str, chosen: dict[ShapeClass, dict[str, int]]) -> None:
    """Replace the entries of these classes for a GPU, atomically."""
    gpus = json.loads(table.read_text()) if table.exists() else {}
    kept = [
        entry
        for entry in gpus.get(gpu, {}).get("entries", [])
        if entry["class"] not in map(str, chosen)
    ]
    entries = kept + [
        {"class": str(shape), "config": found, "source": source} for shape, found in chosen.items()
    ]
    gpus[gpu] = {"entries": sorted(entries, key=lambda entry: entry["class"])}
    part = table.with_name(f".{table.name}.{os.getpid()}")
    part.write_text(json.dumps(dict(sorted(gpus.items())), indent=1) + "\n")
    part.replace(table)
    configs._table.cache_clear()
    triton_arguments.blocks_of_class.cache_clear()


def main(argv: list[str] | None = None) -> int:
    """Write the table; return 1 if a class has no usable config."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.tune_temporal_attention",
        description="Tune the temporal_attention kernels.",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--measure", action="store_true", help="time every candidate on this machine's GPU"
    )
    way.add_argument(
        "--static",
        action="store_true",
        help="rank the candidates for the RTX GPUs by a model; needs no GPU",
    )
    parser.add_argument(
        "--quick", action="store_true", help="only the classes of the presets' default window"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="with --measure: end in time, with the best found so far (default: try all)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        default=configs.TABLE,
        help="file to extend (default: the one that the kernels read)",
    )
    arguments = parser.parse_args(argv)
    classes = CLASSES[:2] if arguments.quick else CLASSES
    if arguments.measure:
        if not torch.cuda.is_available():
            parser.error("torch finds no GPU; --static needs none")
        return _measure(arguments.table, classes, arguments.seconds)
    for series, architecture in ARCHITECTURES.items():
        chosen = {shape: static(shape, architecture) for shape in classes}
        for shape, found in chosen.items():
            print(f"sm_{architecture} {dataclasses.asdict(shape)}: {found}", flush=True)
        for gpu in GPUS:
            if gpu.name.startswith(series):
                write(arguments.table, gpu.reported, "static model, not measured", chosen)
    return 0


def _measure(table: Path, classes: list[ShapeClass], seconds: float | None) -> int:
    gpu, missing = torch.cuda.get_device_name(), 0
    end = None if seconds is None else time.monotonic() + seconds - LAST
    for i, shape in enumerate(classes):
        share = None if end is None else (end - time.monotonic()) / (len(classes) - i)
        if share is not None and share <= 0:
            print(f"{shape}: skipped, {measure.LATE}", flush=True)
            continue
        config, times, why = measured(shape, seconds=share)
        for name, reason in why.items():
            print(f"{shape}: not {name}: {reason}", file=sys.stderr)
        if config is None:
            missing += 1
            print(f"{shape}: no usable candidate; its entry stays")
            continue
        default = times.get(json.dumps(configs.default(shape)))
        compared = "the default fails" if default is None else f"default {default * 1e6:.0f} us"
        fastest, slowest = (pick(times.values()) * 1e6 for pick in (min, max))
        print(
            f"{shape}: {config}, {fastest:.0f} us ({compared}, slowest {slowest:.0f} us)",
            flush=True,
        )
        write(
            table,
            gpu,
            f"measured {datetime.date.today()}, torch {torch.__version__}",
            {shape: config},
        )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
