"""How a kernel is compared with its definition: tolerances, and the inputs that break kernels.

The rule is that of `benchmarks/harness/tolerance.py`, the layouts are those of `layouts.py` there.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch

from benchmarks.harness.layouts import LAYOUTS
from benchmarks.harness.tolerance import gradient_fault, largest_error

# -- what counts as equal --------------------------------------------------------------------------


def assert_close(
    name: str,
    found: torch.Tensor,
    low: torch.Tensor,
    exact: torch.Tensor,
    arithmetic: torch.dtype,
) -> None:
    """Raise if `found` is further from `exact` than the rule allows.

    Args:
        found: of the kernel.
        low: of the reference, computed in the same dtypes.
        exact: of the reference, computed in float64.
        arithmetic: the dtype that the kernel computes in; a few of its roundings are allowed where
            the reference happens to have none.
    """
    assert (found.shape, found.dtype) == (low.shape, low.dtype), (
        f"{name}: {found.shape} {found.dtype}, not {low.shape} {low.dtype}"
    )
    assert found.isfinite().all(), f"{name}: not finite"
    error, allowed = largest_error(found, low, exact, arithmetic)
    assert error <= allowed, f"{name}: off by {error:.3g}, allowed {allowed:.3g}"


def assert_right_as_a_whole(
    name: str, found: torch.Tensor, low: torch.Tensor, exact: torch.Tensor, arithmetic: torch.dtype
) -> None:
    """Raise if a gradient's relative L2 error, cosine or bias exceeds the reference's precision."""
    fault = gradient_fault(found, low, exact, arithmetic)
    assert fault is None, f"{name}: {fault}"


def assert_same_sums(
    name: str, found: torch.Tensor, expected: torch.Tensor, sizes: torch.Tensor, addends: int
) -> None:
    """Raise if two float32 sums of the same addends differ by more than their order explains.

    Args:
        sizes: sums of the addends' absolute values; each order may err by a rounding an addend.
        addends: the most that meet in one element.
    """
    allowed = 2 * addends * torch.finfo(torch.float32).eps * sizes
    excess = ((found - expected).abs() - allowed).max()
    assert excess <= 0, f"{name}: {excess:.3g} more apart than another order of {addends} addends"


def poison(monkeypatch) -> None:
    """Fill uninitialised tensors with NaN (integers: a large value), so that gaps show."""

    def poisoned(make: Callable) -> Callable:
        def empty(*arguments, **keywords):
            fresh = make(*arguments, **keywords)
            return fresh.fill_(
                math.nan if fresh.is_floating_point() else torch.iinfo(fresh.dtype).max
            )

        return empty

    for place, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch, "empty_strided"),
        (torch.Tensor, "new_empty"),
    ):
        monkeypatch.setattr(place, name, poisoned(getattr(place, name)))


def captured(step: Callable) -> tuple:
    """A CUDA graph of a call, and its results, which replays overwrite.

    The call first runs outside the graph, which compiles and warms up.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    return graph, found


# -- few cases of many -----------------------------------------------------------------------------


def pairwise(*axes: Sequence, among: Iterable[tuple] = ()) -> list[tuple]:
    """Few cases of the product of the axes, in which any values of any two axes meet.

    A GPU compiles kernels for nearly every case. `among` are cases to include.
    """
    product, cases = list(itertools.product(*axes)), []
    missing = {pair for case in product for pair in _pairs(case)}
    for case in among:
        cases.append(case)
        missing -= _pairs(case)
    while missing:
        cases.append(max(product, key=lambda case: len(missing & _pairs(case))))
        missing -= _pairs(cases[-1])
    return cases


def _pairs(case: tuple) -> set:
    return set(itertools.combinations(enumerate(case), 2))


# -- dtypes and layouts ----------------------------------------------------------------------------


def forms(dtypes: Iterable[str]) -> list[tuple[str, str]]:
    """Every dtype in every layout; on a GPU, which compiles each, every layout in one dtype.

    The GPU tests have the others.
    """
    if torch.cuda.is_available():
        return list(zip(itertools.cycle(("float32", "float16", "bfloat16")), LAYOUTS, strict=False))
    return list(itertools.product(dtypes, LAYOUTS))


# -- flows (B, 2, H, W) in pixels, float32 ---------------------------------------------------------


def _towards(x: torch.Tensor, y: torch.Tensor, B: int, H: int, W: int) -> torch.Tensor:
    """The flow by which every pixel reads at (x, y), each (B, H, W) or less."""
    place = torch.stack((torch.as_tensor(x).expand(B, H, W), torch.as_tensor(y).expand(B, H, W)), 1)
    return place - torch.stack(torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy"))


def _some(values, B: int, H: int, W: int) -> torch.Tensor:
    """(B, H, W) drawn from a few values."""
    return torch.tensor(values)[torch.randint(len(values), (B, H, W))]


def _border(size: int) -> list[float]:
    last, epsilon = size - 1.0, 2.0**-10
    return [-epsilon, 0.0, epsilon, last - epsilon, last, last + epsilon]


FLOWS = {
    "random": lambda B, H, W: 4 * torch.randn(B, 2, H, W),
    "zero": lambda B, H, W: torch.zeros(B, 2, H, W),
    "integer": lambda B, H, W: torch.randint(-3, 4, (B, 2, H, W)).float(),
    "half": lambda B, H, W: torch.randint(-3, 4, (B, 2, H, W)) + 0.5,
    "border": lambda B, H, W: _towards(
        _some(_border(W), B, H, W), _some(_border(H), B, H, W), B, H, W
    ),
    "outside": lambda B, H, W: torch.stack(
        (_some([-1e30, -1e4, 1e4, 3e38], B, H, W), _some([-1e30, -1e4, 1e4, 3e38], B, H, W)), 1
    ),
    "nan": lambda B, H, W: torch.where(torch.rand(B, 2, H, W) < 0.5, math.nan, 1.25),
    "infinite": lambda B, H, W: torch.stack(
        (_some([-math.inf, 0.25, math.inf], B, H, W), _some([-math.inf, 0.75, math.inf], B, H, W)),
        1,
    ),
    "far": lambda B, H, W: _towards(
        torch.rand(B, H, W) * (W - 1), torch.rand(B, H, W) * (H - 1), B, H, W
    ),
    "collapse": lambda B, H, W: _towards(0.3 * (W - 1), 0.6 * (H - 1), B, H, W),
}
