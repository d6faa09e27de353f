"""What a run of `benchmarks/gpu.sh` found, on one page and in one file: `summary.md` and
`summary.json` in its folder.

    python -m benchmarks.gpu.summary FOLDER

FOLDER holds `steps.tsv`, or `steps-1.tsv` to `steps-3.tsv` of the three parts (a line a step: name,
how it ended, seconds), a log a step and the JSON files that the steps wrote. The page is made again
while steps run, so it says which one does; it needs neither torch nor a GPU.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.gpu.counters import table as table_of_counters
from benchmarks.harness.budget import SPENT
from benchmarks.harness.table import markdown, table
from lift.files import atomic

LAST, NAMED, LONGEST = 12, 40, 300  # of a failed step: last lines, named tests, characters


def steps(folder: Path) -> list[dict]:
    """Each step with how it ended, its seconds, and the end of its log; of tests also what no time
    was left for."""
    found = {}
    for path in sorted(folder.glob("steps*.tsv")):
        for line in path.read_text().splitlines():
            name, ended, seconds = line.split("\t")
            said = _log(folder, name)
            left = next((line for line in reversed(said) if line.startswith(SPENT)), "")
            found.pop(name, None)  # of the build, which begins every part, the latest
            found[name] = {
                "step": name,
                "ended": ended,
                "seconds": int(seconds),
                "said": said[-1].strip()[:160] if said else "",
                "left out": left,
            }
    return list(found.values())


def _log(folder: Path, name: str) -> list[str]:
    """The lines of a step's log that are not empty."""
    log = folder / f"{name}.log"
    if not log.exists():
        return []
    return [line for line in log.read_text(errors="replace").splitlines() if line.strip()]


def why(folder: Path, name: str) -> list[str]:
    """What the log of a failed step says: a line for each failed test, then the last lines."""
    lines = [line[:LONGEST] for line in _log(folder, name)]
    end = lines[-LAST:]
    named = [line for line in lines[:-LAST] if line.startswith(("FAILED ", "ERROR "))]
    if len(named) > NAMED:
        named[NAMED:] = [f"... and {len(named) - NAMED} more"]
    return [*named, *end]


def suites(folder: Path) -> dict[str, dict]:
    """What each suite wrote, by its name; of one that was killed, the rows that it had."""
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
    """What a JSON file holds; None where there is none, or half of one: its step was stopped."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _rows(path: Path) -> list[dict]:
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # the last one, cut off
            break
    return rows


def machine_lines(suite: dict) -> list[str]:
    """The machine that a suite ran on, with its GPUs before and after."""
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
    """The page, and the same for programs."""
    ran, results = steps(folder), suites(folder)
    machine = next((suite for suite in results.values() if "machine_info" in suite), None)
    lines = ["# What was found", ""]
    if dry:
        lines += ["**A dry run at toy size: its figures are worth nothing.**", ""]
    failed = [step["step"] for step in ran if step["ended"].startswith("FAILED")]
    running = [step for step in ran if step["ended"].startswith("running")]
    to_come = [step["step"] for step in ran if step["ended"] == "not begun"]
    lines += [f"{len(ran)} steps; failed: {', '.join(failed) or 'none'}.", ""]
    for step in running:
        lines += [
            f"**`{step['step']}` was {step['ended']} when this page was written: "
            "if the run is over, it was killed there.**",
            "",
        ]
    if to_come:
        lines += [f"Not begun: {', '.join(to_come)}.", ""]
    lines += [
        markdown(
            [
                ("step", "ended", "s", "its last words"),
                *(
                    (
                        step["step"],
                        step["ended"],
                        str(step["seconds"]),
                        step["said"].replace("|", "\\|"),
                    )
                    for step in ran
                ),
            ]
        )
    ]
    for name in failed:
        lines += ["", f"## {name}: why it failed", "", "```", *why(folder, name), "```"]
    left = [
        f"{step['step']}: {step['left out'] or step['ended']}"
        for step in ran
        if step["left out"] or step["ended"].startswith("left out")
    ]
    if (folder / "left_out.txt").exists():
        left += (folder / "left_out.txt").read_text().splitlines()
    lines += ["", "## Left out", "", *([f"- {line}" for line in left] or ["Nothing."])]
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
        "left out": left,
        "running": [step["step"] for step in running],
        "not begun": to_come,
        "rows": {
            name: [benchmark["extra_info"] for benchmark in suite["benchmarks"]]
            for name, suite in results.items()
        },
        "machine": machine
        and {**machine["machine_info"]["lift"], "gpus_after": machine.get("gpus_after")},
    }
    return "\n".join(lines) + "\n", data


def main(argv: list[str] | None = None) -> int:
    """Write both files."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.summary",
        description="One page of what benchmarks/gpu.sh found.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--dry-run", action="store_true", help="say that the figures are worth nothing"
    )
    arguments = parser.parse_args(argv)
    text, data = page(arguments.folder, arguments.dry_run)
    texts = {"summary.md": text, "summary.json": json.dumps(data, indent=1) + "\n"}
    for name, content in texts.items():  # a run that is killed now has the page before it
        with atomic(arguments.folder / name) as part:
            part.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
