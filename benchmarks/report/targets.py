"""Recorded results against the targets of the registry.

A target holds for every case that it applies to; the worst case is shown beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.harness.registry import DETERMINISTIC, SUITES
from benchmarks.harness.target import Target
from benchmarks.report.results import Group, Measurements, Speedup

Figure = Speedup | float | None


@dataclass(frozen=True)
class TargetResult:
    """A target on a machine.

    Attributes:
        operation: name in the registry.
        target: the bound.
        cases: how many it applies to; 0 if none was measured.
        met: how many of them meet it.
        worst: the worst case.
        figure: of the worst case.
    """

    operation: str
    target: Target
    cases: int = 0
    met: int = 0
    worst: Group | None = None
    figure: Speedup | float = 0.0

    @property
    def verdict(self) -> str:
        if not self.cases:
            return "not measured yet"
        if self.met == self.cases:
            return "met"
        return f"missed in {self.cases - self.met} of {self.cases}"


def evaluate(found: Measurements) -> list[TargetResult]:
    """Every target for the device of a machine."""
    device = _device(found)
    return [
        _evaluate(name, target, found.operations.get(name, []))
        for name, target in _targets()
        if target.device == device
    ]


def unmeasured(all_found: list[Measurements]) -> list[TargetResult]:
    """The targets for a kind of device that no recorded machine has."""
    devices = {_device(found) for found in all_found}
    return [
        TargetResult(name, target) for name, target in _targets() if target.device not in devices
    ]


def _targets() -> list[tuple[str, Target]]:
    return [(name, target) for name, suite in SUITES.items() for target in suite.targets]


def _device(found: Measurements) -> str:
    return "cpu" if found.device == "cpu" else "cuda"


def _evaluate(operation: str, target: Target, groups: list[Group]) -> TargetResult:
    metric = METRICS[target.metric]
    figures = [
        (figure, group)
        for group in groups
        if target.applies(group) and (figure := metric(group, groups)) is not None
    ]
    if not figures:
        return TargetResult(operation, target)
    pick = min if target.at_most is None else max
    figure, worst = pick(figures, key=lambda one: _value(one[0]))
    met = sum(target.met(_value(value)) for value, _ in figures)
    return TargetResult(operation, target, len(figures), met, worst, figure)


def _value(figure: Speedup | float) -> float:
    return figure.value if isinstance(figure, Speedup) else figure


# -- metrics: (case, all cases of the operation) to a figure, None if it was not measured ----------


def _fused(group: Group) -> str | None:
    """The fast path of the fused variant."""
    return next((name for name in group.fused if not name.endswith(DETERMINISTIC)), None)


def speedup_over(*names: str) -> Callable[[Group, list[Group]], Figure]:
    """Speedup over the fastest of some variants; of all others if none is named."""

    def figure(group: Group, groups: list[Group]) -> Speedup | None:
        subject = _fused(group)
        others = [name for name in names or group.others if name in group.rows]
        if subject is None or not others:
            return None
        return group.speedup(subject, min(others, key=lambda name: group.rows[name]["median"]))

    return figure


def speedup_over_eager(group: Group, groups: list[Group]) -> Speedup | None:
    """Speedup over eager PyTorch in the faster of the recorded layouts."""
    subject = _fused(group)
    same = [
        other.rows["eager"]
        for other in groups
        if "eager" in other.rows
        and (other.direction, other.dtype, other.shape, other.flow)
        == (group.direction, group.dtype, group.shape, group.flow)
    ]
    if subject is None or not same:
        return None
    return Speedup.of(group.rows[subject], min(same, key=lambda row: row["median"]))


def share_of_copy_bandwidth(group: Group, groups: list[Group]) -> float | None:
    subject = _fused(group)
    return group.rows[subject]["share_of_copy_bandwidth"] if subject else None


def deterministic_cost(group: Group, groups: list[Group]) -> float | None:
    """Time of the deterministic path over that of the fast path."""
    fast = _fused(group)
    slow = group.rows.get(f"{fast}{DETERMINISTIC}")
    return slow["median"] / group.rows[fast]["median"] if slow else None


def speedup_over_reference(group: Group, groups: list[Group]) -> Speedup | None:
    """Speedup of the fastest fused variant over the reference."""
    gains = [gain for name in group.fused if (gain := group.speedup(name, "reference"))]
    return max(gains, key=_value, default=None)


def speedup_of_auto(group: Group, groups: list[Group]) -> Speedup | None:
    """Speedup of the backend that `auto` selects, which is the first variant of a case."""
    auto, *_ = group.rows
    names = ("reference", "sdpa", "sdpa_shared")
    others = [name for name in names if name in group.rows and name != auto]
    if not others:
        return None
    return group.speedup(auto, min(others, key=lambda name: group.rows[name]["median"]))


def peak_memory(group: Group, groups: list[Group]) -> float | None:
    """Peak memory of the leanest fused variant, bytes, if the reference was measured too.

    Replays of a CUDA graph allocate nothing, so a graph counts only with the peak of its capture.
    """
    rows = [
        group.rows[name]
        for name in group.fused
        if "graph" not in name or group.rows[name].get("peak_of_recording")
    ]
    peaks = [peak for row in rows if (peak := row["peak_memory"]) is not None]
    return min(peaks) if peaks and "reference" in group.rows else None


def peak_memory_over_reference(group: Group, groups: list[Group]) -> float | None:
    peak = peak_memory(group, groups)
    return None if peak is None else peak / group.rows["reference"]["peak_memory"]


def context_cost(group: Group, groups: list[Group]) -> float | None:
    """Time of a fused stream with fifteen frames of context over that with two."""
    flow, subject = group.flow.replace("15 frames", "2 frames"), _fused(group)
    for other in groups:
        same = (other.dtype, other.shape, other.flow) == (group.dtype, group.shape, flow)
        if same and other.flow != group.flow and subject in other.rows:
            return group.rows[subject]["median"] / other.rows[subject]["median"]
    return None


METRICS: dict[str, Callable[[Group, list[Group]], Figure]] = {
    "speedup_over_eager": speedup_over_eager,
    "speedup_over_compiled": speedup_over("compiled"),
    "speedup_over_aten": speedup_over("aten"),
    "speedup_over_fastest_other": speedup_over(),
    "speedup_over_reference": speedup_over_reference,
    "speedup_of_auto": speedup_of_auto,
    "share_of_copy_bandwidth": share_of_copy_bandwidth,
    "deterministic_cost": deterministic_cost,
    "peak_memory": peak_memory,
    "peak_memory_over_reference": peak_memory_over_reference,
    "context_cost": context_cost,
}
