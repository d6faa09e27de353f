"""Charts of the results of a machine.

They are transparent and in middle tones, to be legible on light and dark pages.
"""

import hashlib
import json
from pathlib import Path
from statistics import median

from benchmarks.harness.registry import OPERATIONS
from benchmarks.report.gpus import find_gpu
from benchmarks.report.limits import Case, limit
from benchmarks.report.results import Group, Measurements

INK, FAINT = "#7a7a7a", "#7a7a7a40"
COLORS = {  # by variant, in all charts; each its own
    "triton": "#1f77b4",
    "cuda": "#17408b",
    "cuda_deterministic": "#7aa6e0",
    "cpp": "#23becf",
    "eager": "#e07b16",
    "compiled": "#2e9e4f",
    "aten": "#9b4fc0",
    "reference": "#d0433c",
    "sdpa": "#d6489a",
    "sdpa_shared": "#f09ac8",
    "sdpa_flash": "#6d2f7c",
    "sdpa_efficient": "#9c8f1a",
    "sdpa_efficient_shared": "#dcc85a",
    "sdpa_cudnn": "#8c6242",
    "sdpa_cudnn_shared": "#c9a58a",
    "sdpa_math": "#5f7f9f",
    "flex": "#45b592",
    "unfold": "#5f7a1f",
    "fused": "#2b6fcf",
    "fused+recompute": "#25b3a4",
    "fused+compile": "#57b04a",
    "fused+graph": "#8a6fd6",
    "fused+compile+graph": "#c77fd9",
    "shared encoding": "#5fc0f0",
    "shared encoding+recompute": "#16877a",
    "separate passes": "#7a5a3a",
    "averaging": "#4a4a4a",
    "DIS": "#c2a400",
    "LIFT, 2 frames": "#3f8fd9",
    "LIFT, stream of 15": "#1c3f8f",
    "RIFE-sized": "#b5432a",
}
OTHER = "#8c7a6b"  # a variant without a colour of its own
MARKS = ("o", "s", "^", "D", "v", "P")
MEMORY = {
    "saved_for_backward": "saved activations, MB",
    "peak_memory": "peak memory, MB",
}
LARGEST = 4  # cases per panel of the memory chart
DATA = "Measurements"  # text field of a PNG that identifies the rows it was drawn from
STYLE = 2  # to be raised with a change of this file that alters charts: they are drawn anew


def digest(found: Measurements) -> str:
    """Identifies the rows that charts are drawn from, and the style."""
    rows = [row for group in found.groups for row in group.rows.values()]
    return hashlib.sha256(json.dumps([STYLE, rows], sort_keys=True).encode()).hexdigest()[:16]


def draw(found: Measurements, folder: Path) -> list[Path]:
    """Write every chart for which there are rows.

    Returns:
        The PNG files; the text field DATA of each holds the digest of its rows.
    """
    paths = []
    for name, figure in pictures(found).items():
        paths.append(folder / f"{name}.png")
        figure.savefig(
            paths[-1], dpi=100, transparent=True, metadata={DATA: digest(found), "Software": None}
        )
    return paths


def pictures(found: Measurements) -> dict:
    """Figures by name, those for which there are rows; made once for the same rows."""
    key = (found.device, digest(found))
    if key not in _made:
        _made[key] = _make(found)
    return _made[key]


_made: dict[tuple[str, str], dict] = {}


