"""The least time an operation can take on a card, what it took, and what other cards should do.

    python -m benchmarks.report.roofline [--card "RTX 4090"] [--measure] [--results FOLDER] [--json
    FILE] [operation ...]

An operation must read its inputs and write its results once, and compute what its definition says;
a card moves and computes so much a second (`cards.py`). The longest of these times is the limit:
nothing is lost to waiting, everything that is read twice comes from a cache. With recorded results,
each row gets its share of that limit. A card that was not measured gets a projection: its limit
over the smallest share that the same row reached on any measured GPU. A projection says what the
card does if it is used as well; it is marked, always.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness.compare import files
from benchmarks.harness.table import markdown
from benchmarks.report.gpus import CARDS, Card, at_hand, by_copy, named

RESULTS = Path(__file__).resolve().parents[1] / "results"
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOAT = 4  # bytes of what is float32 whatever the images are


# -- what must be done -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What must be done, at least.

    Attributes:
        read, written: bytes.
        operations: additions and multiplications of float32 numbers.
        specials: exponentials, logarithms and divisions.
        products: additions and multiplications in products of matrices.
    """

    read: int = 0
    written: int = 0
    operations: int = 0
    specials: int = 0
    products: int = 0

    @property
    def bytes(self) -> int:
        return self.read + self.written


