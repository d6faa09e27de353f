"""Recorded results as the report shows them: a folder below results/ is a machine, and its rows are
grouped by what they computed.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.compare import Refused, files, load

RESULTS = Path(__file__).resolve().parents[1] / "results"
REFERENCE = "reference"  # what the rest is held against where no variant is fused


@dataclass(frozen=True)
class Speedup:
    """How many times as fast: the ratio of the medians, and what it is when both move by half of
    their spread, apart or together.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, row: dict, other: dict) -> "Speedup":
        """That of a row over another one's variant."""
        ratio, mine, theirs = (
            other["median"] / row["median"],
            row["spread"] / 2,
            other["spread"] / 2,
        )
        return cls(
            ratio,
            ratio * max(1 - theirs, 0.0) / (1 + mine),
            ratio * (1 + theirs) / max(1 - mine, 1e-3),
        )


@dataclass(frozen=True)
class Group:
    """All variants of one case.

    Attributes:
        shape: as the operation has it.
        flow: the flow profile, or what else tells cases of one shape apart.
        rows: each variant's row.
    """

    operation: str
    direction: str
    dtype: str
    layout: str
    shape: tuple
    flow: str
    rows: dict[str, dict]

    @property
    def fused(self) -> list[str]:
        """The variants that are kernels of this project."""
        return [name for name, row in self.rows.items() if row["fused"]]

    @property
    def subjects(self) -> list[str]:
        """The variants that are held against the others: the fused ones; where there are none, all
        but the reference; or what there is.
        """
        return self.fused or [name for name in self.rows if name != REFERENCE] or list(self.rows)

    @property
    def others(self) -> list[str]:
        """What they are held against."""
        return [name for name in self.rows if name not in self.subjects]

    def speedup(self, subject: str, other: str) -> Speedup | None:
        """None where one of them was not measured, or both are one.

        Times that were taken in turn with the subject's come first.
        """
        row = self.rows.get(subject)
        beside = (row or {}).get("in_turn_with") or {}
        their = beside if beside.get("variant") == other else self.rows.get(other)
        return None if subject == other or row is None or their is None else Speedup.of(row, their)


@dataclass(frozen=True)
class Source:
    """One recorded file: its name, and what its figures depend on, by name."""

    file: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Measurements:
    """What was measured on one machine.

    Attributes:
        folder: where it lies.
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
    """What was recorded in a folder.

    Raises:
        Refused: nothing was, or it is of a dry run, of several machines, or holds a case twice.
    """
    run, texts = load(folder), {}
    for path in files(folder):
        text = json.loads(path.read_text())
        if isinstance(text, dict) and text.get("benchmarks"):
            texts[str(path.relative_to(folder))] = text
    gpu = run.machine["GPU"]
    cpu = f"{run.machine['CPU']}, {run.machine['processors']} processors, {run.machine['threads']} threads"
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
    """Of every machine that results were recorded of, GPUs first.

    Raises:
        Refused: as `measurements`; or no machine has any.
    """
    found = [measurements(path) for path in sorted(folder.glob("*/")) if any(path.rglob("*.json"))]
    if not found:
        raise Refused(
            f"{folder}: no results of benchmarks; record some with `lift bench --json {folder}/MACHINE`"
        )
    return sorted(found, key=lambda one: one.device == "cpu")


def _shape(row: dict) -> tuple:
    shape = row.get("shape", ())
    return tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else (shape,)


def _by_context(row: dict) -> tuple[str, str]:
    """Flow and variant. Streams with fifteen frames of context and with two are two cases, not two
    ways to compute one.
    """
    flow, variant, context = row.get("flow", ""), row["variant"], row.get("context")
    return (
        (flow, variant)
        if context is None
        else (f"{flow}, {context} frames", variant.removesuffix(f" {context}"))
    )


def _facts(text: dict) -> dict[str, str]:
    """What the figures of a file depend on."""
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
