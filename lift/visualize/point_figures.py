"""Figures of one point of the target: attention inside the window, and the point's path."""

import numpy as np

from lift.visualize.explanation import Explanation
from lift.visualize.point_path import PointPath
from lift.visualize.sheet import Draw, Row, color_bar, figure_of, image, time_label
from lift.visualize.target_figures import CONTEXT_COLOR, REFERENCE_COLOR, TRUTH_COLOR, input_rows

SCALE = 16  # pixels of the frames per location of the attention
CROP = 64  # pixels, the smallest side of a crop around a path
CURVED_COLOR, STRAIGHT_COLOR = "#e7298a", "#66a61e"
HEAT = "inferno"


# -- attention inside the window -------------------------------------------------------------------


def window_figure(explained: Explanation):
    """The window around a point in each input frame, and the weight of its locations.

    Crops with the mean over heads and layers; then a row of maps for each layer, the mean
    over heads, on a scale of its own.
    """
    target, weights = explained.target, explained.at_point.weights
    per_layer = weights.mean(1)  # (layers, T, h, w)
    mean = per_layer.mean(0)
    rows, columns = _attended(per_layer)
    limit = float(mean.max())
    box = (columns.start * SCALE, columns.stop * SCALE, rows.stop * SCALE, rows.start * SCALE)
    aspect = (rows.stop - rows.start) / (columns.stop - columns.start)
    cells = []
    for i, time in enumerate(target.times):
        crop = _crop(target.frames[i], box)
        title = f"{time_label(time)}: {100 * mean[i].sum():.1f} %"
        color = REFERENCE_COLOR if time in (0, 1) else CONTEXT_COLOR
        heat = mean[i, rows, columns] / limit
        draw = _heat(explained.at_point.point, box, heat)
        cells.append(image(crop, title, extent=box, frame_color=color, then=draw))
    sheet = [*input_rows(cells, target.left, aspect), _scale_row(limit)]
    for number, layer in enumerate(per_layer, 1):
        titles = [time_label(time) if number == 1 else "" for time in target.times]
        maps = [
            # white: outside of this layer's window
            image(np.ma.masked_equal(each, 0), title, cmap=HEAT, vmin=0, vmax=layer.max())
            for each, title in zip(layer[:, rows, columns], titles, strict=True)
        ]
        maps[0] = _with_label(maps[0], f"layer {number}\n0 to {100 * layer.max():.2g} %")
        columns_at_least = max(len(maps), 6)
        above = 0.17 if number == 1 else 0.04
        sheet.append(Row(maps, aspect, columns_at_least, above=above, left=0.62))
    return figure_of(sheet)


