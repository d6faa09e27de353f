"""Figures of one target: its inputs with their attention, the result with its error, the motion."""

import numpy as np

from lift.evaluation.baselines import average
from lift.evaluation.figures import (
    ERROR_LIMIT,
    color_wheel,
    error_map,
    flow_limit,
    flow_to_color,
)
from lift.visualize.explanation import Explanation
from lift.visualize.sheet import MARGIN, Draw, Row, color_bar, figure_of, image, time_label

REFERENCE_COLOR, CONTEXT_COLOR, TRUTH_COLOR = "#d95f02", "#4575b4", "#1b9e77"
ERROR_COLORS = "inferno"
ERROR_TICKS = {0.0: "0", 0.5: str(ERROR_LIMIT // 2), 1.0: f"{ERROR_LIMIT} or more"}
ONE_ROW = 8  # input frames that fit into one row
BAR = 0.34  # inches for a colour bar below an image


def inputs_figure(explained: Explanation):
    """The input frames in the order of time with their attention, and the attention over time."""
    target = explained.target
    aspect = target.truth.shape[0] / target.truth.shape[1]
    cells = [_input_cell(explained, i) for i in range(len(target.times))]
    rows = input_rows(cells, target.left, aspect)
    if explained.attention is not None:
        bars = Row([_attention_bars(explained)], height=0.9, above=0.12, below=0.34, left=0.42)
        rows.append(bars)
    return figure_of(rows)


def input_rows(cells: list[Draw], left: int, aspect: float) -> list[Row]:
    """Cells of the input frames: one row, or where they are many a row for each side.

    The first row then ends with the left reference, and the second one begins with the right one.

    Args:
        cells: in the order of time.
        left: position of the left reference.
        aspect: height of a cell divided by its width.
    """
    if len(cells) <= ONE_ROW:
        return [Row(cells, aspect, max(len(cells), 4))]
    split = left + 1
    columns = max(split, len(cells) - split)
    before = [None] * (columns - split) + cells[:split]
    return [Row(before, aspect, columns), Row(cells[split:], aspect, columns)]


def _input_cell(explained: Explanation, i: int) -> Draw:
    target, is_reference = explained.target, explained.target.times[i] in (0, 1)
    title = time_label(target.times[i])
    if explained.attention is not None:
        title += f": {100 * explained.attention[i]:.1f} %"
    color = REFERENCE_COLOR if is_reference else CONTEXT_COLOR
    return image(target.frames[i], title, frame_color=color)


def _attention_bars(explained: Explanation) -> Draw:
    times = np.array(explained.target.times)
    colors = [REFERENCE_COLOR if t in (0, 1) else CONTEXT_COLOR for t in times]

    def draw(axes) -> None:
        axes.bar(times, 100 * explained.attention, width=0.8, color=colors)
        axes.axvline(0.5, color="0.4", linestyle=":")
        axes.set_xticks(times, [time_label(t) for t in times])
        axes.set_ylim(bottom=0)
        axes.set_ylabel("attention, %")
        axes.set_xlabel("time of the input frame, intervals (target: dotted line at +0.5)")
        axes.spines[["top", "right"]].set_visible(False)

    return draw


def result_figure(explained: Explanation):
    """References, truth, generated frame, the coarse frame, and errors on one fixed scale."""
    target = explained.target
    aspect = target.truth.shape[0] / target.truth.shape[1]
    left, right = target.frames[target.left : target.left + 2]
    scores = f"{explained.psnr:.2f} dB, SSIM {explained.ssim:.4f}"
    point = _point_marker(explained.at_point.point)
    bar = _bar(ERROR_COLORS, "absolute error, 8-bit levels, mean of RGB", ERROR_TICKS)
    coarse_error = error_map(explained.coarse, target.truth)
    error = error_map(explained.frame, target.truth)
    return figure_of(
        [
            Row(
                [
                    image(average(left, right, 0.5), "references, overlaid"),
                    image(target.truth, "truth", frame_color=TRUTH_COLOR),
                    image(explained.frame, f"LIFT: {scores}", then=point),
                ],
                aspect,
            ),
            Row(
                [
                    image(explained.coarse, "coarse frame, 1/4 of the resolution"),
                    image(coarse_error, "error of the coarse frame", then=bar),
                    image(error, "error of LIFT", then=bar),
                ],
                aspect,
                below=BAR,
            ),
        ]
    )


def motion_figure(explained: Explanation):
    """Flows, visibilities, blend weight, and the confidence and bend of the curved paths."""
    aspect = explained.flow_t0.shape[0] / explained.flow_t0.shape[1]
    limit = flow_limit(explained.flow_t0, explained.flow_t1)
    flows = [
        image(flow_to_color(flow, limit), f"flow to the {side} reference", then=_flow_legend(limit))
        for side, flow in (("left", explained.flow_t0), ("right", explained.flow_t1))
    ]
    unit = {"vmin": 0, "vmax": 1, "cmap": "gray"}
    visible = _bar("gray", "", {0.0: "hidden", 1.0: "visible"})
    visibilities = [
        image(values, f"visibility in the {side} reference", then=visible, **unit)
        for side, values in (("left", explained.visibility_t0), ("right", explained.visibility_t1))
    ]
    blend = image(
        explained.left_weight,
        "blend weight of the left reference",
        then=_bar("PuOr_r", "", {0.0: "right alone", 0.5: "both", 1.0: "left alone"}),
        vmin=0,
        vmax=1,
        cmap="PuOr_r",
    )
    rows = [
        Row([*flows, blend], aspect, below=BAR),
        Row([*visibilities, *_curve_cells(explained)], aspect, columns=3, below=BAR),
    ]
    if len(rows[1].cells) > 3:
        rows[1:] = [Row(rows[1].cells, aspect, below=BAR)]
    return figure_of(rows)


def _curve_cells(explained: Explanation) -> list[Draw]:
    cells = []
    if explained.confidence is not None:
        bar = _bar("viridis", "", {0.0: "0", 1.0: "1"})
        cells.append(
            image(
                explained.confidence,
                "confidence in the curve",
                then=bar,
                cmap="viridis",
                vmin=0,
                vmax=1,
            )
        )
    if explained.curvature is not None:
        limit = max(1.0, float(np.quantile(explained.curvature, 0.995)))
        bar = _bar("magma", "distance from a straight path, px", {0.0: "0", 1.0: f"{limit:.1f}"})
        cells.append(
            image(
                explained.curvature, "bend of the path", then=bar, cmap="magma", vmin=0, vmax=limit
            )
        )
    return cells


def _bar(name: str, label: str, ticks: dict[float, str]) -> Draw:
    return lambda axes: color_bar(axes, name, label, ticks)


def _flow_legend(limit: float) -> Draw:
    """The wheel of colours in a corner, and the length that its edge stands for."""

    def draw(axes) -> None:
        width, height = axes.get_position().size * axes.figure.get_size_inches()
        side = min(0.34, 0.8 * height)  # inches
        corner = axes.inset_axes(
            [1 - (side + MARGIN) / width, MARGIN / height, side / width, side / height]
        )
        corner.imshow(color_wheel())
        corner.set_axis_off()
        axes.text(
            0.5,
            -0.03,
            f"edge of the wheel: {limit:.1f} px",
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=6.5,
        )

    return draw


def _point_marker(point: tuple[int, int]) -> Draw:
    """A cross at a point, readable on light and dark."""

    def draw(axes) -> None:
        axes.plot(*point, "+", color="black", markersize=9, markeredgewidth=2.4)
        axes.plot(*point, "+", color="white", markersize=8, markeredgewidth=1.0)

    return draw
