"""Pictures people look at: flow as colour, errors on a fixed scale, attention as bars, and panels
of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lift.files import atomic

ERROR_LIMIT = 32  # 8-bit levels; one scale for all pictures, so that two can be compared


# -- images ----------------------------------------------------------------------------------------


def flow_to_color(flow: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Flow as colour: hue is the direction, saturation the length, white is stillness.

    Right is red, and hues follow the colour circle clockwise as seen on the screen (down is
    yellow-green, left cyan, up violet).

    Args:
        flow: (H, W, 2), dx then dy, pixels.
        limit: the length that is fully saturated, pixels; the longest vector when None (at least 1,
            so that noise stays pale).

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: another shape.
    """
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"flow_to_color: flow must be (H, W, 2), got {flow.shape}")
    from matplotlib.colors import hsv_to_rgb

    dx, dy = flow[..., 0].astype(np.float64), flow[..., 1].astype(np.float64)
    length = np.hypot(dx, dy)
    limit = max(1.0, float(length.max(initial=0))) if limit is None else limit
    hue = np.arctan2(dy, dx) / (2 * np.pi) % 1
    hsv = np.stack((hue, np.clip(length / limit, 0, 1), np.ones_like(hue)), -1)
    return np.round(255 * hsv_to_rgb(hsv)).astype(np.uint8)


def color_wheel(size: int = 96) -> np.ndarray:
    """The legend of `flow_to_color`: each pixel is coloured as the vector from the centre to it;
    (size, size, 3) uint8.
    """
    place = np.linspace(-1, 1, size)
    flow = np.stack(np.meshgrid(place, place), -1)
    wheel = flow_to_color(flow, limit=1.0)
    wheel[np.hypot(*np.moveaxis(flow, -1, 0)) > 1] = 255
    return wheel


def error_map(frame: np.ndarray, truth: np.ndarray, limit: float = ERROR_LIMIT) -> np.ndarray:
    """Absolute difference, mean of the channels: black is none, the brightest colour `limit` 8-bit
    levels or more.

    Args:
        frame, truth: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8.
    """
    if frame.shape != truth.shape:
        raise ValueError(
            f"error_map: frame and truth must have one shape, got {frame.shape} and {truth.shape}"
        )
    difference = np.abs(frame.astype(np.float32) - truth).mean(-1)
    return colored(difference / limit, "inferno")


def colored(values: np.ndarray, name: str) -> np.ndarray:
    """Values in [0, 1], clipped, through a colour map of matplotlib: (H, W) to (H, W, 3) uint8."""
    from matplotlib import colormaps

    return colormaps[name](np.clip(values, 0, 1), bytes=True)[..., :3]


def caption(image: np.ndarray, text: str, height: int = 22) -> np.ndarray:
    """The image (H, W, 3) uint8 under a dark strip with a line of text: (H + height, W, 3)."""
    from lift.evaluation.opencv import opencv

    cv2 = opencv("a caption")
    strip = np.full((height, image.shape[1], 3), 24, np.uint8)
    cv2.putText(
        strip,
        text,
        (6, height - 7),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.45,
        (240, 240, 240),
        1,
        cv2.LINE_AA,
    )
    return np.concatenate((strip, image))


# -- panels ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """A picture with its title; `wheel` draws the legend of flow colours into its corner."""

    title: str
    image: np.ndarray
    wheel: bool = False


def panel(
    path: str | Path,
    rows: list[list[Tile]],
    attention: tuple[list[float], list[float]] | None = None,
    title: str = "",
) -> None:
    """Write a panel of pictures, and below them the attention each context frame received.

    Args:
        path: the picture; its suffix chooses the format.
        rows: tiles, row by row; shorter rows are left open.
        attention: times of the context frames (the references at 0 and 1) and the share of
            attention each received.
        title: a line above all.

    Raises:
        OSError: the file cannot be written; what stood at `path` is then as it was.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    height, width = rows[0][0].image.shape[:2]
    tile_height = 3.4 * height / width + 0.3
    heights = [tile_height] * len(rows) + ([1.7] if attention else [])
    figure = Figure(figsize=(3.4 * columns, sum(heights) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            _draw_tile(figure.add_subplot(grid[r, c]), tile)
    if attention:
        draw_attention(figure.add_subplot(grid[-1, :]), *attention)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


def _draw_tile(axes, tile: Tile) -> None:
    axes.imshow(
        tile.image, interpolation="nearest" if min(tile.image.shape[:2]) < 128 else "antialiased"
    )
    axes.set_title(tile.title, fontsize=8)
    axes.set_axis_off()
    if tile.wheel:
        corner = axes.inset_axes(
            [0.86, 0.03, 0.12, 0.12 * tile.image.shape[1] / tile.image.shape[0]]
        )
        corner.imshow(color_wheel())
        corner.set_axis_off()


def draw_attention(axes, times: list[float], shares: list[float]) -> None:
    """Bars of the share of attention by the frames' times, the references in another colour, on a
    matplotlib axes.
    """
    is_reference = [t in (0, 1) for t in times]
    axes.bar(
        times, shares, width=0.8, color=["tab:orange" if r else "tab:blue" for r in is_reference]
    )
    axes.axvline(0.5, color="0.6", linestyle=":")
    axes.set_xticks(times)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(
        "time of the context frame (orange: references at 0 and 1; dotted: the target)", fontsize=8
    )
    axes.set_ylabel("share of attention", fontsize=8)
