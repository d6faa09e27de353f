"""Speed and memory of `correlation` of normalized feature maps.

The fused kernels are compared with plain PyTorch, eager and compiled. "unfold" is the textbook
implementation: `F.unfold` of one map and a product, which copies a map once per displacement.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from benchmarks.harness import backends, measure
from benchmarks.harness.registry import CORRELATION
from lift.kernels.ops.correlation import eager
from lift.kernels.ops.correlation.reference import (
    correlation_reference,
    l2_normalize,
    to_accumulate_dtype,
)

# (B, C, H, W, radius). On a CPU: the three scales of a 720p frame in `tiny`. On a GPU: those of a
# training crop and of 1080p in `base`.
CPU = [(1, 24, 180, 320, 2), (1, 24, 90, 160, 3), (1, 24, 45, 80, 5)]
GPU = [
    (4, 64, 64, 64, 3),
    (4, 64, 32, 32, 3),
    (4, 64, 16, 16, 6),
    (1, 64, 270, 480, 3),
    (1, 64, 270, 480, 0),
    (1, 64, 68, 120, 6),
]
TOY = [(1, 3, 2, 3, 1), (1, 5, 1, 2, 1)]
LARGEST_UNFOLDED = 1 << 31  # bytes of the copy that "unfold" may make


@dataclass(frozen=True)
class Case:
    device: str
    shape: tuple[int, int, int, int, int]
    dtype: str
    layout: str
    direction: str

    def __str__(self) -> str:
        return "-".join(
            [self.device, "x".join(map(str, self.shape)), self.dtype, self.layout, self.direction]
        )


def cases(device: str, quick: bool, toy: bool) -> list[Case]:
    """The cases of a device, by priority: the layout that the model uses first."""
    shapes = TOY if toy else CPU if device == "cpu" else GPU
    dtypes = ["float32"] if toy or device == "cpu" else ["float32", "bfloat16"]
    layouts = ["contiguous", "channels_last"]
    if quick and not toy:
        shapes, layouts = (
            (shapes[:2], layouts)
            if device == "cpu"
            else ([GPU[0], GPU[2], GPU[3]], ["channels_last"])
        )
    found = [
        Case(device, shape, dtype, layout, direction)
        for shape in shapes
        for dtype in dtypes
        for layout in layouts
        for direction in ("forward", "forward+backward")
    ]
    if toy:  # each shape in one layout, as the interpreter is slow
        found = [case for case in found if (case.layout == "contiguous") == (case.shape == TOY[0])]
    return sorted(found, key=lambda case: (case.layout != "channels_last", case.dtype != "float32"))


def names(device: str, toy: bool) -> list[str]:
    """The variants of a device: the supported backends, then plain PyTorch."""
    arguments = make(Case(device, (1, 1, 2, 2, 1), "float32", "contiguous", "forward"))
    fused = backends.supported("correlation", (*arguments, 1, True), toy=toy)
    return [*fused, "eager", "unfold", *([] if toy else ["compiled"])]


def pytest_generate_tests(metafunc):
    quick, toy = (metafunc.config.getoption(name) for name in ("--quick", "--toy"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = [
        (case, name)
        for case in cases(device, quick, toy)
        for name in names(device, toy)
        if name != "unfold" or unfolded(case) <= LARGEST_UNFOLDED
    ]
    metafunc.parametrize(("case", "variant"), pairs, ids=lambda value: str(value))


def test_correlation(case, variant, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    found = measured(case, toy, 1 if toy else 7 if quick else 25)
    record(
        found[variant],
        operation="correlation",
        variant=variant,
        fused=backends.is_fused("correlation", variant),
        device=case.device,
        direction=case.direction,
        dtype=case.dtype,
        layout=case.layout,
        shape=list(case.shape),
        flow="",
        required_bytes=CORRELATION.bytes(case.shape, case.dtype, case.direction),
    )


@lru_cache(maxsize=1)  # the variants of a case are consecutive and measured together
def measured(case: Case, toy: bool, rounds: int) -> dict[str, measure.VariantResult]:
    *_, H, W, radius = case.shape
    left, right = make(case)
    towards = torch.randn(len(left), (2 * radius + 1) ** 2, H, W, device=case.device)
    chosen = [
        name
        for name in names(case.device, toy)
        if name != "unfold" or unfolded(case) <= LARGEST_UNFOLDED
    ]
    variants = [measure.Variant(name, _call(name, case)) for name in chosen]
    return measure.compare(
        variants,
        lambda left, right: correlation_reference(left, right, radius, True),
        (left, right),
        backward=case.direction != "forward",
        rounds=rounds,
        towards=towards,
    )


def _call(name: str, case: Case):
    """(left, right) to the result."""
    radius = case.shape[-1]
    if name == "unfold":
        return lambda left, right: _by_unfolding(left, right, radius)
    if name == "compiled":
        mode = "max-autotune-no-cudagraphs" if case.device == "cuda" else None
        plain = measure.compiled(eager.correlation_eager, case, mode=mode)
        return lambda left, right: plain(left, right, radius, True)
    call = backends.call_of("correlation", name)
    return lambda left, right: call(left, right, radius, True)


def _by_unfolding(left: torch.Tensor, right: torch.Tensor, radius: int) -> torch.Tensor:
    B, C, H, W = left.shape
    left, right = (l2_normalize(to_accumulate_dtype(x)) for x in (left, right))
    around = F.unfold(right, 2 * radius + 1, padding=radius).view(B, C, -1, H, W)
    return torch.einsum("bchw,bcdhw->bdhw", left, around)


# -- data ------------------------------------------------------------------------------------------


def make(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """The two maps; the same values on every device."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if case.layout == "channels_last" else torch.contiguous_format
    left, right = torch.randn(2, *case.shape[:4], generator=generator).to(
        case.device, getattr(torch, case.dtype)
    )
    return left.contiguous(memory_format=layout), right.contiguous(memory_format=layout)


def unfolded(case: Case) -> int:
    """Bytes of a map that is copied once per displacement."""
    B, C, H, W, radius = case.shape
    return 4 * B * C * H * W * (2 * radius + 1) ** 2