def _make(found: Measurements) -> dict:
    figures = {
        "speedups": overview(found),
        **{f"speedups_{name}": speedups(name, groups) for name, groups in found.operations.items()},
        "roofline": roofline(found),
        "memory": memory(found),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def drawn_from(path: Path) -> str:
    """The digest of the rows that a chart was drawn from; "" if the file is not one."""
    from PIL import Image

    if not path.is_file():
        return ""
    with Image.open(path) as image:
        image.load()
        return getattr(image, "text", {}).get(DATA, "")


def _color(variant: str) -> str:
    return COLORS.get(variant, OTHER)


# -- speedups --------------------------------------------------------------------------------------


def overview(found: Measurements):
    """Speedup of the fused variants over each other one: a dot per case, a bar at the median."""
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
    axis.set_xlabel("speedup of the fused kernels (dots: cases; bar and number: median)")
    return figure


def speedups(operation: str, groups: list[Group]):
    """Speedups by case, in the dtype with most cases.

    A line is a shape and layout, a mark a flow profile, the bar behind it the spread.
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
    name = others[0] if len(others) == 1 else "the variant of that colour"
    axes[-1].set_xlabel(f"speedup over {name} (bars: both times moved by half of their spread)")
    entries = [(f"over {other}", _color(other), "o") for other in others]
    if len(flows) > 1:
        entries += [(flow, INK, MARKS[i % len(MARKS)]) for i, flow in enumerate(flows)]
    _legend(figure, entries)
    return figure


def _of_one_dtype(groups: list[Group]) -> list[Group]:
    dtypes = [group.dtype for group in groups]
    return [
        group for group in groups if group.dtype == max(dict.fromkeys(dtypes), key=dtypes.count)
    ]


def _line(group: Group, subject: str = "") -> str:
    """Label of a case without its flow, with the fused variant if there are several."""
    suite = OPERATIONS.get(group.operation)
    layout = group.layout if suite and suite.layouts else ""
    return " ".join(
        filter(
            None,
            ("x".join(map(str, group.shape)), layout, subject if len(group.subjects) > 1 else ""),
        )
    )


def _ratios(axis) -> None:
    """A logarithmic x axis of ratios, with a line at 1."""
    axis.axvline(1, color=INK, linewidth=1, linestyle="--")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5), max(high, 2) * 1.05)


# -- roofline --------------------------------------------------------------------------------------


def roofline(found: Measurements):
    """Achieved bandwidth over the bytes that a case must move; a panel per operation."""
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
    gpu = find_gpu(found.device)
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
            if gpu:
                case = Case(group.operation, group.direction, group.dtype, group.shape)
                axis.plot(
                    case.bytes / 1e6,
                    case.bytes / limit(case, gpu).seconds / 1e9,
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
        lines = f"line: measured copy, {low if low == high else f'{low} to {high}'} GB/s"
        if gpu:
            axis.axhline(gpu.bandwidth / 1e9, color=INK, linestyle="--", linewidth=1)
            lines += f"; dashed: {gpu.name} datasheet, {gpu.bandwidth / 1e9:.0f} GB/s"
        axis.set_title(lines, color=INK, fontsize=8.5, loc="right")
        _decades(axis)
        axis.set_ylim(top=max(axis.get_ylim()[1], max(copies) * 1.8))
        axis.set_ylabel("achieved bandwidth, GB/s")
    axes[-1].set_xlabel("bytes that must be read and written, MB")
    _legend(
        figure,
        [(name, _color(name), "s") for name in names]
        + [(direction, INK, MARKS[i % len(MARKS)]) for i, direction in enumerate(directions)]
        + ([("roofline of a case", INK, "_")] if gpu else []),
        title="filled: fused kernels; hollow: baselines",
    )
    return figure


def _decades(axis) -> None:
    """Make both axes logarithmic."""
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
    """Saved activations and, where measured, peak GPU memory: a bar per variant.

    Shown are the LARGEST cases of a dtype, without the forward of operations and without cases
    where all variants take the same. Flow profiles of an operation share a line.
    """
    panels: dict[tuple, Panel] = {}
    for groups in found.operations.values():
        for key, label in MEMORY.items():
            for group in sorted(_of_one_dtype(groups), key=lambda group: -group.bytes):
                _add_case(panels, group, key, label)
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
    for axis, ((title, label), panel) in zip(axes, panels.items(), strict=True):
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
        axis.set_xlabel(label)
    _legend(figure, [(name, _color(name), "s") for name in names])
    return figure


Panel = dict[str, dict[str, float]]  # case, variant, MB


def _add_case(panels: dict[tuple, Panel], group: Group, key: str, label: str) -> None:
    """Add the bars of a case to its panel, unless they say nothing."""
    is_operation = group.operation in OPERATIONS
    sizes = {name: row[key] / 1e6 for name, row in group.rows.items() if row.get(key) is not None}
    if is_operation and group.direction == "forward" or not sizes:
        return
    if max(sizes.values()) <= 1.01 * min(sizes.values()):
        return
    title = f"{group.operation}, {group.direction}, {group.dtype}"
    case = _line(group) + ("" if is_operation else f", {group.flow}")
    line = panels.setdefault((title, label), {}).setdefault(case, {})
    for name, value in sizes.items():
        line[name] = max(value, line.get(name, 0))


# -- shared parts ----------------------------------------------------------------------------------


def _figure(heights: list[float], extra: float):
    """A figure of stacked panels, heights in inches, plus `extra` for legend and label."""
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
    """A legend above the panels; an entry is a label, its colour and its mark."""
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
