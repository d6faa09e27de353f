"""The table of targets: bound, worst measured case, verdict and bottleneck."""

from benchmarks.harness.registry import OPERATIONS
from benchmarks.harness.table import markdown
from benchmarks.report import targets
from benchmarks.report.counters import counted, longest, stall_reason
from benchmarks.report.gpus import by_copy, find_gpu
from benchmarks.report.limits import Case, limit
from benchmarks.report.results import Measurements
from benchmarks.report.targets import TargetResult

BOUND_BY = {
    "memory": "memory-bound",
    "float32": "bound by float32 arithmetic",
    "special": "bound by exponentials and divisions",
    "products": "bound by matrix products",
}
HEADS = ("machine", "operation", "figure", "target", "worst case", "measured", "verdict")


def target_table(
    all_found: list[Measurements], unmeasured: bool = True, bottlenecks: bool = False
) -> str:
    """Every target with its worst measured case.

    Args:
        all_found: one entry per machine.
        unmeasured: include the targets for devices without results.
        bottlenecks: add a column with what limits a case that misses its target.
    """
    lines = [
        _line(found.folder.name, one) + ((bottleneck(found, one),) if bottlenecks else ())
        for found in all_found
        for one in targets.evaluate(found)
    ]
    if unmeasured:
        lines += [
            _line("none yet" if one.target.device == "cpu" else "no GPU yet", one)
            + (("",) if bottlenecks else ())
            for one in targets.unmeasured(all_found)
        ]
    return markdown([HEADS + (("bottleneck",) if bottlenecks else ()), *lines])


def _line(machine: str, one: TargetResult) -> tuple[str, ...]:
    worst, case, figure = one.worst, "", ""
    if worst:
        case = f"{worst.shape} {worst.layout} {worst.direction} {worst.dtype} {worst.flow}"
        figure = one.target.format(one.figure)
    return machine, one.operation, one.target.label, one.target.bound, case, figure, one.verdict


def bottleneck(found: Measurements, result: TargetResult) -> str:
    """What limits the worst case, by recorded figures; "" if it meets its target."""
    group = result.worst
    if group is None or result.verdict == "met":
        return ""
    row = group.rows[(group.fused or group.subjects)[0]]
    parts = []
    if group.operation in OPERATIONS and group.dtype in ("float32", "float16", "bfloat16"):
        gpu = find_gpu(found.device) or by_copy(found.device, row["copy_bandwidth"] * 1e9)
        bound = limit(Case(group.operation, group.direction, group.dtype, group.shape), gpu)
        parts.append(f"{bound.seconds / row['median']:.0%} of its roofline, {BOUND_BY[bound.by]}")
    for case in counted(found.folder):
        if case["operation"] == group.operation:
            parts.append(_stalls(longest(case["kernels"])))
    if stages := _by_stage(row):
        slowest = max(stages, key=stages.get)
        parts.append(f"{slowest} takes {stages[slowest] / sum(stages.values()):.0%}")
    return "; ".join(parts) or "no profile recorded"


def _stalls(kernel: dict) -> str:
    text = f"warps of `{kernel['kernel'][:60]}` wait for {stall_reason(kernel) or 'nothing known'}"
    if "of DRAM" in kernel:
        text += f", DRAM at {kernel['of DRAM']:.0f}% of its peak"
    return text


def _by_stage(row: dict) -> dict[str, float]:
    """Seconds by stage of the model; forward and backward together. {} if not measured."""
    recorded = row.get("seconds_by_stage") or {}
    nested = any(isinstance(value, dict) for value in recorded.values())
    stages: dict[str, float] = {}
    for part in recorded.values() if nested else [recorded]:
        for stage, seconds in part.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages if sum(stages.values()) else {}
