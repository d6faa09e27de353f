"""Speed and memory of `warp_blend`.

The fused kernels are compared with eager PyTorch in both layouts and with `torch.compile` of it.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F

from benchmarks.harness import backends, measure
from benchmarks.harness.registry import WARP_BLEND
from lift.kernels.ops.warp_blend import eager
from lift.kernels.ops.warp_blend.reference import warp_blend_reference

# (B, C, H, W). On a CPU: features and a frame. On a GPU: frames up to 4K and features at a
# quarter of 1080p, those with targets first; then training crops.
CPU = [(2, 32, 256, 448), (1, 3, 1080, 1920)]
GPU = [
    (1, 3, 1080, 1920),
    (1, 3, 2160, 3840),
    (1, 64, 270, 480),
    (1, 128, 270, 480),
    (4, 3, 256, 256),
    (1, 32, 270, 480),
    (4, 32, 64, 64),
    (1, 3, 720, 1280),
]
QUICK = [(4, 3, 256, 256), (1, 3, 1080, 1920), (1, 32, 270, 480)]
TOY = [(1, 3, 8, 12), (1, 5, 2, 3)]
FLOWS = ["smooth", "random", "zero", "collapse"]
CONTRIVED = ("zero", "collapse")  # flows that occur in no video


@dataclass(frozen=True)
class Case:
    device: str
    shape: tuple[int, int, int, int]
    dtype: str
    layout: str
    flow: str
    direction: str

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


def priority(case) -> tuple:
    """Sort key of cases: an interrupted run has measured those with targets."""
    return case.flow in CONTRIVED, case.dtype != "float32", FLOWS.index(case.flow)


def cases(device: str, quick: bool, toy: bool) -> list[Case]:
    """The cases of a device, by priority."""
    if toy:
        shapes, flows, dtypes = TOY, ["random"], ["float32"]
    elif device == "cpu":
        shapes, flows, dtypes = CPU, ["smooth"] if quick else ["smooth", "random"], ["float32"]
    else:
        shapes, flows, dtypes = GPU, FLOWS, ["float32", "bfloat16"]
        if quick:
            shapes, flows, dtypes = QUICK, ["smooth", "random"], ["float32"]
    found = [
        Case(device, shape, dtype, layout, flow, direction)
        for flow in flows
        for shape in shapes
        for dtype in dtypes
        for layout in ("contiguous", "channels_last")
        for direction in ("forward", "forward+backward")
    ]
    if quick and device == "cpu":  # frames are contiguous
        found = [case for case in found if case.shape[1] > 3 or case.layout == "contiguous"]
    if toy:  # each shape in one layout, as the interpreter is slow
        found = [case for case in found if (case.layout == "contiguous") == (case.shape == TOY[0])]
    return sorted(found, key=priority)


def names(device: str, toy: bool) -> list[str]:
    """The variants of a device: the supported backends, then plain PyTorch."""
    arguments = make(Case(device, (1, 1, 2, 2), "float32", "contiguous", "zero", "forward"))
    fused = backends.supported("warp_blend", arguments, toy=toy)
    return [*fused, "eager", *([] if toy else ["compiled"])]


def pytest_generate_tests(metafunc):
    quick, toy = (metafunc.config.getoption(name) for name in ("--quick", "--toy"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = [(case, name) for case in cases(device, quick, toy) for name in names(device, toy)]
    metafunc.parametrize(("case", "variant"), pairs, ids=lambda value: str(value))


def test_warp_blend(case, variant, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    found = measured(case, toy, 1 if toy else 7 if quick else 25)
    record(
        found[variant],
        operation="warp_blend",
        variant=variant,
        fused=backends.is_fused("warp_blend", variant),
        device=case.device,
        direction=case.direction,
        dtype=case.dtype,
        layout=case.layout,
        shape=list(case.shape),
        flow=case.flow,
        required_bytes=WARP_BLEND.bytes(case.shape, case.dtype, case.direction),
    )


@lru_cache(maxsize=1)  # the variants of a case are consecutive and measured together
def measured(case: Case, toy: bool, rounds: int) -> dict[str, measure.VariantResult]:
    variants = [measure.Variant(name, _call(name, case)) for name in names(case.device, toy)]
    return measure.compare(
        variants,
        warp_blend_reference,
        make(case),
        backward=case.direction != "forward",
        rounds=rounds,
    )


def _call(name: str, case: Case):
    if name == "compiled":
        mode = "max-autotune-no-cudagraphs" if case.device == "cuda" else None
        return measure.compiled(eager.warp_blend_eager, replace(case, flow=""), mode=mode)
    return backends.call_of("warp_blend", name)


# -- data ------------------------------------------------------------------------------------------


def make(case: Case) -> tuple[torch.Tensor, ...]:
    """Arguments of `warp_blend`; the same values on every device."""
    generator = torch.Generator().manual_seed(0)
    B, C, H, W = case.shape
    layout = torch.channels_last if case.layout == "channels_last" else torch.contiguous_format
    images = [
        torch.rand(case.shape, generator=generator)
        .to(case.device, getattr(torch, case.dtype))
        .contiguous(memory_format=layout)
        for _ in range(2)
    ]
    flows = [flow(case.flow, B, H, W, generator).to(case.device) for _ in range(2)]
    occs = [2 * torch.randn(B, 1, H, W, generator=generator).to(case.device) for _ in range(2)]
    return (*images, *flows, *occs)


def flow(profile: str, B: int, H: int, W: int, generator: torch.Generator) -> torch.Tensor:
    """(B, 2, H, W) in pixels.

    Coordinates are a quarter pixel off whole pixels, so that rounding never picks another pixel.
    """
    if profile == "zero":
        chosen = torch.zeros(B, 2, H, W)
    elif profile == "smooth":  # about 8 pixels, varying over about 64
        coarse = 8 * torch.randn(B, 2, max(H // 64, 2), max(W // 64, 2), generator=generator)
        chosen = F.interpolate(coarse, size=(H, W), mode="bicubic")
    elif profile == "random":
        chosen = 8 * torch.randn(B, 2, H, W, generator=generator)
    elif profile == "collapse":  # every pixel reads one position
        place = torch.stack(torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy"))
        chosen = (torch.tensor([W // 3, H // 2])[:, None, None] - place).expand(B, -1, -1, -1)
    else:
        raise ValueError(f"flow: no profile {profile!r}; choose from {', '.join(FLOWS)}")
    return (2 * chosen).round() / 2 + 0.25
