"""What a run of `benchmarks/gpu.sh` found, on one page and in one file: `summary.md` and `summary.json` in its folder.

    python -m benchmarks.summary FOLDER

FOLDER holds `steps.tsv` (a line a step: name, how it ended, seconds), a log a step and the JSON files that the steps wrote.
"""
import argparse
import json
import sys
from pathlib import Path

from benchmarks.budget import SPENT
from benchmarks.counters import table as table_of_counters
from benchmarks.table import markdown, table


def steps(folder: Path) -> list[dict]:
    """Each step with how it ended, its seconds, and what its log says at the end; of tests also what no time was left for."""
    found = []
    for line in (folder / "steps.tsv").read_text().splitlines():
        name, ended, seconds = line.split("\t")
        log = folder / f"{name}.log"
        said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
        left = next((line for line in reversed(said) if line.startswith(SPENT)), "")
        found.append({"step": name, "ended": ended, "seconds": int(seconds), "said": said[-1][:160] if said else "", "left out": left})
    return found


def suites(folder: Path) -> dict[str, dict]:
    """What each suite wrote, by its name."""
    found = {}
    for path in sorted(folder.glob("bench_*.json")):
        try:
            found[path.stem] = json.loads(path.read_text())
        except ValueError:                              # it was stopped while it wrote: its step says so
            continue
    return found


def machine_lines(suite: dict) -> list[str]:
    """The machine that a suite ran on, with its GPUs before and after."""
    lift = suite["machine_info"]["lift"]
    lines = [f"- {name}: {value}" for name, value in lift["facts"].items()]
    lines += [f"- commit: {lift['commit'] or 'unknown'}, sources {lift.get('sources', 'unknown')}"]
    for when, gpus in (("before", lift["gpus"]), ("after", suite.get("gpus_after", []))):
        lines += [f"- GPU {when}: {', '.join(f'{name} {value}' for name, value in gpu.items())}" for gpu in gpus]
    return lines


def page(folder: Path, dry: bool) -> tuple[str, dict]:
    """The page, and the same for programs."""
    ran, results = steps(folder), suites(folder)
    lines = ["# What was found", ""]
    if dry:
        lines += ["**A dry run at toy size: its figures are worth nothing.**", ""]
    failed = [step["step"] for step in ran if step["ended"].startswith("FAILED")]
    lines += [f"{len(ran)} steps; failed: {', '.join(failed) or 'none'}.", ""]
    lines += [markdown([("step", "ended", "s", "its last words"), *((step["step"], step["ended"], str(step["seconds"]),
                                                                    step["said"].replace("|", "\\|")) for step in ran)])]
    left = [f"{step['step']}: {step['left out'] or step['ended']}" for step in ran
            if step["left out"] or step["ended"].startswith("left out")]
    if (folder / "left_out.txt").exists():
        left += (folder / "left_out.txt").read_text().splitlines()
    lines += ["", "## Left out", "", *([f"- {line}" for line in left] or ["Nothing."])]
    if results:
        lines += ["", "## Machine", "", *machine_lines(next(iter(results.values())))]
    for name, suite in results.items():
        rows = [benchmark["extra_info"] for benchmark in suite["benchmarks"]]
        if rows:
            lines += ["", f"## {name}", "", markdown(table(rows))]
    counters = folder / "counters.json"
    if counters.exists():
        lines += ["", "## Hardware counters", "", table_of_counters(json.loads(counters.read_text())["cases"])]
    for name in ("convergence", "convergence_bf16", "profile", "tune"):
        log = folder / f"{name}.log"
        if log.exists():
            lines += ["", f"## {name}", "", "```", log.read_text(errors="replace").rstrip(), "```"]
    data = {"dry": dry, "steps": ran, "failed": failed, "left out": left,
            "rows": {name: [benchmark["extra_info"] for benchmark in suite["benchmarks"]] for name, suite in results.items()},
            "machine": next(({**suite["machine_info"]["lift"], "gpus_after": suite.get("gpus_after")} for suite in results.values()), None)}
    return "\n".join(lines) + "\n", data


def main(argv: list[str] | None = None) -> int:
    """Write both files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summary", description="One page of what benchmarks/gpu.sh found.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="say that the figures are worth nothing")
    arguments = parser.parse_args(argv)
    text, data = page(arguments.folder, arguments.dry_run)
    (arguments.folder / "summary.md").write_text(text)
    (arguments.folder / "summary.json").write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
