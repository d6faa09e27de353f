"""Speed and memory of `grid_sample` and its gradients, bilinear with border padding.

The fused kernels are compared with PyTorch's, eager and compiled.

"backward" times the gradients of input and grid alone, fast and deterministic, against ATen's
kernel. torch.compile leaves that kernel as it is, so the compiled variant appears in
"forward+backward" only, where it fuses the forward. ATen requires one dtype for input and grid:
half-precision images are converted inside the timing, as a model would have to.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F

from benchmarks.harness import backends, measure
from benchmarks.harness.registry import DETERMINISTIC, GRID_SAMPLE
from benchmarks.suites.bench_warp_blend import FLOWS, flow, priority
from lift.kernels.ops.grid_sample.reference import MODES, PADDING_MODES, grid_sample_reference

# (B, C, H, W), the grid of the same size. On a CPU: training crops. On a GPU: features at a
# quarter of 1080p, which have most targets, then frames and features of crops.
CPU = [(2, 32, 256, 448), (2, 3, 256, 448), (2, 1, 256, 448)]
GPU = [
    (1, 32, 270, 480),
    (1, 64, 270, 480),
    (1, 128, 270, 480),
    (1, 256, 270, 480),
    (1, 3, 1080, 1920),
    (1, 1, 1080, 1920),
    (2, 32, 256, 448),
    (4, 32, 64, 64),
]
QUICK = [(1, 3, 1080, 1920), (1, 32, 270, 480), (1, 256, 270, 480)]
TOY = [(1, 3, 8, 12), (2, 9, 6, 8)]
HOW = ("bilinear", "border", True)
NUMBERS = (MODES.index(HOW[0]), PADDING_MODES.index(HOW[1]), HOW[2])


@dataclass(frozen=True)
class Case:
    device: str
    shape: tuple[int, int, int, int]
    dtype: str
    layout: str
    flow: str
    direction: str = "backward"

    def __str__(self) -> str:
        return "-".join(
            [
                self.device,
                "x".join(map(str, self.shape)),
                self.dtype,
                self.layout,
                self.flow,
                self.direction,
            ]
        )


def cases(device: str, quick: bool, toy: bool) -> list[Case]:
    """The cases of a device, by priority; for each flow the gradients first."""
    shapes, flows = TOY if toy else CPU if device == "cpu" else GPU, ["random"] if toy else FLOWS
    dtypes = ["float32"] if toy or quick or device == "cpu" else ["float32", "bfloat16"]
    if quick and not toy:
        shapes, flows = CPU[:2] if device == "cpu" else QUICK, ["smooth", "random"]
    found = [
        Case(device, shape, dtype, layout, flow, direction)
        for flow in flows
        for shape in shapes
        for dtype in dtypes
        for layout in ("contiguous", "channels_last")
        for direction in ("backward", "forward+backward")
        if not quick or toy or flow == "smooth" or direction == "backward"
    ]
    return sorted(found, key=lambda case: (*priority(case), case.direction))


def names(device: str, direction: str, toy: bool) -> list[str]:
    """The variants of a device: the supported backends, then PyTorch's.

    Deterministic gradients are a variant on a GPU only; on a CPU there are no others.
    """
    _, *arguments = make(Case(device, (1, 1, 2, 2), "float32", "contiguous", "zero"))
    fused = backends.supported("grid_sample", (*arguments, *HOW), toy=toy)
    if direction == "forward+backward":
        return [*fused, "aten", *([] if toy else ["compiled"])]
    return [
        name + path
        for name in fused
        for path in ("", *([DETERMINISTIC] if device == "cuda" else []))
    ] + ["aten"]


def pytest_generate_tests(metafunc):
    quick, toy = (metafunc.config.getoption(name) for name in ("--quick", "--toy"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = [
        (case, name)
        for case in cases(device, quick, toy)
        for name in names(device, case.direction, toy)
    ]
    metafunc.parametrize(("case", "variant"), pairs, ids=lambda value: str(value))


def test_grid_sample(case, variant, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    found = measured(case, toy, 1 if toy else 7 if quick else 25)
    record(
        found[variant],
        operation="grid_sample",
        variant=variant,
        fused=backends.is_fused("grid_sample", variant),
        device=case.device,
        direction=case.direction,
        dtype=case.dtype,
        layout=case.layout,
        shape=list(case.shape),
        flow=case.flow,
        required_bytes=GRID_SAMPLE.bytes(case.shape, case.dtype, case.direction),
    )


@lru_cache(maxsize=1)  # the variants of a case are consecutive and measured together
def measured(case: Case, toy: bool, rounds: int) -> dict[str, measure.VariantResult]:
    chosen, arguments = names(case.device, case.direction, toy), make(case)
    if case.direction == "forward+backward":
        return measure.compare(
            [measure.Variant(name, _forward(name, case)) for name in chosen],
            lambda input, grid: grid_sample_reference(input, grid, *HOW),
            arguments[1:],
            backward=True,
            rounds=rounds,
        )
    found = measure.compare(
        [measure.Variant(name, _gradients(name)) for name in chosen],
        _exact,
        arguments,
        backward=False,
        rounds=rounds,
    )
    for name, one in found.items():
        one.saved = measure.saved(
            _forward(name, case), tuple(x.requires_grad_() for x in arguments[1:])
        )
    return found


# -- variants: (grad, input, grid) to the gradients of input and grid ------------------------------


def _gradients(name: str):
    if name == "aten":
        return _of_pytorch
    operation = getattr(
        torch.ops, {"cuda": "lift_cuda", "cpp": "lift_cpp"}[name.removesuffix(DETERMINISTIC)]
    ).grid_sample_backward
    return lambda grad, input, grid: operation(
        grad, input, grid, *NUMBERS, 3, name.endswith(DETERMINISTIC)
    )


def _of_pytorch(grad, input, grid):
    wide = grid.dtype
    dinput, dgrid = torch.ops.aten.grid_sampler_2d_backward(
        grad.to(wide), input.to(wide), grid, *NUMBERS, [True, True]
    )
    return dinput.to(input.dtype), dgrid


def _exact(grad, input, grid):
    leaves = [input.detach().requires_grad_(), grid.detach().requires_grad_()]
    return torch.autograd.grad(grid_sample_reference(*leaves, *HOW), leaves, grad)


def _aten(input, grid):
    return F.grid_sample(input.to(grid.dtype), grid, *HOW).to(input.dtype)


def _forward(name: str, case: Case):
    """(input, grid) to the result."""
    if name == "aten":
        return _aten
    if name == "compiled":
        mode = "max-autotune-no-cudagraphs" if case.device == "cuda" else None
        return measure.compiled(_aten, replace(case, flow=""), mode=mode)
    call = backends.call_of("grid_sample", name)
    return lambda input, grid: call(input, grid, *HOW)


# -- data ------------------------------------------------------------------------------------------


def make(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradient of the result and input, (B, C, H, W), and a grid (B, H, W, 2) from the flow.

    The values are the same on every device.
    """
    generator = torch.Generator().manual_seed(0)
    B, _, H, W = case.shape
    layout = torch.channels_last if case.layout == "channels_last" else torch.contiguous_format
    grad, input = (
        torch.randn(case.shape, generator=generator)
        .to(case.device, getattr(torch, case.dtype))
        .contiguous(memory_format=layout)
        for _ in range(2)
    )
    place = torch.stack(torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy")) + flow(
        case.flow, B, H, W, generator
    )
    grid = 2 * place.movedim(1, -1) / torch.tensor([W - 1, H - 1]) - 1
    return grad, input, grid.contiguous().to(case.device)
