"""What the registry says of a suite of benchmarks. Needs neither torch nor pytest."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.harness.target import Target
from benchmarks.harness.work import Work

DIRECTIONS = ("forward", "forward+backward")


@dataclass(frozen=True)
class Suite:
    """One suite of benchmarks.

    Attributes:
        name: of the operation, in rows, reports and on the command line.
        help: one line for `python -m benchmarks`.
        module: file in `benchmarks/suites`, without its suffix.
        axes: what the numbers of a shape are; "" where the table needs no words.
        variants: every name that `variant` of a row may have, the project's own first.
        work: (shape, dtype, backward) to the least work of one pass; None for the whole model.
        shapes: what the roofline shows where nothing is recorded.
        dtype, directions: of these.
        layouts: whether cases differ in memory layout.
        targets: bounds on its figures.
        also: further operations that the suite's rows name.
    """

    name: str
    help: str
    module: str
    variants: tuple[str, ...]
    axes: str = ""
    work: Callable[[tuple[int, ...], str, bool], Work] | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    dtype: str = "float32"
    directions: tuple[str, ...] = DIRECTIONS
    layouts: bool = False
    targets: tuple[Target, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def is_operation(self) -> bool:
        """Whether it measures one operation rather than the whole model."""
        return self.work is not None

    def passes(self, shape: tuple[int, ...], dtype: str, direction: str) -> list[Work]:
        """The least work of each pass; `direction` is "forward", "backward" or both with a +."""
        return [self.work(shape, dtype, part == "backward") for part in direction.split("+")]

    def bytes(self, shape: tuple[int, ...], dtype: str, direction: str) -> int:
        """Bytes that must be read and written, each once per pass."""
        return sum(one.bytes for one in self.passes(shape, dtype, direction))
