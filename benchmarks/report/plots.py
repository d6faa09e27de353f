"""Pictures of what was measured on a machine, legible on a light and on a dark page: transparent,
in middle tones.
"""

import hashlib
import json
from pathlib import Path
from statistics import median

from benchmarks.report.gpus import named
from benchmarks.report.results import Group, Measurements
from benchmarks.report.roofline import OPERATIONS, Case, limit

INK, FAINT = "#7a7a7a", "#7a7a7a40"
COLORS = ("#3b82c4", "#d9822b", "#3a9d5d", "#a06cc8", "#c9564f", "#2aa5a0", "#b0913c", "#8c7a6b")
# Whose colour is which, in all pictures.
VARIANTS = {
    "cpp": 0,
    "triton": 0,
    "cuda": 0,
    "cuda_deterministic": 5,
    "eager": 1,
    "compiled": 2,
    "aten": 3,
    "reference": 4,
    "sdpa": 3,
    "sdpa_flash": 3,
    "sdpa_efficient": 6,
    "sdpa_cudnn": 7,
    "sdpa_math": 5,
    "flex": 1,
    "unfold": 3,
    "fused": 0,
    "fused+recompute": 5,
    "fused+compile": 2,
    "fused+graph": 6,
    "apart": 7,
    "together": 0,
    "together+recompute": 5,
}
MARKS = ("o", "s", "^", "D", "v", "P")
LAYOUTS = (
    "warp_blend",
    "grid_sample",
    "correlation",
)  # operations that are measured in several layouts
HELD = {"saved_for_backward": "MB kept for backward", "peak_memory": "MB at the peak"}
LARGEST = 4  # lines of bars in a panel
DATA = "Measurements"  # the picture's text field that names what it was drawn from


def digest(found: Measurements) -> str:
    """Names the rows that pictures are drawn from."""
    rows = [row for group in found.groups for row in group.rows.values()]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def draw(found: Measurements, folder: Path) -> list[Path]:
    """Write every picture for which there are rows.

    Returns:
        The files, PNG, each with the digest of its rows in the text field DATA.
    """
    paths = []
    for name, figure in pictures(found).items():
        paths.append(folder / f"{name}.png")
        figure.savefig(
            paths[-1], dpi=100, transparent=True, metadata={DATA: digest(found), "Software": None}
        )
    return paths


