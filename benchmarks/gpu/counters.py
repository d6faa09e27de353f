"""Hardware counters of the kernels furthest from their roofline, by Nsight Compute (`ncu`).

    python -m benchmarks.gpu.counters FOLDER [--most 2] [--json FILE]

FOLDER holds recorded results of this GPU. For each operation the case whose fused kernels reached
the smallest share of their roofline is a candidate; the worst of these run again under the
profiler, each kernel with a cold cache. NCU names the program if it is not on the path. The exit
code is SKIPPED, with the reason on stdout, where counters cannot be read.
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
from benchmarks.harness.registry import DETERMINISTIC, OPERATIONS
from benchmarks.report.counters import STALL, table
from benchmarks.report.gpus import by_copy, find_gpu
from benchmarks.report.limits import Case, limit

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 6  # exit code that gpu.sh does not treat as a failure
MIN_SECONDS = 10e-6  # seconds at the limit: shorter cases are dominated by their launch
CONTRIVED = ("collapse",)  # flows that occur in no video
FORBIDDEN = "ERR_NVGPUCTRPERM"
UNKNOWN = "Failed to find metric"  # message of ncu for metrics that the GPU does not have
STALL_METRIC = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
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
    "seconds": "gpu__time_duration.sum",  # ncu reports nanoseconds
    "read": "dram__bytes_read.sum",
    "written": "dram__bytes_write.sum",
    "of DRAM": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 hits": "lts__t_sector_hit_rate.pct",
    "added in L2": "lts__t_sectors_op_red.sum",  # sectors of atomics without a return value
    "L1 requests": "l1tex__t_requests.sum",
    "of multiprocessors": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "registers": "launch__registers_per_thread",
    **{f"{STALL}{what}": STALL_METRIC.format(reason) for reason, what in STALLS.items()},
}


class ProfilerUnavailable(Exception):
    """Counters cannot be read here; the text is one sentence with the reason."""


@dataclass(frozen=True)
class Candidate:
    """A recorded case: the test that runs it, its variant, and its share of the roofline."""

    test: str
    case: Case
    variant: str
    layout: str
    flow: str
    share: float

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.case), self.variant, self.layout, self.flow)))


def furthest(folder: Path, most: int) -> list[Candidate]:
    """The recorded case of each operation furthest from its roofline; the worst `most` of them."""
    found: dict[str, Candidate] = {}
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
                case, find_gpu(device) or by_copy(device, row["copy_bandwidth"] * 1e9)
            ).seconds
            one = Candidate(
                benchmark["fullname"],
                case,
                row["variant"],
                row["layout"],
                row["flow"],
                least / row["median"],
            )
            if least >= MIN_SECONDS and (
                operation not in found or one.share < found[operation].share
            ):
                found[operation] = one
    return sorted(found.values(), key=lambda one: one.share)[:most]


# -- counting --------------------------------------------------------------------------------------


def counted(chosen: Candidate, ncu: str, timeout: float = 300) -> list[dict]:
    """Every kernel that a case launches, in order: its name and each of METRICS that the GPU has.

    Raises:
        ProfilerUnavailable: the driver allows counters to administrators only.
        RuntimeError: ncu or the case failed.
    """
    metrics = list(METRICS.values())
    while True:
        code, said = _run(chosen, ncu, metrics, timeout)
        errors = " ".join(line for line in said.splitlines() if UNKNOWN in line)
        known = [metric for metric in metrics if metric.split(".")[0] not in errors]
        if known == metrics:
            break
        metrics = known  # ncu reads no counter if it does not know one
    kernels = parsed(said)
    if code or not kernels:
        counted_ = f"ncu exited with {code} and counted {len(kernels)} kernels"
        raise RuntimeError(f"{chosen}: {counted_}\n{said[-2000:]}")
    return kernels


def _run(chosen: Candidate, ncu: str, metrics: list[str], timeout: float) -> tuple[int, str]:
    """Run ncu for some metrics: its exit code, and the output of both programs."""
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
        raise ProfilerUnavailable(
            f"the driver allows counters to administrators only ({FORBIDDEN}); "
            "set NVreg_RestrictProfilingToAdminUsers=0 for its kernel module"
        )
    return ran.returncode, said


def parsed(text: str) -> list[dict]:
    """The kernels in the output of `ncu --csv`: one line per kernel and metric, among others."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    keys, kernels = {name: key for key, name in METRICS.items()}, {}
    for line in csv.DictReader(lines):
        kernel = kernels.setdefault(
            (line["Process ID"], line["ID"]), {"kernel": line["Kernel Name"]}
        )
        try:
            value = float(line["Metric Value"].replace(",", ""))
        except ValueError:  # the GPU does not have it
            continue
        if key := keys.get(line["Metric Name"]):
            kernel[key] = value * 1e-9 if key == "seconds" else value
    return list(kernels.values())


# -- the command -----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Read the counters and print the table; 0, SKIPPED without a profiler, 1 after a failure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.counters",
        description="Hardware counters of the slowest kernels.",
    )
    parser.add_argument("folder", type=Path, help="recorded results of this GPU")
    parser.add_argument("--most", type=int, default=2, help="operations (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the counters there")
    arguments = parser.parse_args(argv)
    try:
        ncu = os.environ.get("NCU") or shutil.which("ncu")
        if not ncu:
            raise ProfilerUnavailable(
                "ncu was not found; install Nsight Compute, or set NCU to the program"
            )
        if not (chosen := furthest(arguments.folder, arguments.most)):
            raise ProfilerUnavailable(
                f"{arguments.folder} has no GPU result of a fused kernel "
                f"with a roofline of {MIN_SECONDS * 1e6:.0f} us or more"
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
    except ProfilerUnavailable as error:
        print(error)
        return SKIPPED
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"counters: error: {error}", file=sys.stderr)
        return 1
    print(table(cases))
    if arguments.json:
        arguments.json.write_text(json.dumps({"ncu": ncu, "cases": cases}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
