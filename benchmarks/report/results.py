"""Recorded results by machine and case: a folder below `results/` is a machine."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.compare import IncompatibleRuns, files, load

RESULTS = Path(__file__).resolve().parents[1] / "results"
REFERENCE = "reference"  # the baseline where no variant is fused


@dataclass(frozen=True)
class Speedup:
    """Ratio of two medians, and its range when both move by half of their spread."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, row: dict, other: dict) -> "Speedup":
        """Speedup of a row over another."""
        ratio = other["median"] / row["median"]
        own, others = row["spread"] / 2, other["spread"] / 2
        low = ratio * max(1 - others, 0.0) / (1 + own)
        return cls(ratio, low, ratio * (1 + others) / max(1 - own, 1e-3))


@dataclass(frozen=True)
class Group:
    """All variants of one case.

    Attributes:
        shape: of the operation's arguments; the registry's `axes` name the numbers.
        flow: the flow profile, or what else distinguishes cases of one shape.
        rows: one per variant.
    """

    operation: str
    direction: str
    dtype: str
    layout: str
    shape: tuple
    flow: str
    rows: dict[str, dict]

    @property
    def bytes(self) -> int:
        """Bytes that the case must move; 0 if unknown."""
        return max(row.get("bytes") or 0 for row in self.rows.values())

    @property
    def fused(self) -> list[str]:
        """The variants that are kernels of this project."""
        return [name for name, row in self.rows.items() if row["fused"]]

    @property
    def subjects(self) -> list[str]:
        """The variants whose speedup is shown: the fused ones, else all but the reference."""
        return self.fused or [name for name in self.rows if name != REFERENCE] or list(self.rows)

    @property
    def others(self) -> list[str]:
        """The baselines."""
        return [name for name in self.rows if name not in self.subjects]

    def speedup(self, subject: str, other: str) -> Speedup | None:
        """Speedup of one variant over another; None if one was not measured or both are the same.

        Baseline times that were taken alternately with the subject's are preferred.
        """
        row = self.rows.get(subject)
        paired = (row or {}).get("in_turn_with") or {}
        baseline = paired if paired.get("variant") == other else self.rows.get(other)
        if subject == other or row is None or baseline is None:
            return None
        return Speedup.of(row, baseline)


@dataclass(frozen=True)
class Source:
    """One recorded file: its name, and what its figures depend on, by name."""

    file: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Measurements:
    """The results of one machine.

    Attributes:
        folder: of the results.
        device: the GPU's name as its driver reports it, or "cpu".
        title: the machine in words.
        sources: the files.
        groups: every case.
    """

    folder: Path
    device: str
    title: str
    sources: list[Source]
    groups: list[Group]

    @property
    def operations(self) -> dict[str, list[Group]]:
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            found.setdefault(group.operation, []).append(group)
        return found


def measurements(folder: Path) -> Measurements:
    """The results in a folder.

    Raises:
        IncompatibleRuns: there are none, or they are of a smoke test, of several machines, or have
            a case twice.
    """
    run, texts = load(folder), {}
    for path in files(folder):
        text = json.loads(path.read_text())
        if isinstance(text, dict) and text.get("benchmarks"):
            texts[str(path.relative_to(folder))] = text
    gpu = run.machine["GPU"]
    cpu = (
        f"{run.machine['CPU']}, {run.machine['processors']} processors, "
        f"{run.machine['threads']} threads"
    )
    found: dict[tuple, Group] = {}
    for row in run.rows.values():
        flow, variant = _by_context(row)
        key = (
            *(row.get(name, "") for name in ("operation", "direction", "dtype", "layout")),
            _shape(row),
            flow,
        )
        found.setdefault(key, Group(*key, {})).rows[variant] = row
    return Measurements(
        folder,
        "cpu" if gpu == "none" else gpu.split(", ")[0],
        cpu if gpu == "none" else f"{gpu}, with {cpu}",
        [Source(name, _facts(text)) for name, text in texts.items()],
        list(found.values()),
    )


def all_measurements(folder: Path = RESULTS) -> list[Measurements]:
    """The results of every machine, GPUs first.

    Raises:
        IncompatibleRuns: as `measurements`; or no machine has any.
    """
    found = [measurements(path) for path in sorted(folder.glob("*/")) if any(path.rglob("*.json"))]
    if not found:
        raise IncompatibleRuns(
            f"{folder}: no benchmark results; record some with `lift bench --json {folder}/MACHINE`"
        )
    return sorted(found, key=lambda one: one.device == "cpu")


def _shape(row: dict) -> tuple:
    shape = row.get("shape", ())
    return tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else (shape,)


def _by_context(row: dict) -> tuple[str, str]:
    """Flow and variant of a row.

    Streams with fifteen and with two frames of context are two cases, not two variants of one.
    """
    flow, variant, context = row.get("flow", ""), row["variant"], row.get("context")
    return (
        (flow, variant)
        if context is None
        else (f"{flow}, {context} frames", variant.removesuffix(f" {context}"))
    )


def _facts(text: dict) -> dict[str, str]:
    """What the figures of a file depend on, by name."""
    lift, cpu = text["machine_info"]["lift"], text["machine_info"].get("cpu", {})
    found = {
        "recorded": text["datetime"][:16].replace("T", " "),
        "commit": lift["commit"][:10] + ("+" if lift["commit"].endswith("+") else ""),
        "torch": lift["facts"]["torch"].split(",")[0],
        "Triton": lift["facts"].get("triton", ""),
        "CUDA": lift.get("cuda") or "",
        "threads": str(lift["threads"]),
        "CPU clock": "" if lift["gpus"] else cpu.get("hz_actual_friendly", ""),
    }
    if lift["gpus"]:
        before, after = lift["gpus"][0], (text.get("gpus_after") or lift["gpus"])[0]
        found |= {
            "driver": str(before["driver"]),
            "clock, MHz": _change(before, after, "clock"),
            "memory clock, MHz": _change(before, after, "memory clock"),
            "temperature, °C": _change(before, after, "temperature"),
            "power limit, W": str(before["power limit"]),
            "lowered by": ", ".join(
                dict.fromkeys((before["lowered by"] or []) + (after["lowered by"] or []))
            )
            or "nothing",
        }
    return {name: value for name, value in found.items() if value}


def _change(before: dict, after: dict, name: str) -> str:
    return f"{before[name]}" if before[name] == after[name] else f"{before[name]} to {after[name]}"
