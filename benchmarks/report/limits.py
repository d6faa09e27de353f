"""The roofline of recorded cases: least time on a GPU, measured share of it, and projections.

A GPU moves and computes a given amount per second (`gpus.py`); the longest of the times that the
work of a pass (`benchmarks.harness.work`) takes is its limit. With recorded results, each row has
its share of that limit. For a GPU without results a projection divides its limit by the smallest
share that the same row reached on a measured GPU.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.compare import files
from benchmarks.harness.registry import OPERATIONS
from benchmarks.harness.work import BYTES, Work
from benchmarks.report.gpus import Gpu, by_copy, find_gpu

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Case:
    """One case of an operation.

    Attributes:
        operation: name in the registry.
        direction: "forward", "backward" (the gradients of all inputs) or "forward+backward".
        dtype: of images, features or queries.
        shape: as the registry's `axes` of the operation.
    """

    operation: str
    direction: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.operation} {self.direction} {self.dtype} {'x'.join(map(str, self.shape))}"

    @property
    def passes(self) -> list[Work]:
        """The least work of each pass; a pass starts when the one before has ended."""
        return OPERATIONS[self.operation].passes(self.shape, self.dtype, self.direction)

    @property
    def bytes(self) -> int:
        return sum(work.bytes for work in self.passes)


def cases() -> Iterator[Case]:
    """What the tables show where nothing is recorded: sizes of training crops and of video."""
    for name, suite in OPERATIONS.items():
        for shape in suite.shapes:
            for direction in suite.directions:
                yield Case(name, direction, suite.dtype, shape)


# -- the limit of a GPU ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """The least time, seconds, and what bounds it: "memory", "float32", "special" or "products"."""

    seconds: float
    by: str


def limit(case: Case, gpu: Gpu) -> Limit:
    """The least time of a case on a GPU, and what bounds its longest pass."""
    # Three TF32 products make one in float32.
    products = gpu.tensor if BYTES[case.dtype] == 2 else max(gpu.fp32, gpu.tf32 / 3)
    passes = []
    for work in case.passes:
        times = {
            "memory": work.bytes / gpu.bandwidth,
            "float32": work.operations / gpu.fp32,
            "special": work.specials / (gpu.fp32 * gpu.special),
            "products": work.products / products,
        }
        by = max(times, key=times.get)
        passes.append(Limit(times[by], by))
    return Limit(sum(one.seconds for one in passes), max(passes, key=lambda one: one.seconds).by)


# -- recorded results ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One recorded row.

    Attributes:
        case: what was computed.
        variant: name of the backend or of what it is compared with.
        layout, flow: memory layout and flow profile; "" if there is none.
        device: the GPU's name as its driver reports it, or "cpu".
        seconds: the median.
        copy: bytes per second of a copy in the same run.
        of_copy: achieved share of it.
        fused: whether it is one of the project's kernels.
    """

    case: Case
    variant: str
    layout: str
    flow: str
    device: str
    seconds: float
    copy: float
    of_copy: float
    fused: bool

    @property
    def row(self) -> tuple:
        """What must be equal for results of different devices to be comparable."""
        return self.case, self.variant, self.layout, self.flow


def recorded(folder: Path = RESULTS) -> list[Result]:
    """Rows of operations from every JSON file of the benchmarks below a folder.

    Smoke tests are left out.
    """
    found = []
    for path in files(folder):
        text = json.loads(path.read_text())
        if not isinstance(text, dict) or "benchmarks" not in text or text.get("toy"):
            continue
        gpus = text["machine_info"].get("lift", {}).get("gpus") or [{}]
        for row in (benchmark["extra_info"] for benchmark in text["benchmarks"]):
            if row.get("operation") in OPERATIONS and row["dtype"] in BYTES:
                name = gpus[0].get("name") or "unnamed GPU"
                found.append(_result(row, name if row["device"] == "cuda" else row["device"]))
    return found


def _result(row: dict, device: str) -> Result:
    return Result(
        case=Case(row["operation"], row["direction"], row["dtype"], tuple(row["shape"])),
        variant=row["variant"],
        layout=row.get("layout", ""),
        flow=row.get("flow", ""),
        device=device,
        seconds=row["median"],
        copy=row["copy_bandwidth"] * 1e9,
        of_copy=row["share_of_copy_bandwidth"],
        fused=bool(row["fused"]),
    )


# -- rows of the tables ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A case on a GPU.

    Attributes:
        kind: "limit" (nothing measured), "measured" or "projected".
        gpu: its name.
        limit: seconds.
        by: what bounds the limit.
        seconds: measured or projected; None for a limit alone.
        share: limit / seconds.
        of_copy: achieved share of the copy bandwidth of the same run, if measured.
        basis: of a projection, the GPU that was measured.
    """

    kind: str
    case: Case
    gpu: str
    limit: float
    by: str
    variant: str = ""
    layout: str = ""
    flow: str = ""
    seconds: float | None = None
    share: float | None = None
    of_copy: float | None = None
    basis: str = ""


def limits(chosen: list[Case], gpus: list[Gpu]) -> list[Row]:
    """The limits of cases, without results."""
    rows = []
    for case in chosen:
        for gpu in gpus:
            found = limit(case, gpu)
            rows.append(Row("limit", case, gpu.name, found.seconds, found.by))
    return rows


def measured(results: list[Result]) -> list[Row]:
    """Every recorded row. The limit of a device without a datasheet here is its copy bandwidth."""
    rows = []
    for result in results:
        gpu = find_gpu(result.device) or by_copy(result.device, result.copy)
        found = limit(result.case, gpu)
        rows.append(
            Row(
                kind="measured",
                case=result.case,
                gpu=gpu.name,
                limit=found.seconds,
                by=found.by,
                variant=result.variant,
                layout=result.layout,
                flow=result.flow,
                seconds=result.seconds,
                share=found.seconds / result.seconds,
                of_copy=result.of_copy,
            )
        )
    return rows


def projected(results: list[Result], gpus: list[Gpu]) -> list[Row]:
    """Times of GPUs without results, for every row of a fused kernel that has some on a GPU.

    A share above 1, which a cache can cause, counts as 1.
    """
    known: dict[tuple, dict[str, float]] = {}
    fused = [result for result in results if result.fused and find_gpu(result.device)]
    for result, row in zip(fused, measured(fused), strict=True):
        shares = known.setdefault(result.row, {})
        shares[row.gpu] = min(row.share, shares.get(row.gpu, 1.0))
    rows = []
    for (case, variant, layout, flow), shares in known.items():
        basis = min(shares, key=shares.get)
        for gpu in gpus:
            if gpu.name in shares:
                continue
            found = limit(case, gpu)
            rows.append(
                Row(
                    kind="projected",
                    case=case,
                    gpu=gpu.name,
                    limit=found.seconds,
                    by=found.by,
                    variant=variant,
                    layout=layout,
                    flow=flow,
                    seconds=found.seconds / shares[basis],
                    share=shares[basis],
                    basis=basis,
                )
            )
    return rows
