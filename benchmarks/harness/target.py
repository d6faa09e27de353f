"""A target as data: which figure of which cases, and the bound that it must meet."""

from collections.abc import Callable
from dataclasses import dataclass

LARGE = 100e6  # bytes: a case that moves more than a cache holds


@dataclass(frozen=True)
class Target:
    """A bound on a figure of recorded cases.

    Attributes:
        device: "cpu" or "cuda".
        label: what is bounded and where, without the bound.
        metric: name of the figure; `benchmarks.report.targets.METRICS` computes it.
        at_least, at_most: the bound; exactly one of them.
        unit: of the figure: "x" (a ratio), "%" (a share) or "GB" (bytes).
        applies: to which cases, by their shape, direction, layout, dtype, flow and bytes.
    """

    device: str
    label: str
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"
    applies: Callable[..., bool] = lambda case: True

    @property
    def bound(self) -> str:
        if self.at_most is None:
            return f"at least {self._in_unit(self.at_least, '{:g}')}"
        return f"at most {self._in_unit(self.at_most, '{:g}')}"

    def format(self, figure) -> str:
        """A figure with its unit; a speedup with its range."""
        if hasattr(figure, "low"):
            return f"{figure.value:.2f}x ({figure.low:.2f} to {figure.high:.2f})"
        return self._in_unit(figure, "{:.2f}")

    def _in_unit(self, figure: float, form: str) -> str:
        if self.unit == "%":
            return f"{figure:.0%}"
        return f"{form.format(figure)}x" if self.unit == "x" else f"{form.format(figure / 1e9)} GB"

    def met(self, figure: float) -> bool:
        return figure >= self.at_least if self.at_most is None else figure <= self.at_most


# -- conditions ------------------------------------------------------------------------------------


def contiguous(case) -> bool:
    return case.layout == "contiguous"


def forward(case) -> bool:
    return case.direction == "forward"


def backward(case) -> bool:
    return case.direction == "backward"


def forward_backward(case) -> bool:
    return case.direction == "forward+backward"


def large_forward(case) -> bool:
    return forward(case) and case.bytes >= LARGE


def base_step(case) -> bool:
    """The training step that the memory targets bound."""
    return (
        case.shape == (4, 15, 3, 256, 256)
        and case.direction == "encoder trainable"
        and case.flow.startswith("base")
        and case.dtype == "bfloat16"
    )
