"""`lift bench --count`: launches, bytes and FLOPs of a frame and of a training step, without a GPU.

    python -m benchmarks.count [--record]

`--record` writes the counts into `results/cost.json`; a test tells when they have changed.
"""

import argparse
import json
import sys
from dataclasses import dataclass

import torch

from benchmarks.harness.table import aligned
from benchmarks.report.results import RESULTS
from lift.config import PRESETS, Config, DataConfig, TrainConfig
from lift.profiling import launches

RECORD = RESULTS / "cost.json"


@dataclass(frozen=True)
class Case:
    """A computation that is counted.

    Attributes:
        kind: "frame", generated with fifteen frames of context, or "step", of training.
        preset: of the model.
        height, width: of the frames or of a crop, pixels.
        dtype: of autocast.
    """

    kind: str
    preset: str
    height: int
    width: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.kind} {self.preset} {self.width}x{self.height} {self.dtype}"


CASES = (
    Case("frame", "base", 1080, 1920, "bfloat16"),
    Case("frame", "tiny", 1080, 1920, "float16"),
    Case("frame", "tiny", 720, 1280, "float16"),
    Case("step", "base", 256, 256, "bfloat16"),
)
BATCH = 4  # of a step


def count(case: Case) -> launches.Cost:
    """The cost of a case."""
    model, dtype = PRESETS[case.preset](), getattr(torch, case.dtype)
    if case.kind == "frame":
        return launches.frame(model, case.height, case.width, 15, dtype)
    data = DataConfig(crop_height=case.height, crop_width=case.width)
    return launches.training_step(Config(model, data, TrainConfig(batch_size=BATCH)), dtype)


def row(case: Case, cost: launches.Cost) -> dict:
    """A case and its cost, for JSON: part, op, launches, bytes and FLOPs of each op of a part."""
    keys = sorted(cost.launches, key=lambda key: -cost.bytes[key])
    counters = cost.launches, cost.bytes, cost.flops
    return {"case": str(case), "ops": [[*key, *(int(c[key]) for c in counters)] for key in keys]}


def table(case: Case, cost: launches.Cost) -> list[str]:
    """The parts of a case, then its ops, for a terminal."""
    total = {"all": cost.totals}
    groups = ((str(case), cost.by_part() | total), ("", cost.by_op()))
    lines = []
    for title, group in groups:
        body = [
            (name, str(n), f"{size / 1e9:.3f}", f"{flops / 1e9:.1f}")
            for name, (n, size, flops) in group.items()
        ]
        lines += [*aligned([(title, "launches", "GB", "GFLOP"), *body]), ""]
    return lines


def main(argv: list[str] | None = None) -> int:
    """Print the tables; with --record write the counts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.count",
        description="Count launches, bytes and FLOPs of a frame and of a training step.",
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name} too")
    arguments = parser.parse_args(argv)
    rows = []
    for case in CASES:
        cost = count(case)
        print("\n".join(table(case, cost)), flush=True)
        rows.append(row(case, cost))
    if arguments.record:
        text = json.dumps(rows, indent=1).replace("\n    ", " ").replace("\n   ]", "]")
        RECORD.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
