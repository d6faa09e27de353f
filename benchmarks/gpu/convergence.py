"""Compare training losses with and without the fused kernels: 32 steps from one seed.

    python -m benchmarks.gpu.convergence [--steps 32] [--amp off|bfloat16] [--device cuda]
                                         [--json FILE]

Training amplifies rounding, so even the reference differs from itself: on a GPU from run to run,
and anywhere if its weights differ in the last place. That spread is measured by further runs of
the reference from the same seed, all but the first with weights perturbed by NUDGE. At every step
the distance of the fused run from the reference must stay within ALLOWED times the largest
distance of these runs so far. The exit code is 1 if it does not.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.harness import machine
from benchmarks.harness.training_step import Training, batch
from lift import kernels
from lift.config import Config, tiny

RUNS = 3  # of the reference, besides the first
ALLOWED = 4.0  # times the spread, which so few runs underestimate
# Relative: the rounding of the autocast dtype.
NUDGE = {None: 2.0**-23, torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}
MIN_BOUND = {None: 2e-6, torch.bfloat16: 2e-3, torch.float16: 5e-4}  # relative, always allowed


def losses(
    flag: str,
    steps: int,
    size: tuple[int, int, int, int],
    device: str,
    autocast: torch.dtype | None,
    nudged: int = 0,
) -> list[float]:
    """The loss of each step from one seed.

    Args:
        flag: of the kernels: "reference", "fused" or "auto".
        steps: of the optimizer.
        size: (B, T, H, W) of the batches.
        device: of the model.
        autocast: dtype of autocast, or None.
        nudged: seed of the signs of the perturbation; 0: none.
    """
    training = Training(replace(Config(), model=tiny(), kernels=flag), device, autocast)
    if nudged:
        generator = torch.Generator().manual_seed(nudged)
        with torch.no_grad():
            for p in training.model.parameters():
                signs = (2.0 * torch.randint(2, p.shape, generator=generator) - 1).to(p)
                p.mul_(1 + NUDGE[autocast] * signs)
    with kernels.use(flag):
        return [training.step(batch(*size, seed, device)).item() for seed in range(steps)]


def compare(
    fused: list[float], reference: list[float], others: list[list[float]], least: float
) -> dict:
    """Distance of the fused run from the reference by step, relative to the loss, and its bound.

    The bound of a step is ALLOWED times the largest distance of any other run so far, and at least
    `least`.
    """

    def distances(run: list[float]) -> list[float]:
        return [abs(a - b) / abs(b) for a, b in zip(run, reference, strict=True)]

    farthest, bounds = 0.0, []
    for step in zip(*map(distances, others), strict=True):
        farthest = max(farthest, *step)
        bounds.append(max(ALLOWED * farthest, least))
    found = distances(fused)
    pairs = enumerate(zip(found, bounds, strict=True))
    outside = [i for i, (distance, bound) in pairs if not distance <= bound]  # NaN is outside
    return {"distance": found, "bound": bounds, "outside": outside}


def main(argv: list[str] | None = None) -> int:
    """Run, print every few steps; return 1 if the fused run leaves the reference's spread."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.convergence",
        description="Losses with and without the fused kernels.",
    )
    parser.add_argument(
        "--steps", type=int, default=32, help="of the optimizer (default %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=4,
        default=(2, 15, 64, 64),
        metavar=("B", "T", "H", "W"),
        help="(default 2 15 64 64)",
    )
    parser.add_argument(
        "--amp",
        choices=("off", "bfloat16", "float16"),
        default="off",
        help="autocast (default off)",
    )
    parser.add_argument(
        "--kernels",
        choices=("fused", "auto"),
        default="fused",
        help="compared with the reference (default %(default)s)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the curves there")
    arguments = parser.parse_args(argv)
    # Rounding of TF32 would hide differences.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    autocast = None if arguments.amp == "off" else getattr(torch, arguments.amp)

    def run(flag: str, nudged: int = 0) -> list[float]:
        return losses(
            flag, arguments.steps, tuple(arguments.size), arguments.device, autocast, nudged
        )

    fused, reference = run(arguments.kernels), run("reference")
    others = [run("reference"), *(run("reference", nudged) for nudged in range(1, RUNS))]
    report = compare(fused, reference, others, MIN_BOUND[autocast])
    print(
        f"tiny, {arguments.steps} steps, batches of {tuple(arguments.size)}, "
        f"autocast {arguments.amp}, {arguments.device}"
    )
    print(f"{'step':>4}{'reference':>12}{arguments.kernels:>12}{'distance':>10}{'allowed':>10}")
    for i in sorted(
        {
            *range(0, arguments.steps, max(arguments.steps // 8, 1)),
            arguments.steps - 1,
            *report["outside"],
        }
    ):
        print(
            f"{i + 1:>4}{reference[i]:>12.6f}{fused[i]:>12.6f}"
            f"{report['distance'][i]:>10.1e}{report['bound'][i]:>10.1e}"
            + ("  outside" if i in report["outside"] else "")
        )
    if arguments.json:
        curves = {
            "steps": arguments.steps,
            "size": arguments.size,
            "amp": arguments.amp,
            "kernels": arguments.kernels,
            "device": arguments.device,
            "fused": fused,
            "reference": reference,
            "others": others,
        }
        arguments.json.write_text(
            json.dumps(curves | report | {"machine": machine.describe()}, indent=1) + "\n"
        )
    if report["outside"]:
        print(
            "the losses leave the reference's own spread "
            f"at {len(report['outside'])} of {arguments.steps} steps",
            file=sys.stderr,
        )
        return 1
    print("the losses stay within the reference's own spread")
    return 0


if __name__ == "__main__":
    sys.exit(main())
