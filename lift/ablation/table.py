"""An ablation's table: quality and cost of each variant, as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

from lift.ablation.results import COLUMNS, FACTS, MEAN, Row, Value, counts, rows
from lift.evaluation.protocols.real16 import LONG_SIDE, SHORT_SIDE

CONTROL = "shuffled context"


@dataclass(frozen=True)
class Cell:
    """A number as text, with the spread over the seeds; `best` of its column is shown in bold."""

    text: str
    spread: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        head: its title.
        read: the value of a row; None where it has none.
        form: of the number.
        best: max or min; None for a column without a best value.
        factor: by which values are multiplied.
    """

    head: str
    read: Callable[[Row], Value | None]
    form: str
    best: Callable | None = None
    factor: float = 1


def _fact(name: str) -> Callable[[Row], Value | None]:
    def read(row: Row) -> Value | None:
        value = row.facts[name]
        return None if value is None else Value(value)

    return read


NUMBERS = (
    Column("PSNR", lambda row: row.values[MEAN], "{:.2f}", max),
    Column("gain", lambda row: row.gains[MEAN], "{:+.2f}", max),
    Column("SSIM", lambda row: row.ssim, "{:.4f}", max),
    Column("parameters", _fact("parameters"), "{:,.0f}", min),
    Column("GFLOP", _fact("flops"), "{:.2f}", min, 1e-9),
    Column("MB", _fact("bytes"), "{:.0f}", min, 1e-6),
    Column("ms", _fact("milliseconds"), "{:.0f}", min),
)
HEADS = ("variant", "frames", *(column.head for column in NUMBERS))


def label(row: Row) -> str:
    """The variant of a row, and whether it is the control."""
    return f"{row.variant}, {CONTROL}" if row.shuffled else row.variant


def cells(found: list[Row]) -> list[list[Cell]]:
    """The numbers of each row, the best of each column marked.

    The control is no candidate, and a gain of the first variant over itself is empty.
    """
    best = [_best(column, found) for column in NUMBERS]
    return [
        [_cell(column, row, each) for column, each in zip(NUMBERS, best, strict=True)]
        for row in found
    ]


def _best(column: Column, found: list[Row]) -> str | None:
    values = [column.read(row) for row in found if not row.shuffled]
    means = [value.mean * column.factor for value in values if value is not None]
    return column.form.format(column.best(means)) if len(means) > 1 else None


def _cell(column: Column, row: Row, best: str | None) -> Cell:
    value = column.read(row)
    if value is None:
        return Cell("")
    text = column.form.format(value.mean * column.factor)
    spread = column.form.replace("+", "").replace(",", "")
    shown = "" if value.spread is None else spread.format(value.spread * column.factor)
    return Cell(text, shown, text == best and not row.shuffled)


# -- the caption -----------------------------------------------------------------------------------


def caption(results: dict) -> str:
    """What was compared under which budget, in sentences."""
    number, found = counts(results), rows(results)
    trained = [row for row in found if row.seeds]
    clips, targets = _count(number[MEAN], "clip"), _count(len(results["targets"]), "target")
    sentences = [
        f"Protocol {results['protocol']}, split {results['split']}: {clips}, {targets}. "
        "PSNR in dB and SSIM are means over clips, ± half the range over seeds"
    ]
    if trained:
        seeds = sorted({seed for row in trained for seed in row.seeds})
        steps = sorted({round(row.facts["steps"]) for row in trained})
        shown = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
        budget = results["budget"]
        of = " of {batch_size} clips of {crop}, {data} data, preset {preset}".format(**budget)
        sentences += [
            f"Gains are over {trained[0].variant}, seed by seed",
            f"Training: {shown} steps{of}, seed{'s' * (len(seeds) > 1)} "
            + ", ".join(map(str, seeds)),
        ]
    if any(not row.baseline for row in found):
        sentences.append(
            f"Cost of a generated frame of a stream at {LONG_SIDE}x{SHORT_SIDE}: GFLOP of "
            "convolutions and matrix products, MB that a GPU reads and writes in bfloat16 "
            f"(counted), milliseconds on {results['timed_on']}"
        )
    if any(row.shuffled for row in found):
        sentences.append(
            f"Control ({CONTROL}): the frames beyond the references are another clip's"
        )
    for name, other in results["same"].items():
        sentences.append(f"{name} is {other} itself")
    if results["left_out"]:
        sentences.append(f"Too short to be scored: {', '.join(results['left_out'])}")
    if results["commit"]:
        sentences.append(f"Commit {results['commit'][:10]}")
    return ". ".join(sentences) + "."


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


# -- Markdown, LaTeX, CSV --------------------------------------------------------------------------


def markdown(results: dict) -> str:
    """The table as Markdown, its caption first."""
    found = rows(results)
    lines = [caption(results), "", *markdown_table(list(HEADS), [])]
    for row, numbers in zip(found, cells(found), strict=True):
        shown = [label(row), str(row.context_frames), *map(_markdown_cell, numbers)]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def markdown_table(head: list[str], lines: list[list[str]]) -> list[str]:
    """Lines of a table whose first column is text and whose others are numbers."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return [f"| {' | '.join(each)} |" for each in (head, rule, *lines)]


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} ± {cell.spread}" if cell.spread else text


def latex(results: dict) -> str:
    r"""The table as LaTeX, for \usepackage{booktabs}."""
    found = rows(results)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption(results))}}}",
        r"\label{tab:ablation}",
        rf"\begin{{tabular}}{{l{'r' * (len(HEADS) - 1)}}}",
        r"\toprule",
        _latex_line(map(escaped, HEADS)),
        r"\midrule",
    ]
    after_models = False
    for row, numbers in zip(found, cells(found), strict=True):
        if row.baseline and not after_models and row is not found[0]:
            lines.append(r"\midrule")
        after_models = row.baseline
        name = escaped(label(row)), str(row.context_frames)
        lines.append(_latex_line([*name, *map(_latex_cell, numbers)]))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_line(texts) -> str:
    return " & ".join(texts) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = escaped(cell.text)
    if text.startswith(("+", "-")):
        text = f"${text}$"
    text = rf"\textbf{{{text}}}" if cell.best else text
    return rf"{text} $\pm$ {cell.spread}" if cell.spread else text


LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def escaped(text: str) -> str:
    """Text in which no character has a meaning to LaTeX."""
    return "".join(LATEX.get(character, character) for character in text)


def as_csv(results: dict) -> str:
    """The rows as CSV: facts, then mean, spread, gain and its spread of each column, and SSIM."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("psnr", "psnr_spread", "gain", "gain_spread")
    writer.writerow(
        ["variant", "context_frames", "shuffled", "seeds", *FACTS]
        + [f"{column}_{part}" for column in COLUMNS for part in parts]
        + ["mean_ssim", "mean_ssim_spread"]
    )
    for row in rows(results):
        line = [row.variant, row.context_frames, int(row.shuffled), " ".join(map(str, row.seeds))]
        line += [_number(row.facts[name]) for name in FACTS]
        values = [each[column] for column in COLUMNS for each in (row.values, row.gains)]
        for value in (*values, row.ssim):
            line += ["", ""] if value is None else [_number(value.mean), _number(value.spread)]
        writer.writerow(line)
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