def pictures(found: Measurements) -> dict:
    """Figures by name, those for which there are rows."""
    figures = {
        "speedups": overview(found),
        **{f"speedups_{name}": speedups(name, groups) for name, groups in found.operations.items()},
        "roofline": roofline(found),
        "memory": memory(found),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def drawn_from(path: Path) -> str:
    """The digest of the rows that a picture was drawn from; empty where there is no such picture."""
    from PIL import Image

    if not path.is_file():
        return ""
    with Image.open(path) as image:
        image.load()
        return getattr(image, "text", {}).get(DATA, "")


def _color(variant: str) -> str:
    return COLORS[VARIANTS.get(variant, sum(variant.encode())) % len(COLORS)]


# -- speed-ups -------------------------------------------------------------------------------------


def overview(found: Measurements):
    """How many times as fast as each other variant the fused ones are: a line a pair of them, a dot
    a case, a stroke at the median.
    """
    lines: dict[tuple, list[float]] = {}
    for group in found.groups:
        for subject in group.fused:
            for other in group.others:
                name = f"{group.operation}, {group.direction}" + (
                    f", {subject}" if len(group.fused) > 1 else ""
                )
                lines.setdefault((name, other), []).append(group.speedup(subject, other).value)
    if not lines:
        return None
    figure, (axis,) = _figure([0.32 * len(lines)], extra=0.75)
    for y, ((_, other), values) in enumerate(lines.items()):
        axis.plot(
            values,
            [y] * len(values),
            "o",
            color=_color(other),
            alpha=0.4,
            markersize=6,
            markeredgewidth=0,
        )
        middle = median(values)
        axis.plot(middle, y, "|", color=_color(other), markersize=15, markeredgewidth=2.5)
        axis.annotate(
            f"{middle:.1f}x",
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=_color(other),
            fontsize=8.5,
        )
    _ratios(axis)
    axis.set_yticks(range(len(lines)), [f"{name}, over {other}" for name, other in lines])
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.set_xlabel(
        "times as fast: a dot a case, the stroke and the figure at the right their median"
    )
    return figure


def speedups(operation: str, groups: list[Group]):
    """Case by case: a line a shape and layout, a mark a flow, with the spread behind it. Of the
    dtype that has the most cases.
    """
    groups = _of_one_dtype([group for group in groups if group.fused and group.others])
    if not groups:
        return None
    panels: dict[str, list[Group]] = {}
    for group in groups:
        panels.setdefault(group.direction, []).append(group)
    lines = {
        key: list(
            dict.fromkeys(_line(group, subject) for group in of for subject in group.subjects)
        )
        for key, of in panels.items()
    }
    others = list(dict.fromkeys(other for group in groups for other in group.others))
    flows = list(dict.fromkeys(group.flow for group in groups))
    figure, axes = _figure(
        [(0.16 + 0.13 * len(others)) * len(lines[key]) + 0.6 for key in panels], extra=0.9
    )
    for axis, (direction, of) in zip(axes, panels.items(), strict=True):
        _title(axis, f"{operation}, {direction}, {of[0].dtype}")
        for group in of:
            for subject in group.subjects:
                for other in group.others:
                    gain, color = group.speedup(subject, other), _color(other)
                    y = lines[direction].index(_line(group, subject)) + 0.7 * (
                        (others.index(other) + 0.5) / len(others) - 0.5
                    )
                    axis.plot(
                        [gain.low, gain.high],
                        [y, y],
                        color=color,
                        alpha=0.45,
                        linewidth=3,
                        solid_capstyle="butt",
                    )
                    axis.plot(
                        gain.value,
                        y,
                        MARKS[flows.index(group.flow) % len(MARKS)],
                        color=color,
                        markersize=4.5,
                    )
        _ratios(axis)
        axis.set_yticks(range(len(lines[direction])), lines[direction])
        axis.set_ylim(len(lines[direction]) - 0.5, -0.5)
    for axis in axes:  # one scale for all panels
        axis.set_xlim(
            min(one.get_xlim()[0] for one in axes), max(one.get_xlim()[1] for one in axes)
        )
    axes[-1].set_xlabel(
        "times as fast as the variant of that colour, by the medians; bars: the middle half of the timings of both"
    )
    _legend(
        figure,
        [(f"over {other}", _color(other), "o") for other in others]
        + [(flow or "no flow", INK, MARKS[i % len(MARKS)]) for i, flow in enumerate(flows)],
    )
    return figure


def _of_one_dtype(groups: list[Group]) -> list[Group]:
    dtypes = [group.dtype for group in groups]
    return [
        group for group in groups if group.dtype == max(dict.fromkeys(dtypes), key=dtypes.count)
    ]


def _line(group: Group, subject: str = "") -> str:
    """Names a case but for its flow, and the fused variant where there are several."""
    layout = group.layout if group.operation in LAYOUTS else ""
    return " ".join(
        filter(
            None,
            ("x".join(map(str, group.shape)), layout, subject if len(group.subjects) > 1 else ""),
        )
    )


def _ratios(axis) -> None:
    """The axis x holds ratios."""
    axis.axvline(1, color=INK, linewidth=1, linestyle="--")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5), max(high, 2) * 1.05)


# -- roofline --------------------------------------------------------------------------------------


def roofline(found: Measurements):
    """Bytes a second that each case reached of those it must move, over these bytes, and what the
    memory gives: a panel an operation.
    """
    panels = {
        name: rated
        for name, groups in found.operations.items()
        if name in OPERATIONS
        and (
            rated := [
                group
                for group in groups
                if all(row.get("gigabytes_per_second") for row in group.rows.values())
            ]
        )
    }
    if not panels:
        return None
    card = named(found.device)
    names = list(
        dict.fromkeys(name for groups in panels.values() for group in groups for name in group.rows)
    )
    directions = list(
        dict.fromkeys(group.direction for groups in panels.values() for group in groups)
    )
    figure, axes = _figure([2.7] * len(panels), extra=0.9)
    for axis, (operation, groups) in zip(axes, panels.items(), strict=True):
        _title(axis, operation)
        for group in groups:
            mark = MARKS[directions.index(group.direction) % len(MARKS)]
            for name, row in group.rows.items():
                axis.plot(
                    row["bytes"] / 1e6,
                    row["gigabytes_per_second"],
                    mark,
                    color=_color(name),
                    markersize=5,
                    markeredgewidth=0.8,
                    fillstyle="full" if row["fused"] else "none",
                    zorder=3 if row["fused"] else 2,
                )
            if card:
                case = Case(group.operation, group.direction, group.dtype, group.shape)
                axis.plot(
                    case.bytes / 1e6,
                    case.bytes / limit(case, card).seconds / 1e9,
                    "_",
                    color=INK,
                    markersize=10,
                )
        copies = [row["copy_bandwidth"] for group in groups for row in group.rows.values()]
        low, high = (
            f"{pick(copies):.3g}" if max(copies) < 100 else f"{pick(copies):.0f}"
            for pick in (min, max)
        )
        axis.axhspan(min(copies), max(copies) * 1.0001, color=INK, alpha=0.35, linewidth=1.2)
        lines = f"line: copy as measured, {low if low == high else f'{low} to {high}'} GB/s"
        if card:
            axis.axhline(card.bandwidth / 1e9, color=INK, linestyle="--", linewidth=1)
            lines += f"; dashed: {card.name}'s datasheet, {card.bandwidth / 1e9:.0f} GB/s"
        axis.set_title(lines, color=INK, fontsize=8.5, loc="right")
        _decades(axis)
        axis.set_ylim(top=max(axis.get_ylim()[1], max(copies) * 1.8))
        axis.set_ylabel("GB/s of these reached")
    axes[-1].set_xlabel("MB that must be read and written at least")
    _legend(
        figure,
        [(name, _color(name), "s") for name in names]
        + [(direction, INK, MARKS[i % len(MARKS)]) for i, direction in enumerate(directions)]
        + ([("limit of a case by the datasheet", INK, "_")] if card else []),
        title="filled: fused kernels; hollow: what they are compared with",
    )
    return figure


