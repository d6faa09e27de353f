"""Speed and memory of `lucas_kanade` of luma images.

The fused kernels are compared with the reference in plain PyTorch, eager and compiled.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from benchmarks.harness import backends, measure
from benchmarks.harness.registry import LUCAS_KANADE
from lift.kernels.ops.lucas_kanade.reference import lucas_kanade_reference

# (B, C, H, W): halves and quarters of 720p; on a GPU also of 1080p and 4K and of a training crop.
CPU = [(1, 1, 360, 640), (1, 1, 180, 320)]
GPU = [(1, 1, 540, 960), (1, 1, 1080, 1920), (4, 1, 128, 128), (1, 1, 360, 640), (1, 3, 540, 960)]
TOY = [(1, 1, 3, 4), (2, 2, 2, 3)]


@dataclass(frozen=True)
class Case:
    device: str
    shape: tuple[int, int, int, int]
    dtype: str

    def __str__(self) -> str:
        return "-".join([self.device, "x".join(map(str, self.shape)), self.dtype])


def cases(device: str, quick: bool, toy: bool) -> list[Case]:
    """The cases of a device, by priority."""
    shapes = TOY if toy else CPU if device == "cpu" else GPU
    dtypes = ["float32"] if toy or quick or device == "cpu" else ["float32", "bfloat16"]
    if quick and not toy and device != "cpu":
        shapes = shapes[:3]
    return [Case(device, shape, dtype) for dtype in dtypes for shape in shapes]


def names(device: str, toy: bool) -> list[str]:
    """The variants of a device: the supported backends, then plain PyTorch."""
    arguments = make(Case(device, (1, 1, 2, 2), "float32"))
    fused = backends.supported("lucas_kanade", arguments, toy=toy)
    return [*fused, "reference", *([] if toy else ["compiled"])]


def pytest_generate_tests(metafunc):
    quick, toy = (metafunc.config.getoption(name) for name in ("--quick", "--toy"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = [(case, name) for case in cases(device, quick, toy) for name in names(device, toy)]
    metafunc.parametrize(("case", "variant"), pairs, ids=lambda value: str(value))


def test_lucas_kanade(case, variant, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    found = measured(case, toy, 1 if toy else 7 if quick else 25)
    record(
        found[variant],
        operation="lucas_kanade",
        variant=variant,
        fused=backends.is_fused("lucas_kanade", variant),
        device=case.device,
        direction="forward",
        dtype=case.dtype,
        layout="contiguous",
        shape=list(case.shape),
        flow="smooth",
        required_bytes=LUCAS_KANADE.bytes(case.shape, case.dtype, "forward"),
    )


@lru_cache(maxsize=1)  # the variants of a case are consecutive and measured together
def measured(case: Case, toy: bool, rounds: int) -> dict[str, measure.VariantResult]:
    variants = [measure.Variant(name, _call(name, case)) for name in names(case.device, toy)]
    return measure.compare(
        variants, lucas_kanade_reference, make(case), backward=False, rounds=rounds
    )


def _call(name: str, case: Case):
    if name == "compiled":
        mode = "max-autotune-no-cudagraphs" if case.device == "cuda" else None
        return measure.compiled(lucas_kanade_reference, case, mode=mode)
    return backends.call_of("lucas_kanade", name)


# -- data ------------------------------------------------------------------------------------------


def make(case: Case) -> tuple[torch.Tensor, ...]:
    """Smooth images and flows, and times; the same values on every device."""
    B, C, H, W = case.shape
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int, cell: int) -> torch.Tensor:
        coarse = torch.rand(B, channels, H // cell + 2, W // cell + 2, generator=generator)
        return F.interpolate(coarse, size=(H, W), mode="bilinear")

    images = [smooth(C, 3).to(case.device, getattr(torch, case.dtype)) for _ in range(2)]
    flows = [(16 * smooth(2, 32) - 8).to(case.device) for _ in range(2)]
    return *images, *flows, torch.rand(B, generator=generator).to(case.device)
