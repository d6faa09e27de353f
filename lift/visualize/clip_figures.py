"""The figure of a whole clip: the attention weight per frame of many targets."""

import numpy as np

from lift.visualize.sheet import PAGE, Row, figure_of, time_label

COLORS = "magma"
ABSENT = "0.8"  # grey: no such frame, as beyond a cut or an end of the clip


def attention_map(
    times: list[tuple[float, ...]], attention: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Attention weights of several targets on one axis of time.

    Args:
        times: of the input frames of each target.
        attention: their weights, as many.

    Returns:
        All times that occur, ascending (n,), and the weights (targets, n), NaN where a target has
        no frame at that time.
    """
    axis = np.array(sorted({time for each in times for time in each}))
    values = np.full((len(times), len(axis)), np.nan)
    for row, each, weights in zip(values, times, attention, strict=True):
        row[np.searchsorted(axis, each)] = weights
    return axis, values


def attention_figure(
    targets: list[int], times: list[tuple[float, ...]], attention: list[np.ndarray]
):
    """A heat map, target frame by time of the input frame, and the mean over the targets.

    Args:
        targets: frame numbers, ascending.
        times, attention: as in `attention_map`.
    """
    axis, values = attention_map(times, attention)
    percent = 100 * values.T
    limit = float(np.nanmax(percent))

    def draw_map(axes) -> None:
        axes.set_facecolor(ABSENT)
        picture = axes.imshow(
            percent,
            aspect="auto",
            origin="lower",
            cmap=COLORS,
            vmin=0,
            vmax=limit,
            interpolation="nearest",
        )
        step = max(1, -(-len(targets) // 12))
        axes.set_xticks(range(0, len(targets), step), targets[::step])
        axes.set_yticks(range(len(axis)), [time_label(t) for t in axis])
        axes.set_xlabel("target, frame number")
        axes.set_ylabel("time of the input, intervals")
        width = axes.get_position().width * PAGE
        bar = axes.inset_axes([1 + 0.08 / width, 0, 0.09 / width, 1])
        axes.figure.colorbar(picture, cax=bar).set_label("attention, %")

    def draw_mean(axes) -> None:
        mean = np.nanmean(percent, 1)
        axes.barh(range(len(axis)), mean, color="0.45")
        axes.set_ylim(-0.5, len(axis) - 0.5)
        axes.set_yticks([])
        axes.set_xlabel("mean, %")
        axes.spines[["top", "right"]].set_visible(False)

    # the mean is beside the map, on the same axis of time
    def draw(axes) -> None:
        axes.set_axis_off()
        draw_map(axes.inset_axes([0, 0, 0.74, 1]))
        draw_mean(axes.inset_axes([0.87, 0, 0.13, 1]))

    height = max(1.4, 0.16 * len(axis))
    return figure_of([Row([draw], height=height, above=0.06, below=0.36, left=0.5)])