def _decades(axis) -> None:
    """Both axes are logarithmic."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.set_yscale("log")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter(lambda value, _: f"{value:g}")
        scale.set_minor_formatter(NullFormatter())
    axis.tick_params(which="minor", left=False, bottom=False)
    axis.grid(True, which="major", color=FAINT, linewidth=0.6)


# -- memory ----------------------------------------------------------------------------------------


def memory(found: Measurements):
    """Bytes kept for backward and, where it was measured, the peak of GPU memory: a bar a variant,
    of the LARGEST cases of a dtype.

    What is the same for all variants has no bars, nor has an operation's forward. What an operation
    takes is that of every flow; rows of the model tell by theirs what was run.
    """
    panels: dict[tuple, dict[str, dict[str, float]]] = {}
    for operation, of in found.operations.items():
        for key, says in HELD.items():
            for group in sorted(
                _of_one_dtype(of),
                key=lambda group: -max(row["bytes"] or 0 for row in group.rows.values()),
            ):
                held = {
                    name: row[key] / 1e6
                    for name, row in group.rows.items()
                    if row.get(key) is not None
                }
                told = group.direction != "forward" or operation not in OPERATIONS
                if told and held and max(held.values()) > 1.01 * min(held.values()):
                    case = _line(group) + ("" if operation in OPERATIONS else f", {group.flow}")
                    line = panels.setdefault(
                        (f"{operation}, {group.direction}, {group.dtype}", says), {}
                    ).setdefault(case, {})
                    for name, value in held.items():
                        line[name] = max(value, line.get(name, 0))
    if not panels:
        return None
    panels = {key: dict(list(panel.items())[:LARGEST]) for key, panel in panels.items()}
    names = list(
        dict.fromkeys(name for panel in panels.values() for line in panel.values() for name in line)
    )
    figure, axes = _figure(
        [
            0.17 * sum(len(line) + 0.6 for line in panel.values()) + 0.65
            for panel in panels.values()
        ],
        extra=0.5,
    )
    for axis, ((title, says), panel) in zip(axes, panels.items(), strict=True):
        _title(axis, title)
        y, middles, widest = (
            0.0,
            [],
            max(value for line in panel.values() for value in line.values()),
        )
        for line in panel.values():
            middles.append(y + (len(line) - 1) / 2)
            for name, value in line.items():
                axis.barh(y, value, 0.85, color=_color(name))
                words = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
                axis.text(value + widest * 0.01, y, words, va="center", color=INK, fontsize=7.5)
                y += 1
            y += 0.6
        axis.set_yticks(middles, list(panel))
        axis.set_ylim(y - 0.8, -0.8)
        axis.set_xlim(0, widest * 1.1)
        axis.set_xlabel(says)
    _legend(figure, [(name, _color(name), "s") for name in names])
    return figure


# -- what they share -------------------------------------------------------------------------------


def _figure(heights: list[float], extra: float):
    """A figure of panels below one another, each of a height in inches, and room for the legend
    above and the label below.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, sum(heights) + extra), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis in axes:
        axis.tick_params(colors=INK, labelsize=8)
        axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axis.xaxis.label.set(color=INK, fontsize=9)
        axis.yaxis.label.set(color=INK, fontsize=9)
        for spine in axis.spines.values():
            spine.set_color(FAINT)
        axis.grid(True, axis="x", color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes


def _title(axis, text: str) -> None:
    axis.set_title(text, color=INK, fontsize=9.5, loc="left", fontweight="bold")


def _legend(
    figure, entries: list[tuple[str, str, str]], columns: int = 6, title: str | None = None
) -> None:
    """Above the panels: a label, its colour and its mark each."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=mark, linestyle="none", markersize=5.5, label=label)
        for label, color, mark in entries
    ]
    legend = figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=min(len(handles), columns),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        columnspacing=1.4,
        handletextpad=0.3,
        title=title,
        title_fontsize=8.5,
        alignment="left",
    )
    legend.get_title().set_color(INK)
