"""Summary of a run of `benchmarks/gpu.sh`: `summary.md` and `summary.json` in its folder.

    python -m benchmarks.gpu.summary FOLDER

FOLDER holds `steps.tsv`, or `steps-1.tsv` to `steps-3.tsv` of the three parts (one line per step:
name, state, seconds), one log per step and the JSON files of the steps. The summary is written
again while steps run; it needs neither torch nor a GPU.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.harness.budget import SPENT
from benchmarks.harness.table import markdown, table
from benchmarks.report.counters import table as table_of_counters
from lift.files import atomic

LAST, NAMED, LONGEST = 12, 40, 300  # of a failed step: last lines, named tests, characters


def steps(folder: Path) -> list[dict]:
    """Each step: its state, seconds, last line of its log, and what a suite had no time for."""
    found = {}
    for path in sorted(folder.glob("steps*.tsv")):
        for line in path.read_text().splitlines():
            name, ended, seconds = line.split("\t")
            log = _log(folder, name)
            skipped = next((line for line in reversed(log) if line.startswith(SPENT)), "")
            found.pop(name, None)  # the build starts every part: the latest counts
            found[name] = {
                "step": name,
                "ended": ended,
                "seconds": int(seconds),
                "last line": log[-1].strip()[:160] if log else "",
                "skipped": skipped,
            }
    return list(found.values())


def _log(folder: Path, name: str) -> list[str]:
    """The nonempty lines of the log of a step."""
    log = folder / f"{name}.log"
    if not log.exists():
        return []
    return [line for line in log.read_text(errors="replace").splitlines() if line.strip()]


def why(folder: Path, name: str) -> list[str]:
    """The log of a failed step: a line per failed test, then the last lines."""
    lines = [line[:LONGEST] for line in _log(folder, name)]
    end = lines[-LAST:]
    named = [line for line in lines[:-LAST] if line.startswith(("FAILED ", "ERROR "))]
    if len(named) > NAMED:
        named[NAMED:] = [f"... and {len(named) - NAMED} more"]
    return [*named, *end]


def suites(folder: Path) -> dict[str, dict]:
    """The results of each suite, by name; those of a killed suite are its rows so far."""
    found = {}
    for path in sorted(folder.glob("bench_*.json")):
        if suite := _loaded(path):
            found[path.stem] = suite
    for path in sorted(folder.glob("bench_*.json.rows.jsonl")):
        name = path.name.removesuffix(".json.rows.jsonl")
        if name not in found:
            found[name] = {"benchmarks": [{"extra_info": row} for row in _rows(path)]}
    return found


def _loaded(path: Path) -> dict | None:
    """A JSON file; None if it is missing, or incomplete because its step was stopped."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _rows(path: Path) -> list[dict]:
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # the last line is incomplete
            break
    return rows


def machine_lines(suite: dict) -> list[str]:
    """The machine of a suite, with its GPUs before and after."""
    lift = suite["machine_info"]["lift"]
    lines = [f"- {name}: {value}" for name, value in lift["facts"].items()]
    lines += [f"- commit: {lift['commit'] or 'unknown'}, sources {lift.get('sources', 'unknown')}"]
    for when, gpus in (("before", lift["gpus"]), ("after", suite.get("gpus_after", []))):
        lines += [
            f"- GPU {when}: {', '.join(f'{name} {value}' for name, value in gpu.items())}"
            for gpu in gpus
        ]
    return lines


def page(folder: Path, dry: bool) -> tuple[str, dict]:
    """The page, and the same as data."""
    ran, results = steps(folder), suites(folder)
    machine = next((suite for suite in results.values() if "machine_info" in suite), None)
    lines = ["# Summary", ""]
    if dry:
        lines += ["**A dry run at toy size: its figures mean nothing.**", ""]
    failed = [step["step"] for step in ran if step["ended"].startswith("FAILED")]
    running = [step for step in ran if step["ended"].startswith("running")]
    waiting = [step["step"] for step in ran if step["ended"] == "not started"]
    lines += [f"{len(ran)} steps; failed: {', '.join(failed) or 'none'}.", ""]
    for step in running:
        lines += [
            f"**`{step['step']}` was {step['ended']} when this page was written: "
            "if the run has ended, it was killed in this step.**",
            "",
        ]
    if waiting:
        lines += [f"Not started: {', '.join(waiting)}.", ""]
    lines += [
        markdown(
            [
                ("step", "state", "s", "last line of its log"),
                *(
                    (
                        step["step"],
                        step["ended"],
                        str(step["seconds"]),
                        step["last line"].replace("|", "\\|"),
                    )
                    for step in ran
                ),
            ]
        )
    ]
    for name in failed:
        lines += ["", f"## {name}: failure", "", "```", *why(folder, name), "```"]
    skipped = [
        f"{step['step']}: {step['skipped'] or step['ended']}"
        for step in ran
        if step["skipped"] or step["ended"].startswith("skipped")
    ]
    if (folder / "skipped.txt").exists():
        skipped += (folder / "skipped.txt").read_text().splitlines()
    lines += ["", "## Skipped", "", *([f"- {line}" for line in skipped] or ["Nothing."])]
    if machine:
        lines += ["", "## Machine", "", *machine_lines(machine)]
    for name, suite in results.items():
        rows = [benchmark["extra_info"] for benchmark in suite["benchmarks"]]
        if rows:
            lines += ["", f"## {name}", "", markdown(table(rows))]
    counters = _loaded(folder / "counters.json")
    if counters:
        lines += ["", "## Hardware counters", "", table_of_counters(counters["cases"])]
    for name in ("canary", "convergence", "convergence_bf16", "profile", "tune"):
        log = folder / f"{name}.log"
        if log.exists():
            lines += ["", f"## {name}", "", "```", log.read_text(errors="replace").rstrip(), "```"]
    data = {
        "dry": dry,
        "steps": ran,
        "failed": failed,
        "skipped": skipped,
        "running": [step["step"] for step in running],
        "not started": waiting,
        "rows": {
            name: [benchmark["extra_info"] for benchmark in suite["benchmarks"]]
            for name, suite in results.items()
        },
        "machine": machine
        and {**machine["machine_info"]["lift"], "gpus_after": machine.get("gpus_after")},
    }
    return "\n".join(lines) + "\n", data


def main(argv: list[str] | None = None) -> int:
    """Write summary.md and summary.json."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.summary",
        description="Summary of a run of benchmarks/gpu.sh.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="mark the figures as meaningless")
    arguments = parser.parse_args(argv)
    text, data = page(arguments.folder, arguments.dry_run)
    texts = {"summary.md": text, "summary.json": json.dumps(data, indent=1) + "\n"}
    for name, content in texts.items():  # atomic: a run that is killed keeps a whole page
        with atomic(arguments.folder / name) as part:
            part.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