def _attended(weights: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the locations that any layer can attend to, of (layers, T, h, w)."""
    seen = weights.sum((0, 1)) > 0
    y, x = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
    return slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)


def _crop(frame: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Pixels of a frame in a box (left, right, bottom, top); the edge is repeated outside."""
    left, right, bottom, top = box
    y = np.clip(np.arange(top, bottom), 0, frame.shape[0] - 1)
    x = np.clip(np.arange(left, right), 0, frame.shape[1] - 1)
    return frame[y[:, None], x]


def _heat(point: tuple[int, int], box: tuple[int, int, int, int], heat: np.ndarray) -> Draw:
    """Weights (h, w) in [0, 1] over a crop, the more opaque the larger, and the point."""

    def draw(axes) -> None:
        axes.imshow(
            heat,
            cmap=HEAT,
            vmin=0,
            vmax=1,
            extent=box,
            aspect="auto",
            interpolation="nearest",
            alpha=0.15 + 0.7 * heat,
        )
        axes.plot(*point, "+", color="black", markersize=6, markeredgewidth=2.0)
        axes.plot(*point, "+", color="white", markersize=5, markeredgewidth=0.8)

    return draw


def _with_label(cell: Draw, text: str) -> Draw:
    """The cell with a text on its left."""

    def draw(axes) -> None:
        cell(axes)
        axes.text(-0.15, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=6.5)

    return draw


def _scale_row(limit: float) -> Row:
    def draw(axes) -> None:
        axes.set_axis_off()
        ticks = {0.0: "0", 0.5: f"{50 * limit:.2g} %", 1.0: f"{100 * limit:.2g} %"}
        label = "weight of one location (16 x 16 px) in one frame, mean over heads and layers"
        color_bar(axes, HEAT, label, ticks)

    return Row([draw], height=0.01, above=0.0, below=0.42, left=1.5, right=1.5)


# -- path of the point -----------------------------------------------------------------------------


def path_figure(explained: Explanation):
    """The point's positions on crops of the frames its path runs through, and over time."""
    target, path = explained.target, explained.at_point.path
    shown = [i for i, time in enumerate(target.times) if path.first <= time <= path.last]
    times = np.array([target.times[i] for i in shown])
    box = _box_around(path, times)
    cells = []
    for i, time in zip(shown, times, strict=True):
        color = REFERENCE_COLOR if time in (0, 1) else CONTEXT_COLOR
        crop = _crop(target.frames[i], box)
        draw = _positions(path, times, time)
        cells.append(image(crop, time_label(time), extent=box, frame_color=color, then=draw))
    truth = image(
        _crop(target.truth, box),
        "+0.5, truth",
        extent=box,
        frame_color=TRUTH_COLOR,
        then=_positions(path, times, path.t),
    )
    cells.insert(int((times < path.t).sum()), truth)
    columns = max(len(cells), 5)
    plots = [_over_time(path, times, axis) for axis in (0, 1)]
    return figure_of(
        [
            Row(cells, 1.0, columns),
            Row(plots, height=1.35, above=0.12, below=0.34, left=0.42, gap=0.55),
        ]
    )


def _box_around(path: PointPath, times: np.ndarray) -> tuple[int, int, int, int]:
    """A square (left, right, bottom, top) that holds both paths."""
    s = np.linspace(times[0], times[-1], 50)
    points = np.concatenate((path.straight(s), path.curved(s), [path.point]))
    low, high = points.min(0), points.max(0)
    side = int(max(CROP, 1.3 * (high - low).max()))
    left, top = (np.round((low + high) / 2) - side // 2).astype(int)
    return int(left), int(left) + side, int(top) + side, int(top)


def _positions(path: PointPath, times: np.ndarray, now: float) -> Draw:
    """Both paths, and where the point is on them in the frame shown."""

    def draw(axes) -> None:
        s = np.linspace(times[0], times[-1], 100)
        for positions, color, marker in (
            (path.straight, STRAIGHT_COLOR, "x"),
            (path.curved, CURVED_COLOR, "o"),
        ):
            axes.plot(*positions(s).T, color=color, linewidth=0.8)
            place = positions(np.array([now]))[0]
            axes.plot(*place, marker, color="black", markersize=4.5, markeredgewidth=1.8)
            axes.plot(*place, marker, color=color, markersize=3.5, markeredgewidth=1.0)

    return draw


def _over_time(path: PointPath, times: np.ndarray, axis: int) -> Draw:
    def draw(axes) -> None:
        s = np.linspace(times[0], times[-1], 200)
        for positions, color, marker, label in (
            (path.straight, STRAIGHT_COLOR, "x", "straight path"),
            (path.curved, CURVED_COLOR, "o", "curved path"),
        ):
            axes.plot(s, positions(s)[:, axis], color=color)
            at_frames = positions(times)[:, axis]
            axes.plot(times, at_frames, marker, color=color, markersize=3.5, label=label)
        axes.axvline(path.t, color="0.4", linestyle=":")
        axes.set_xticks(times, [time_label(t) for t in times])
        axes.set_xlabel("time, intervals (target: dotted line)")
        axes.set_ylabel(f"{'xy'[axis]}, px")
        axes.spines[["top", "right"]].set_visible(False)
        if axis == 0:
            axes.legend(loc="best", frameon=False)

    return draw
