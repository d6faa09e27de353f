"""Launches and bytes of a frame on a GPU as torch.compile makes them, without a GPU.

    python -m benchmarks.compiled [--record]

Plain PyTorch and the fused kernels, each as it is and compiled as `lift interpolate --compile`
does: four graphs, for a new frame, a pair, its motion, and the generated frame. How kernels are
counted: `harness/inductor.py` for what is compiled, `lift/profiling/launches.py` for the rest.
`--record` writes `results/compiled.json`, for docs/cost.md.
"""

import argparse
import json
import sys
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.count import Case
from benchmarks.harness import inductor
from benchmarks.report import cost
from lift import kernels
from lift.config import PRESETS, ModelConfig
from lift.model.adjacent import gaps_per_side
from lift.model.lift import LIFT
from lift.profiling import launches
from lift.profiling.dataless import GPU, dataless
from lift.video.engine import Engine

CASES = (
    Case("frame", "tiny", 720, 1280, "float32"),
    Case("frame", "tiny", 1080, 1920, "float16"),
    Case("frame", "base", 1080, 1920, "bfloat16"),
)
FRAMES = 15  # of context
FLAGS = {"plain PyTorch": "reference", "fused": "auto"}


def frame(
    config: ModelConfig, height: int, width: int, frames: int, dtype: torch.dtype, flag: str
) -> launches.Cost:
    """The cost of a generated frame, compiled; arguments are those of `launches.frame`."""
    prepared = Engine(LIFT(config), torch.device("cpu"), dtype).model
    per_side = gaps_per_side(frames, config.path_frames)
    with launches.on_a_gpu(), kernels.use(flag), inductor.counting() as found:
        engine = _compiled(dataless(prepared), dtype)
        image = torch.empty(1, 3, height, width, device=GPU)
        left = engine.encode(image)  # compiled here; later calls add nothing
        launches.generation(engine, left, frames, per_side)(image)
    return found


def _compiled(model: nn.Module, dtype: torch.dtype) -> Engine:
    """An engine of a model without data, which is prepared and cannot be moved."""
    with (
        patch.object(nn.Module, "to", lambda self, *where, **how: self),
        patch("lift.video.engine.cast_weights", lambda model, dtype: model),
    ):
        return Engine(model, GPU, dtype, compiled=True)


def count(case: Case) -> dict[str, dict[str, list[int]]]:
    """[launches, bytes] of each variant of a case: all, and by kind where it is compiled."""
    arguments = case.height, case.width, FRAMES, getattr(torch, case.dtype)
    config, found = PRESETS[case.preset](), {}
    for name, flag in FLAGS.items():
        found[name] = {"all": launches.frame(config, *arguments, flag).totals}
        compiled = frame(config, *arguments, flag)
        found[f"{name}, compiled"] = {"all": compiled.totals} | compiled.by_part()
    return {
        name: {kind: [int(x) for x in sums[:2]] for kind, sums in kinds.items()}
        for name, kinds in found.items()
    }


def main(argv: list[str] | None = None) -> int:
    """Print the counts of every case; with --record write them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled",
        description="Count launches and bytes of a frame as torch.compile makes them.",
    )
    parser.add_argument("--record", action="store_true", help=f"write {cost.COMPILED.name} too")
    arguments = parser.parse_args(argv)
    found = {}
    for case in CASES:
        found[str(case)] = count(case)
        print(cost.compiled({str(case): found[str(case)]}), "\n", flush=True)
    if arguments.record:
        cost.COMPILED.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
