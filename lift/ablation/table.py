"""An ablation's table, as Markdown and as CSV."""

import csv
import io

from lift.ablation.results import (
    COLUMNS,
    FACTS,
    Row,
    Value,
    by_clip,
    context_gains,
    counts,
    rows,
)


def markdown(results: dict) -> str:
    """Costs, PSNR and gains by class of motion, as Markdown tables.

    Args:
        results: what `results.collect` returned.
    """
    found, number = rows(results), counts(results)
    heads = [f"{name} ({number[name]})" for name in COLUMNS]
    seeds = sorted({e["seed"] for e in results["methods"] if e["seed"] is not None})
    standard = next((e["variant"] for e in results["methods"] if e["trained"]), None)
    lines = [
        f"Protocol {results['protocol']}, split {results['split']}: {number['mean']} clips, "
        f"{len(results['targets'])} targets ({results['targets_per_clip']} per clip). PSNR in dB; "
        "the mean is over clips, the classes of motion are over their targets.",
        f"Seeds: {', '.join(map(str, seeds)) or 'none'}; ± is half the range over them.",
        "",
        *_table(
            ["variant", "frames", *heads],
            [[*_name(row), *(_psnr(row.values[c]) for c in COLUMNS)] for row in found],
        ),
    ]
    if standard is not None:
        compared = [row for row in found if any(row.gains.values())]
        lines += [
            "",
            f"Gain over {standard}, dB, seed by seed:",
            "",
            *_table(
                ["variant", "frames", *heads],
                [[*_name(row), *(_gain(row.gains[c]) for c in COLUMNS)] for row in compared],
            ),
        ]
    if gains := context_gains(results):
        frames = sorted({row.context_frames for row in found if not row.baseline})
        lines += [
            "",
            f"Gain of {frames[-1]} input frames over {frames[0]}, dB, seed by seed:",
            "",
            *_table(
                ["variant", *heads],
                [[name, *(_gain(each[c]) for c in COLUMNS)] for name, each in gains.items()],
            ),
        ]
    methods, clips = by_clip(results)
    lines += [
        "",
        "PSNR by clip, dB:",
        "",
        *_table(
            ["clip", *(f"{name}, {frames} frames" for name, frames in methods)],
            [[clip, *(f"{value:.2f}" for value in values)] for clip, values in clips.items()],
        ),
    ]
    if models := [row for row in found if not row.baseline]:
        lines += [
            "",
            "Cost of a generated frame in a stream at 448x256 (GFLOP of convolutions and matrix "
            "products, processor time), and of a training step as it ran:",
            "",
            *_table(
                ["variant", "frames", "parameters", "GFLOP", "ms", "steps", "s per step"],
                [_cost(row) for row in models],
            ),
        ]
    lines += ["", *(f"- {name}: {rule}" for name, rule in results["classes"].items())]
    return "\n".join(lines) + "\n"


def as_csv(results: dict) -> str:
    """The rows as CSV: facts, then mean, spread, gain and its spread of each column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("psnr", "psnr_spread", "gain", "gain_spread")
    writer.writerow(
        ["variant", "context_frames", "seeds", *FACTS]
        + [f"{column}_{part}" for column in COLUMNS for part in parts]
    )
    for row in rows(results):
        cells = [row.variant, row.context_frames, " ".join(map(str, row.seeds))]
        cells += [_number(row.facts[name]) for name in FACTS]
        for column in COLUMNS:
            for value in (row.values[column], row.gains[column]):
                cells += ["", ""] if value is None else [_number(value.mean), _number(value.spread)]
        writer.writerow(cells)
    return text.getvalue()


def _table(head: list[str], lines: list[list[str]]) -> list[str]:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)]


def _name(row: Row) -> list[str]:
    return [row.variant, str(row.context_frames)]


def _psnr(value: Value | None) -> str:
    return "" if value is None else f"{value.mean:.2f}{_spread(value)}"


def _gain(value: Value | None) -> str:
    return "" if value is None else f"{value.mean:+.2f}{_spread(value)}"


def _spread(value: Value) -> str:
    return "" if value.spread is None else f" ± {value.spread:.2f}"


def _cost(row: Row) -> list[str]:
    facts = row.facts
    return [
        *_name(row),
        _fact(facts["parameters"], "{:,.0f}"),
        _fact(facts["flops"], "{:.2f}", 1e-9),
        _fact(facts["milliseconds"], "{:.0f}"),
        _fact(facts["steps"], "{:.0f}"),
        _fact(facts["seconds_per_step"], "{:.2f}"),
    ]


def _fact(value: float | None, form: str, factor: float = 1) -> str:
    return "" if value is None else form.format(value * factor)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