def warp_blend(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Of shape (B, C, H, W). All of both images is read; flows that read one place need less.

    A pixel of two images: coordinates, fractions and weights are 28 operations, the blend's 10;
    then each channel sums eight weighted corners (15). Backward each channel adds eight weighted
    gradients (16) and eight sums of gradient times corner (16), from which the gradients of flows
    and visibilities follow (30 a pixel).
    """
    B, C, H, W = shape
    pixels, value = B * H * W, BYTES[dtype]
    inputs, image = pixels * (2 * C * value + 6 * FLOAT), pixels * C * value
    if not backward:
        return Work(inputs, image, pixels * (38 + 15 * C), pixels * 6)
    return Work(inputs + image, inputs, pixels * (38 + 30 + 32 * C), pixels * 8)


def grid_sample(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Of input (B, C, H, W) and a grid of h x w: shape is (B, C, H, W, h, w), or (B, C, H, W) for a
    grid of input's size. Bilinear.

    A pixel: coordinates, fractions and weights are 16 operations, a channel's four corners 7.
    Backward 8 for the gradient of input and 8 for the sums from which that of the grid follows (10
    a pixel).
    """
    B, C, H, W = shape[:4]
    h, w = shape[4:] or (H, W)
    pixels, value = B * h * w, BYTES[dtype]
    source = (
        B * C * value * min(H * W, 4 * h * w)
    )  # a small grid cannot read more than four pixels each
    grid, image = pixels * 2 * FLOAT, pixels * C * value
    if not backward:
        return Work(source + grid, image, pixels * (16 + 7 * C))
    return Work(source + grid + image, B * C * H * W * value + grid, pixels * (26 + 16 * C))


def temporal_attention(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Of shape (B, Tq, Tk, H, W, heads, d, window), with both tables, no shift and no mask.

    A pair of query and key is 2 d operations for its score and 2 d for its value, an exponential
    and 5 operations of softmax; backward computes the score again and is five such products in all,
    with 6 operations.
    """
    B, Tq, Tk, H, W, heads, d, window = shape
    value, places = BYTES[dtype], H * W * heads * d * B
    pairs = B * heads * Tq * Tk * _neighbours(H, window) * _neighbours(W, window)
    tables = FLOAT * heads * (B * Tq * Tk + (2 * window - 1) ** 2)
    queries, keys = Tq * places * value, 2 * Tk * places * value
    if not backward:
        return Work(
            queries + keys + tables, queries + FLOAT * B * Tq * Tk, 5 * pairs, pairs, 4 * d * pairs
        )
    return Work(
        2 * queries + keys + tables, queries + keys + tables, 6 * pairs, pairs, 10 * d * pairs
    )


def correlation(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Of shape (B, C, H, W, radius), scaled to unit length, with a result in float32. Displacements
    over the edge are counted.

    A location: 2 C operations for each displacement and 2 C for each map's length; backward 2 C a
    displacement and map, and 5 C for each map to leave out what points along it.
    """
    B, C, H, W, radius = shape
    places, value, D = B * H * W, BYTES[dtype], (2 * radius + 1) ** 2
    maps, result = 2 * C * places * value, D * places * FLOAT
    if not backward:
        return Work(maps, result, places * (2 * C * D + 4 * C + 2 * D), 2 * places)
    return Work(maps + result, maps, places * (4 * C * D + 14 * C), 2 * places)


def _neighbours(size: int, window: int) -> int:
    """Pairs of places along a side that lie in one window."""
    return size // window * window**2 + (size % window) ** 2


OPERATIONS: dict[str, Callable[[tuple[int, ...], str, bool], Work]] = {
    "warp_blend": warp_blend,
    "grid_sample": grid_sample,
    "temporal_attention": temporal_attention,
    "correlation": correlation,
}


@dataclass(frozen=True)
class Case:
    """One row of the tables. `shape` is as the operation's function above has it; `direction` is
    "forward", "backward" (the gradients of all inputs) or "forward+backward"."""

    operation: str
    direction: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.operation} {self.direction} {self.dtype} {'x'.join(map(str, self.shape))}"

    @property
    def passes(self) -> list[Work]:
        """What each pass must do; the next begins when one has ended."""
        return [
            OPERATIONS[self.operation](self.shape, self.dtype, part == "backward")
            for part in self.direction.split("+")
        ]

    @property
    def bytes(self) -> int:
        return sum(work.bytes for work in self.passes)


def cases() -> Iterator[Case]:
    """What the tables show where nothing is recorded: sizes of training crops and of video."""
    for shape in (
        (4, 3, 256, 256),
        (1, 3, 1080, 1920),
        (1, 3, 2160, 3840),
        (1, 32, 270, 480),
        (1, 64, 270, 480),
        (1, 128, 270, 480),
    ):
        for direction in ("forward", "forward+backward"):
            yield Case("warp_blend", direction, "float32", shape)
    for shape in (
        (1, 3, 1080, 1920),
        (1, 32, 270, 480),
        (1, 64, 270, 480),
        (1, 128, 270, 480),
        (1, 256, 270, 480),
    ):
        yield Case("grid_sample", "backward", "float32", shape)
    for shape in (
        (4, 1, 15, 16, 16, 8, 32, 8),
        (1, 1, 15, 68, 120, 8, 32, 1),
        (1, 1, 15, 68, 120, 8, 32, 4),
        (1, 1, 15, 68, 120, 8, 32, 8),
        (1, 15, 15, 68, 120, 8, 32, 8),
    ):
        for direction in ("forward", "forward+backward"):
            yield Case("temporal_attention", direction, "bfloat16", shape)
    for shape in ((4, 64, 64, 64, 3), (4, 64, 16, 16, 6), (1, 64, 270, 480, 3)):
        for direction in ("forward", "forward+backward"):
            yield Case("correlation", direction, "bfloat16", shape)


# -- what a card needs for it ----------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """The least time, in seconds, and what sets it: "memory", "float32", "special" or "products"."""

    seconds: float
    by: str


def limit(case: Case, card: Card) -> Limit:
    """The least time that a card needs for a case, and what sets that of its longest pass."""
    products = (
        card.tensor if BYTES[case.dtype] == 2 else max(card.fp32, card.tf32 / 3)
    )  # three TF32 products make a float32 one
    passes = []
    for work in case.passes:
        times = {
            "memory": work.bytes / card.bandwidth,
            "float32": work.operations / card.fp32,
            "special": work.specials / (card.fp32 * card.special),
            "products": work.products / products,
        }
        by = max(times, key=times.get)
        passes.append(Limit(times[by], by))
    return Limit(sum(one.seconds for one in passes), max(passes, key=lambda one: one.seconds).by)


# -- what was measured -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One recorded row.

    Attributes:
        case: what was computed.
        variant: which implementation.
        layout, flow: how the tensors lay, and the flow profile; "" where there is none.
        device: the GPU's name as its driver reports it, or "cpu".
        seconds: the median.
        copy: bytes a second that a copy moved in the same run.
        of_copy: share of it that the harness found.
        fused: whether it is one of the kernels of this project.
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
        """What results of different devices have in common where they are compared."""
        return self.case, self.variant, self.layout, self.flow


def recorded(folder: Path = RESULTS) -> list[Result]:
    """The rows of every `*.json` below a folder that pytest-benchmark wrote with the harness of
    these benchmarks; toy runs left out.
    """
    found = []
    for path in files(folder):
        text = json.loads(path.read_text())
        if not isinstance(text, dict) or "benchmarks" not in text or text.get("toy"):
            continue
        gpus = text["machine_info"].get("lift", {}).get("gpus") or [{}]
        for row in (benchmark["extra_info"] for benchmark in text["benchmarks"]):
            if row.get("operation") not in OPERATIONS or row["dtype"] not in BYTES:
                continue
            case = Case(row["operation"], row["direction"], row["dtype"], tuple(row["shape"]))
            device = (
                gpus[0].get("name") or "unnamed GPU" if row["device"] == "cuda" else row["device"]
            )
            found.append(
                Result(
                    case,
                    row["variant"],
                    row.get("layout", ""),
                    row.get("flow", ""),
                    device,
                    row["median"],
                    row["copy_bandwidth"] * 1e9,
                    row["share_of_copy_bandwidth"],
                    bool(row["fused"]),
                )
            )
    return found


# -- the rows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What is shown of a case on a card.

    Attributes:
        kind: "limit" where nothing was measured, "measured", or "projected".
        limit: seconds, at the card's limits.
        by: what sets the limit.
        seconds: measured or projected; None for a limit alone.
        share: limit / seconds.
        of_copy: share of the copy bandwidth of the same run, where it was measured.
        basis: of a projection, the card that was measured.
    """

    kind: str
    case: Case
    card: str
    limit: float
    by: str
    variant: str = ""
    layout: str = ""
    flow: str = ""
    seconds: float | None = None
    share: float | None = None
    of_copy: float | None = None
    basis: str = ""


def limits(chosen: list[Case], cards: list[Card]) -> list[Row]:
    """The limits alone."""
    return [
        Row("limit", case, card.name, found.seconds, found.by)
        for case in chosen
        for card in cards
        for found in [limit(case, card)]
    ]


def measured(results: list[Result]) -> list[Row]:
    """Every recorded row. A device without a datasheet here is held against the copy of its own
    run.
    """
    rows = []
    for result in results:
        card = named(result.device) or by_copy(result.device, result.copy)
        found = limit(result.case, card)
        rows.append(
            Row(
                "measured",
                result.case,
                card.name,
                found.seconds,
                found.by,
                result.variant,
                result.layout,
                result.flow,
                result.seconds,
                found.seconds / result.seconds,
                result.of_copy,
            )
        )
    return rows


def projected(results: list[Result], cards: list[Card]) -> list[Row]:
    """What cards should do that were not measured themselves, for every row of a fused kernel that
    was measured on a GPU.

    A share above 1, which a cache can give, is taken as 1.
    """
    known: dict[tuple, dict[str, float]] = {}
    of_fused = [result for result in results if result.fused and named(result.device)]
    for result, row in zip(of_fused, measured(of_fused), strict=True):
        shares = known.setdefault(result.row, {})
        shares[row.card] = min(row.share, shares.get(row.card, 1.0))
    rows = []
    for (case, variant, layout, flow), shares in known.items():
        basis = min(shares, key=shares.get)
        for card in cards:
            if card.name not in shares:
                found = limit(case, card)
                rows.append(
                    Row(
                        "projected",
                        case,
                        card.name,
                        found.seconds,
                        found.by,
                        variant,
                        layout,
                        flow,
                        found.seconds / shares[basis],
                        shares[basis],
                        basis=basis,
                    )
                )
    return rows


# -- the tables ------------------------------------------------------------------------------------


def across(rows: list[Row]) -> str:
    """Limits or projections in microseconds, a column a card. A limit that memory does not set says
    what does; ~ marks a projection.
    """
    cards = list(dict.fromkeys(row.card for row in rows))
    lines: dict[tuple, dict[str, str]] = {}
    for row in rows:
        projection = row.kind == "projected"
        head = (
            str(row.case),
            *(
                (_variant(row), f"{row.basis}, {row.share:.0%}")
                if projection
                else (f"{row.case.bytes / 1e6:.3g}",)
            ),
        )
        by = "" if projection or row.by == "memory" else f" ({row.by})"
        lines.setdefault(head, {})[row.card] = (
            f"~{_microseconds(row.seconds)}" if projection else _microseconds(row.limit) + by
        )
    heads = (
        ("case", "variant", "projected from, of its limit")
        if rows[0].kind == "projected"
        else ("case", "MB")
    )
    cells = [
        [*head, *(found.get(card, "measured") for card in cards)] for head, found in lines.items()
    ]
    return markdown([(*heads, *cards), *cells], len(heads))


def table(rows: list[Row]) -> str:
    """What was measured, a line a row."""
    heads = [
        "case",
        "variant",
        "card",
        "set by",
        "limit, us",
        "measured, us",
        "of the limit",
        "of copy",
    ]
    return markdown(
        [
            heads,
            *(
                [
                    str(row.case),
                    _variant(row),
                    row.card,
                    row.by,
                    _microseconds(row.limit),
                    _microseconds(row.seconds),
                    f"{row.share:.0%}",
                    f"{row.of_copy:.0%}",
                ]
                for row in rows
            ),
        ],
        4,
    )


def _variant(row: Row) -> str:
    return " ".join(filter(None, (row.variant, row.layout, row.flow)))


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.3g}" if seconds < 1e-4 else f"{seconds * 1e6:.0f}"


# -- the command -----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Print the limits, what was measured, and what is projected from it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report.roofline",
        description="The least time that operations can take on cards.",
    )
    parser.add_argument(
        "operation", nargs="*", help=f"of {', '.join(OPERATIONS)}; all of them by default"
    )
    parser.add_argument(
        "--card",
        action="append",
        help=f"of {', '.join(card.name for card in CARDS)}; may be repeated; all by default",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure this machine's limits and show it beside the cards",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="where recorded results lie (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.operation if name not in OPERATIONS]:
        parser.error(f"no operation {unknown[0]!r}; there are {', '.join(OPERATIONS)}")
    if unknown := [name for name in arguments.card or [] if named(name) is None]:
        parser.error(f"no card {unknown[0]!r}; there are {', '.join(card.name for card in CARDS)}")
    operations = arguments.operation or list(OPERATIONS)
    cards = [named(name) for name in arguments.card] if arguments.card else list(CARDS)
    chosen = [case for case in cases() if case.operation in operations]
    results = [
        result for result in recorded(arguments.results) if result.case.operation in operations
    ]
    asked = {card.name for card in cards}

    shown = [*cards, at_hand()] if arguments.measure else cards
    print("Cards, GB/s and TFLOPS:\n")
    figures = [
        (
            card.name,
            card.source,
            f"{card.bandwidth / 1e9:.0f}",
            f"{card.fp32 / 1e12:.4g}",
            f"{card.tensor / 1e12:.4g}",
            f"{card.tf32 / 1e12:.4g}",
            ", ".join(card.unchecked),
        )
        for card in shown
    ]
    print(
        markdown(
            [
                (
                    "card",
                    "source",
                    "memory",
                    "float32",
                    "16-bit products",
                    "TF32 products",
                    "not confirmed",
                ),
                *figures,
            ],
            2,
        )
    )
    rows = limits(chosen, shown)
    print(f"\nThe least time, microseconds:\n\n{across(rows)}")
    if found := [row for row in measured(results) if not arguments.card or row.card in asked]:
        print(f"\nMeasured:\n\n{table(found)}")
    if more := projected(results, cards):
        print(
            f"\nProjected, not measured (a card's limit over the share that a measured card reached of its own), us:\n\n{across(more)}"
        )
    else:
        print("\nNothing is projected: no result of a fused kernel on a GPU of these is recorded.")
    rows += found + more
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
