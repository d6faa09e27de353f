"""What the kernels and the model ought to reach, as data, and what they reached.

A target holds for every case that it names; what is shown beside it is the case that comes out
worst.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report.results import Group, Measurements, Speedup

LARGE = 100e6  # bytes that a case must move to be called large: more than a cache holds


@dataclass(frozen=True)
class Target:
    """One.

    Attributes:
        operation, device: of what; device is "cpu" or "cuda".
        says: in words, without the figure.
        least: of the figure; None where `most` is given.
        most: of the figure.
        figure: of a case, from it and all cases of the operation; None where the target does not
            speak of the case.
        unit: of the figure: "x" (times), "%" (a share) or "GB" (bytes).
    """

    operation: str
    device: str
    says: str
    figure: Callable[[Group, list[Group]], Speedup | float | None]
    least: float | None = None
    most: float | None = None
    unit: str = "x"

    @property
    def bound(self) -> str:
        bound, words = (self.least, "at least") if self.most is None else (self.most, "at most")
        return f"{words} {self._in_unit(bound, '{:g}')}"

    def shown(self, figure: Speedup | float) -> str:
        """A figure, with its range where it has one."""
        if isinstance(figure, Speedup):
            return f"{figure.value:.2f}x ({figure.low:.2f} to {figure.high:.2f})"
        return self._in_unit(figure, "{:.2f}")

    def _in_unit(self, figure: float, form: str) -> str:
        if self.unit == "%":
            return f"{figure:.0%}"
        return form.format(figure) + "x" if self.unit == "x" else form.format(figure / 1e9) + " GB"

    def met(self, figure: float) -> bool:
        return figure >= self.least if self.most is None else figure <= self.most


@dataclass(frozen=True)
class Outcome:
    """A target on a machine: how many cases it speaks of and how many meet it, and the worst one's
    figure; 0 cases: not measured.
    """

    target: Target
    cases: int = 0
    met: int = 0
    worst: Group | None = None
    figure: Speedup | float = 0.0

    @property
    def verdict(self) -> str:
        if not self.cases:
            return "not measured"
        return (
            "met"
            if self.met == self.cases
            else f"missed in {self.cases - self.met} of {self.cases}"
        )


def outcomes(found: Measurements) -> list[Outcome]:
    """Every target for the device of a machine, met or not."""
    device = "cpu" if found.device == "cpu" else "cuda"
    return [
        _outcome(target, found.operations.get(target.operation, []))
        for target in TARGETS
        if target.device == device
    ]


def owed(all_found: list[Measurements]) -> list[Outcome]:
    """The targets for a kind of device of which no machine was measured."""
    devices = {"cpu" if found.device == "cpu" else "cuda" for found in all_found}
    return [Outcome(target) for target in TARGETS if target.device not in devices]


def _outcome(target: Target, groups: list[Group]) -> Outcome:
    figures = [
        (figure, group) for group in groups if (figure := target.figure(group, groups)) is not None
    ]
    if not figures:
        return Outcome(target)
    figure, worst = (min if target.most is None else max)(figures, key=lambda one: _value(one[0]))
    return Outcome(
        target, len(figures), sum(target.met(_value(value)) for value, _ in figures), worst, figure
    )


def _value(figure: Speedup | float) -> float:
    return figure.value if isinstance(figure, Speedup) else figure


# -- figures ---------------------------------------------------------------------------------------

DETERMINISTIC = "_deterministic"  # ends the name of a variant's deterministic path


def _fused(group: Group) -> str | None:
    """The fast path of the fused variant."""
    return next((name for name in group.fused if not name.endswith(DETERMINISTIC)), None)


def _over(*names: str, where: Callable[[Group], bool] = lambda group: True):
    """The speed-up over the fastest of some variants (of all others, where none is named)."""

    def figure(group: Group, groups: list[Group]) -> Speedup | None:
        subject, others = (
            _fused(group),
            [name for name in names or group.others if name in group.rows],
        )
        if subject is None or not others or not where(group):
            return None
        return group.speedup(subject, min(others, key=lambda name: group.rows[name]["median"]))

    return figure


def _over_eager(where: Callable[[Group], bool]):
    """The speed-up over eager PyTorch in whichever of the recorded layouts is the faster."""

    def figure(group: Group, groups: list[Group]) -> Speedup | None:
        subject = _fused(group)
        if subject is None or not where(group):
            return None
        same = [
            other.rows["eager"]
            for other in groups
            if "eager" in other.rows
            and (other.direction, other.dtype, other.shape, other.flow)
            == (group.direction, group.dtype, group.shape, group.flow)
        ]
        return (
            Speedup.of(group.rows[subject], min(same, key=lambda row: row["median"]))
            if same
            else None
        )

    return figure


def _of_copy(where: Callable[[Group], bool]):
    def figure(group: Group, groups: list[Group]) -> float | None:
        subject = _fused(group)
        return group.rows[subject]["share_of_copy_bandwidth"] if subject and where(group) else None

    return figure


def _deterministic(group: Group, groups: list[Group]) -> float | None:
    fast = _fused(group)
    slow = group.rows.get(f"{fast}{DETERMINISTIC}")
    return slow["median"] / group.rows[fast]["median"] if slow else None


def _fastest(group: Group, groups: list[Group]) -> Speedup | None:
    """The speed-up of the fastest fused variant over the reference."""
    return max(
        (gain for name in group.fused if (gain := group.speedup(name, "reference"))),
        key=_value,
        default=None,
    )


def _peak(where: Callable[[Group], bool], of_reference: bool = False):
    """Peak memory of the leanest fused variant, in bytes or as a share of the reference's.

    A CUDA graph counts where what its recording took was measured: its replays allocate nothing.
    """

    def figure(group: Group, groups: list[Group]) -> float | None:
        rows = [
            group.rows[name]
            for name in group.fused
            if "graph" not in name or group.rows[name].get("peak_of_recording")
        ]
        peaks = [peak for row in rows if (peak := row["peak_memory"]) is not None]
        if not where(group) or not peaks or "reference" not in group.rows:
            return None
        return min(peaks) / (group.rows["reference"]["peak_memory"] if of_reference else 1)

    return figure


def _of_context(group: Group, groups: list[Group]) -> float | None:
    """The time of a fused stream with fifteen frames of context over that with two."""
    short = next(
        (
            other
            for other in groups
            if other.flow == group.flow.replace("15 frames", "2 frames") != group.flow
            and (other.dtype, other.shape) == (group.dtype, group.shape)
        ),
        None,
    )
    subject = _fused(group)
    return (
        group.rows[subject]["median"] / short.rows[subject]["median"]
        if short and subject in short.rows
        else None
    )


def _taken(group: Group, groups: list[Group]) -> Speedup | None:
    """What `auto` takes is the first variant of a case."""
    taken, *_ = group.rows
    others = [
        name
        for name in ("reference", "sdpa", "sdpa_shared")
        if name in group.rows and name != taken
    ]
    return (
        group.speedup(taken, min(others, key=lambda name: group.rows[name]["median"]))
        if others
        else None
    )


def _channels(group: Group) -> int:
    return group.shape[1]


def _contiguous(group: Group) -> bool:
    return group.layout == "contiguous"


def _forward(group: Group) -> bool:
    return group.direction == "forward"


def _gradients(group: Group) -> bool:
    return group.direction == "backward"


def _training(group: Group) -> bool:
    return group.direction == "forward+backward"


def _base_step(group: Group) -> bool:
    """The step that the memory targets speak of."""
    return (
        group.shape == (4, 15, 3, 256, 256)
        and group.direction == "all free"
        and group.flow.startswith("base")
        and group.dtype == "bfloat16"
    )


TARGETS = (
    Target(
        "warp_blend",
        "cpu",
        "times as fast as eager in its faster layout; contiguous",
        _over_eager(_contiguous),
        least=3,
    ),
    Target(
        "warp_blend",
        "cpu",
        "times as fast as eager in its faster layout; channels_last, C = 32",
        _over_eager(lambda g: g.layout == "channels_last" and _channels(g) == 32),
        least=8,
    ),
    Target(
        "warp_blend",
        "cpu",
        "times as fast as eager in its faster layout; everywhere",
        _over_eager(lambda g: True),
        least=1,
    ),
    Target(
        "warp_blend",
        "cuda",
        "share of copy bandwidth; forward that moves 100 MB or more",
        _of_copy(lambda g: _forward(g) and next(iter(g.rows.values()))["bytes"] >= LARGE),
        least=0.85,
        unit="%",
    ),
    Target(
        "warp_blend",
        "cuda",
        "times as fast as compiled; forward",
        _over("compiled", where=_forward),
        least=1.3,
    ),
    Target(
        "warp_blend",
        "cuda",
        "times as fast as compiled; forward + backward",
        _over("compiled", where=_training),
        least=2,
    ),
    Target(
        "grid_sample",
        "cpu",
        "times as fast as ATen; (2, 32, 256, 448), smooth flow",
        _over(
            "aten",
            where=lambda g: _gradients(g) and g.shape == (2, 32, 256, 448) and g.flow == "smooth",
        ),
        least=2,
    ),
    Target(
        "grid_sample",
        "cpu",
        "times as fast as ATen; everywhere",
        _over("aten", where=_gradients),
        least=1,
    ),
    Target(
        "grid_sample",
        "cuda",
        "times as fast as ATen; C of 32 or more",
        _over("aten", where=lambda g: _gradients(g) and _channels(g) >= 32),
        least=2,
    ),
    Target(
        "grid_sample",
        "cuda",
        "times as fast as ATen; everywhere",
        _over("aten", where=_gradients),
        least=1,
    ),
    Target(
        "grid_sample",
        "cuda",
        "time of the deterministic path over the fast one's",
        _deterministic,
        most=2,
    ),
    Target(
        "temporal_attention",
        "cpu",
        "what `auto` takes, times as fast as the faster of the reference and SDPA",
        _taken,
        least=1,
    ),
    Target(
        "temporal_attention",
        "cuda",
        "share of copy bandwidth; forward, window 1, one query",
        _of_copy(lambda g: _forward(g) and g.shape[1] == 1 and g.shape[7] == 1),
        least=0.8,
        unit="%",
    ),
    Target(
        "temporal_attention",
        "cuda",
        "times as fast as the fastest other; forward + backward, one query",
        _over(where=lambda g: _training(g) and g.shape[1] == 1),
        least=1.5,
    ),
    Target(
        "training_step",
        "cpu",
        "times as fast as the reference, in the fastest variant",
        _fastest,
        least=1,
    ),
    Target(
        "training_step",
        "cuda",
        "samples/s over the reference's, in the fastest variant; base, batch 4, 256 x 256",
        lambda group, groups: _fastest(group, groups) if _base_step(group) else None,
        least=2,
    ),
    Target(
        "training_step",
        "cuda",
        "peak memory over the reference's, in the leanest variant; base, batch 4, 256 x 256",
        _peak(_base_step, of_reference=True),
        most=0.5,
        unit="%",
    ),
    Target(
        "training_step",
        "cuda",
        "peak memory, in the leanest variant; base, batch 4, 256 x 256",
        _peak(_base_step),
        most=0.8e9,
        unit="GB",
    ),
    Target(
        "streaming",
        "cpu",
        "times as fast as the reference, in the fastest variant",
        _fastest,
        least=1,
    ),
    *(
        Target(
            "streaming",
            device,
            "time with fifteen frames of context over that with two",
            _of_context,
            most=1.25,
        )
        for device in ("cpu", "cuda")
    ),
)
