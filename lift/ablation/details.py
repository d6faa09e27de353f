"""What stands behind an ablation's table: classes of motion, clips, training steps."""

from lift.ablation.results import COLUMNS, Row, Value, by_clip, context_gains, counts, rows
from lift.ablation.table import label, markdown_table


def markdown(results: dict) -> str:
    """PSNR and gains by class of motion and by clip, and the cost of training, as Markdown.

    Args:
        results: what `results.collect` returned.
    """
    found, number = rows(results), counts(results)
    heads = [f"{name} ({number[name]})" for name in COLUMNS]
    lines = [
        "PSNR, dB; the mean is over clips, the classes of motion are over their targets:",
        "",
        *markdown_table(
            ["variant", "frames", *heads],
            [[*_name(row), *(_psnr(row.values[c]) for c in COLUMNS)] for row in found],
        ),
    ]
    standard = next((e["variant"] for e in results["methods"] if e["trained"]), None)
    if standard is not None:
        compared = [row for row in found if any(row.gains.values())]
        lines += [
            "",
            f"Gain over {standard}, dB, seed by seed:",
            "",
            *markdown_table(
                ["variant", "frames", *heads],
                [[*_name(row), *(_gain(row.gains[c]) for c in COLUMNS)] for row in compared],
            ),
        ]
    if gains := context_gains(results):
        lines += [
            "",
            "Gain of many input frames over few, dB, seed by seed:",
            "",
            *markdown_table(
                ["variant, frames", *heads],
                [[name, *(_gain(each[c]) for c in COLUMNS)] for name, each in gains.items()],
            ),
        ]
    methods, clips = by_clip(results)
    lines += [
        "",
        "PSNR by clip, dB:",
        "",
        *markdown_table(
            ["clip", *(f"{name}, {frames} frames" for name, frames in methods)],
            [[clip, *(f"{value:.2f}" for value in values)] for clip, values in clips.items()],
        ),
    ]
    if trained := [row for row in found if row.seeds and not row.shuffled]:
        lines += [
            "",
            "Training as it ran:",
            "",
            *markdown_table(
                ["variant", "frames", "steps", "s per step"],
                [
                    [
                        *_name(row),
                        f"{row.facts['steps']:.0f}",
                        f"{row.facts['seconds_per_step']:.3f}",
                    ]
                    for row in trained
                ],
            ),
        ]
    lines += ["", *(f"- {name}: {rule}" for name, rule in results["classes"].items())]
    return "\n".join(lines) + "\n"


def _name(row: Row) -> list[str]:
    return [label(row), str(row.context_frames)]


def _psnr(value: Value | None) -> str:
    return "" if value is None else f"{value.mean:.2f}{_spread(value)}"


def _gain(value: Value | None) -> str:
    return "" if value is None else f"{value.mean:+.2f}{_spread(value)}"


def _spread(value: Value) -> str:
    return "" if value.spread is None else f" ± {value.spread:.2f}"
