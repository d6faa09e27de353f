"""Other models' warps and nets before and after `lift.kernels.patch`.

    python -m benchmarks.adoption [--record] [--rounds N] [--device cuda]

Time is the median over rounds of a forward and backward pass, original and patched in turn, five at
a time. On the CPU it is that of the thread on one core, so other programs disturb it little. Saved
bytes are every storage that autograd saves for backward, without the weights. `--record` writes
`results/cpu/adoption.json`, from which `make report` builds the table of docs/adoption.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.adoption import conventions
from benchmarks.adoption.nets import IfrnetLike, RifeLike
from benchmarks.harness.table import aligned
from benchmarks.report.adoption import RECORD, cells
from lift import kernels
from lift.provenance import commit, machine
from lift.saved_tensors import saved_bytes

SHAPES = ((1, 3, 256, 448), (1, 64, 256, 256))  # a frame of Vimeo-90K, features
BLOCK = 5  # passes of one variant in a row
NET_SHAPE = (1, 3, 256, 448)
NETS = {"RIFE-like net": RifeLike, "IFRNet-like net": IfrnetLike}


def smooth(shape: tuple[int, ...], cells: int) -> torch.Tensor:
    """Noise that is smooth over `cells` pixels, as images and flows are."""
    coarse = torch.randn(*shape[:2], shape[2] // cells, shape[3] // cells)
    return F.interpolate(coarse, shape[2:], mode="bicubic", align_corners=False)


def warp_case(name: str, shape: tuple[int, ...]) -> tuple[Callable, list, ModuleType]:
    """A call of a convention's function, its inputs, and what to patch."""
    function, flow_last = conventions.CONVENTIONS[name]
    flow = 4 * smooth((shape[0], 2, *shape[2:]), 16)
    # Off whole pixels, where the gradient of a flow jumps and rounding would decide.
    flow = flow.floor() + 0.25 + 0.5 * (flow - flow.floor())
    flow = flow.permute(0, 2, 3, 1).contiguous() if flow_last else flow
    inputs = [smooth(shape, 8).sigmoid().requires_grad_(), flow.requires_grad_()]
    # By name at every call, so that a patch of the module shows.
    return lambda: getattr(conventions, function.__name__)(*inputs), inputs, conventions


def net_case(name: str, shape: tuple[int, ...]) -> tuple[Callable, list, nn.Module]:
    """A call of a net, its weights, and what to patch."""
    net, images = NETS[name](), [smooth(shape, 8).sigmoid() for _ in range(2)]
    return lambda: net(*images), list(net.parameters()), net


def measure(case: Callable, name: str, shape: tuple[int, ...], rounds: int) -> dict:
    """Milliseconds of forward and backward, saved bytes and differences of a case."""
    torch.manual_seed(0)
    run, inputs, target = case(name, shape)
    weights = inputs if isinstance(target, nn.Module) else []

    on_gpu = inputs[0].is_cuda
    clock = time.perf_counter_ns if on_gpu else time.thread_time_ns
    wait = torch.cuda.synchronize if on_gpu else lambda: None

    def once() -> float:
        wait()
        start = clock()
        out = run()
        torch.autograd.grad(out, inputs, out.detach())
        wait()
        return (clock() - start) / 1e6

    def examine() -> tuple[torch.Tensor, int, tuple]:
        out, saved = saved_bytes(run, weights)
        direction = torch.linspace(-1, 1, out.numel()).view_as(out)
        return out.detach(), saved, torch.autograd.grad(out, inputs, direction)

    out, saved, gradients = examine()
    with kernels.patch(target):
        patched_out, patched_saved, patched_gradients = examine()
    times: tuple[list, list] = ([], [])
    for _ in range(max(1, rounds // BLOCK)):
        once()
        times[0].extend(once() for _ in range(BLOCK))
        with kernels.patch(target):
            once()
            times[1].extend(once() for _ in range(BLOCK))
    relative = [
        ((a - b).abs().max() / a.abs().max()).item()
        for a, b in zip(gradients, patched_gradients, strict=True)
    ]
    return {
        "name": name,
        "shape": list(shape),
        "ms": [round(median(found), 3) for found in times],
        "saved": [saved, patched_saved],
        "difference": (out - patched_out).abs().max().item(),
        "gradient_difference": max(relative),
    }


def main(argv: list[str] | None = None) -> int:
    """Print the table; with --record write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adoption",
        description="Measure other models' warps and nets before and after lift.kernels.patch.",
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    parser.add_argument("--rounds", type=int, default=20, help="passes of each (default: 20)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args(argv)
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    elif arguments.record:
        parser.error("--record: the record is of the CPU; leave --device out")
    else:
        torch.set_default_device(arguments.device)
    cases = [(warp_case, name, shape) for shape in SHAPES for name in conventions.CONVENTIONS]
    cases += [(net_case, name, NET_SHAPE) for name in NETS]
    rows = []
    for case in cases:
        rows.append(measure(*case, arguments.rounds))
    print("\n".join(aligned([cells(row) for row in rows])))
    if arguments.record:
        facts = machine()
        record = {
            "commit": commit(),
            "processor": facts["CPU"],
            "torch": facts["torch"],
            "rounds": arguments.rounds,
            "rows": rows,
        }
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
