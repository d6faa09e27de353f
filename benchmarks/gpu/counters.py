"""What a GPU's hardware counters say of the kernels that are furthest from their roofline, by
Nsight Compute's `ncu`.

    python -m benchmarks.gpu.counters FOLDER [--most 2] [--json FILE]

FOLDER holds recorded results of this GPU. Of each operation the case counts whose fused kernels
reached the smallest share of their limit (`roofline.py`), and of these the furthest are run once
more, between marks that the profiler waits for, each kernel with a cold cache. NCU names the
program where it is not on the path. The exit code is LEFT_OUT, with a sentence why, where nothing
can be counted.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.compare import files
from benchmarks.harness.table import markdown
from benchmarks.report.gpus import by_copy, named
from benchmarks.report.roofline import OPERATIONS, Case, limit
from benchmarks.report.targets import DETERMINISTIC

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = 6  # the exit code: gpu.sh takes it for no failure
LEAST = 10e-6  # seconds at the limit: a shorter case mostly waits for its launch
CONTRIVED = ("collapse",)  # flows that no video has
FORBIDDEN = "ERR_NVGPUCTRPERM"
UNKNOWN = "Failed to find metric"  # of ncu, before what the card does not have
STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
STALLS = {
    "long_scoreboard": "global memory",
    "short_scoreboard": "shared memory",
    "lg_throttle": "the queue to global memory",
    "mio_throttle": "the queue to shared memory",
    "math_pipe_throttle": "arithmetic units",
    "barrier": "other warps",
    "wait": "fixed latencies",
    "no_instruction": "instructions",
    "not_selected": "their turn",
}
METRICS = {
    "seconds": "gpu__time_duration.sum",  # ncu counts nanoseconds
    "read": "dram__bytes_read.sum",
    "written": "dram__bytes_write.sum",
    "of DRAM": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 hits": "lts__t_sector_hit_rate.pct",
    "added in L2": "lts__t_sectors_op_red.sum",  # sectors that atomics without an answer touch
    "L1 requests": "l1tex__t_requests.sum",
    "of multiprocessors": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "registers": "launch__registers_per_thread",
    **{f"waits for {what}": STALL.format(reason) for reason, what in STALLS.items()},
}


class Uncountable(Exception):
    """Nothing can be counted here; the text is one sentence why."""


@dataclass(frozen=True)
class Chosen:
    """A recorded case: the test that runs it, which variant, and the share of its limit that it
    reached.
    """

    test: str
    case: Case
    variant: str
    layout: str
    flow: str
    share: float

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.case), self.variant, self.layout, self.flow)))


def furthest(folder: Path, most: int) -> list[Chosen]:
    """Of each operation the recorded case that is furthest from its roofline, and of these the
    furthest.
    """
    found: dict[str, Chosen] = {}
    for path in files(folder):
        text = json.loads(path.read_text())
        if not isinstance(text, dict) or text.get("toy"):
            continue
        for benchmark in text.get("benchmarks", []):
            row, operation = benchmark["extra_info"], benchmark["extra_info"].get("operation")
            if (
                operation not in OPERATIONS
                or row["device"] != "cuda"
                or not row["fused"]
                or row["variant"].endswith(DETERMINISTIC)
                or row["flow"] in CONTRIVED
            ):
                continue
            device = text["machine_info"]["lift"]["gpus"][0]["name"]
            case = Case(operation, row["direction"], row["dtype"], tuple(row["shape"]))
            least = limit(
                case, named(device) or by_copy(device, row["copy_bandwidth"] * 1e9)
            ).seconds
            one = Chosen(
                benchmark["fullname"],
                case,
                row["variant"],
                row["layout"],
                row["flow"],
                least / row["median"],
            )
            if least >= LEAST and (operation not in found or one.share < found[operation].share):
                found[operation] = one
    return sorted(found.values(), key=lambda one: one.share)[:most]


# -- counting --------------------------------------------------------------------------------------


def counted(chosen: Chosen, ncu: str, timeout: float = 300) -> list[dict]:
    """Every kernel that a case launches, in order: its name, and a number for each of METRICS that
    the card has.

    Raises:
        Uncountable: the driver lets only administrators count.
        RuntimeError: ncu or the case failed.
    """
    metrics = list(METRICS.values())
    while True:
        code, said = _run(chosen, ncu, metrics, timeout)
        errors = " ".join(line for line in said.splitlines() if UNKNOWN in line)
        known = [metric for metric in metrics if metric.split(".")[0] not in errors]
        if known == metrics:
            break
        metrics = known  # ncu counts nothing where it does not know one
    kernels = parsed(said)
    if code or not kernels:
        counted_ = f"ncu ended with {code} and counted {len(kernels)} kernels"
        raise RuntimeError(f"{chosen}: {counted_}\n{said[-2000:]}")
    return kernels


def _run(chosen: Chosen, ncu: str, metrics: list[str], timeout: float) -> tuple[int, str]:
    """Count these: the exit code of ncu, and all that it and the case print."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.csv"
        ran = subprocess.run(
            [
                ncu,
                "--csv",
                "--print-units",
                "base",
                "--clock-control",
                "none",
                "--profile-from-start",
                "off",
                "--target-processes",
                "all",
                "--metrics",
                ",".join(metrics),
                "--log-file",
                str(log),
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                chosen.test,
                "--counted",
                chosen.variant,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        said = (log.read_text(errors="replace") if log.exists() else "") + ran.stdout + ran.stderr
    if FORBIDDEN in said:
        raise Uncountable(
            f"the driver lets only administrators count ({FORBIDDEN}); "
            "NVreg_RestrictProfilingToAdminUsers=0 of its kernel module lets everyone"
        )
    return ran.returncode, said


def parsed(text: str) -> list[dict]:
    """The kernels in what ncu prints with --csv: a line a kernel and metric, between lines that say
    other things.
    """
    lines = [line for line in text.splitlines() if line.startswith('"')]
    keys, kernels = {name: key for key, name in METRICS.items()}, {}
    for line in csv.DictReader(lines):
        kernel = kernels.setdefault(
            (line["Process ID"], line["ID"]), {"kernel": line["Kernel Name"]}
        )
        try:
            value = float(line["Metric Value"].replace(",", ""))
        except ValueError:  # the card does not have it
            continue
        if key := keys.get(line["Metric Name"]):
            kernel[key] = value * 1e-9 if key == "seconds" else value
    return list(kernels.values())


# -- what is shown ---------------------------------------------------------------------------------


def waits(kernel: dict) -> str:
    """What its warps wait for most."""
    stalls = {
        key.removeprefix("waits for "): value
        for key, value in kernel.items()
        if key.startswith("waits for ")
    }
    return max(stalls, key=stalls.get) if stalls else ""


def longest(kernels: list[dict]) -> dict:
    """The kernel that takes most of the time."""
    return max(kernels, key=lambda kernel: kernel.get("seconds", 0.0))


def table(cases: list[dict]) -> str:
    """A line a kernel, in Markdown; `cases` as `main` writes them."""
    heads = [
        "case",
        "of its limit",
        "kernel",
        "us",
        "DRAM, MB",
        "of DRAM",
        "L2 hits",
        "sectors added to in L2, 1000",
        "L1 requests, 1000",
        "of multiprocessors",
        "occupancy",
        "registers",
        "warps wait for",
    ]

    def shown(kernel: dict, key: str, form: str, scale: float = 1.0) -> str:
        return form.format(kernel[key] * scale) if key in kernel else ""

    lines = [
        (
            case["case"],
            f"{case['share']:.0%}",
            f"`{kernel['kernel'][:60]}`",
            shown(kernel, "seconds", "{:.1f}", 1e6),
            shown(
                {"both": kernel.get("read", 0) + kernel.get("written", 0)}, "both", "{:.1f}", 1e-6
            ),
            *(shown(kernel, key, "{:.0f}%") for key in ("of DRAM", "L2 hits")),
            *(shown(kernel, key, "{:.1f}", 1e-3) for key in ("added in L2", "L1 requests")),
            *(shown(kernel, key, "{:.0f}%") for key in ("of multiprocessors", "occupancy")),
            shown(kernel, "registers", "{:.0f}"),
            waits(kernel),
        )
        for case in cases
        for kernel in case["kernels"]
    ]
    return markdown([heads, *lines], 3)


def main(argv: list[str] | None = None) -> int:
    """Count, print the table; 0, LEFT_OUT where nothing can be counted, 1 where counting failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.counters",
        description="Hardware counters of the slowest kernels.",
    )
    parser.add_argument("folder", type=Path, help="recorded results of this GPU")
    parser.add_argument("--most", type=int, default=2, help="operations (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counters there too")
    arguments = parser.parse_args(argv)
    try:
        ncu = os.environ.get("NCU") or shutil.which("ncu")
        if not ncu:
            raise Uncountable("ncu was not found; NCU names it, and Nsight Compute has it")
        if not (chosen := furthest(arguments.folder, arguments.most)):
            raise Uncountable(
                f"{arguments.folder} holds no result of a fused kernel on a GPU that takes {LEAST * 1e6:.0f} us at its limit"
            )
        cases = [
            {
                "case": str(one),
                "operation": one.case.operation,
                "test": one.test,
                "share": one.share,
                "kernels": counted(one, ncu),
            }
            for one in chosen
        ]
    except Uncountable as error:
        print(error)
        return LEFT_OUT
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"counters: error: {error}", file=sys.stderr)
        return 1
    print(table(cases))
    if arguments.json:
        arguments.json.write_text(json.dumps({"ncu": ncu, "cases": cases}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
