"""Figures: optical flow as colour, error maps on a fixed scale, attention weights, panels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lift.files import atomic
from lift.io.optional import require

ERROR_LIMIT = 32  # 8-bit levels; one scale for all figures, so that two can be compared


# -- images ----------------------------------------------------------------------------------------


HUES = {"RY": 15, "YG": 6, "GC": 4, "CB": 11, "BM": 13, "MR": 6}  # steps from hue to hue


def flow_hues() -> np.ndarray:
    """The 55 hues of Middlebury's flow colours, (55, 3) in [0, 1], from red over yellow to red.

    Steps between the six primary colours are as many as an observer can tell apart there.

    Source: Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011.
    """
    corners = {
        "R": (1, 0, 0),
        "Y": (1, 1, 0),
        "G": (0, 1, 0),
        "C": (0, 1, 1),
        "B": (0, 0, 1),
        "M": (1, 0, 1),
    }
    parts = []
    for (first, last), steps in HUES.items():
        weight = np.arange(steps)[:, None] / steps
        parts.append((1 - weight) * corners[first] + weight * np.array(corners[last]))
    return np.concatenate(parts)


def flow_to_color(flow: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Flow in Middlebury's colours: hue is the direction, saturation the length, white no motion.

    Right is red, down yellow, left blue-green, up violet. Longer vectors than `limit` are darker.

    Args:
        flow: (H, W, 2), dx then dy, pixels; y points down. Unknown (not finite) is black.
        limit: length of full saturation, pixels; the longest vector when None, at least 1.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: another shape.
    """
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"flow_to_color: flow must be (H, W, 2), got {flow.shape}")
    known = np.isfinite(flow).all(-1)
    # + 0.0 turns -0.0, which has another angle, into 0.0
    dx, dy = np.moveaxis(np.where(known[..., None], flow, 0).astype(np.float64) + 0.0, -1, 0)
    length = np.hypot(dx, dy)
    limit = max(1.0, float(length.max(initial=0))) if limit is None else limit
    length = (length / limit)[..., None]
    hues = flow_hues()
    position = (np.arctan2(-dy, -dx) / np.pi + 1) / 2 * (len(hues) - 1)
    first = np.floor(position).astype(int)
    weight = (position - first)[..., None]
    color = (1 - weight) * hues[first] + weight * hues[(first + 1) % len(hues)]
    color = np.where(length <= 1, 1 - length * (1 - color), 0.75 * color)
    return np.round(255 * color * known[..., None]).astype(np.uint8)


def flow_in_frame_pixels(flow: torch.Tensor) -> np.ndarray:
    """Flow of a prediction, (1, 2, h, w) at 1/4, in pixels of the frame: (h, w, 2), dx then dy."""
    return 4 * flow[0].permute(1, 2, 0).float().cpu().numpy()


def flow_limit(*flows: np.ndarray) -> float:
    """The length of full saturation for flows (H, W, 2), pixels: 99.5 % of vectors are shorter."""
    lengths = np.concatenate([np.hypot(flow[..., 0], flow[..., 1]).ravel() for flow in flows])
    return max(1.0, float(np.quantile(lengths, 0.995)))


def color_wheel(size: int = 96) -> np.ndarray:
    """The legend of `flow_to_color`, (size, size, 3) uint8.

    Each pixel has the colour of the vector from the centre to it.
    """
    axis = np.linspace(-1, 1, size)
    flow = np.stack(np.meshgrid(axis, axis), -1)
    wheel = flow_to_color(flow, limit=1.0)
    wheel[np.hypot(*np.moveaxis(flow, -1, 0)) > 1] = 255
    return wheel


def error_map(frame: np.ndarray, truth: np.ndarray, limit: float = ERROR_LIMIT) -> np.ndarray:
    """Absolute difference, mean of the channels.

    Black is no error, the brightest colour `limit` 8-bit levels or more.

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
    """A matplotlib colormap applied to values in [0, 1]: (H, W) to (H, W, 3) uint8."""
    from matplotlib import colormaps

    return colormaps[name](np.clip(values, 0, 1), bytes=True)[..., :3]


def blend_weight(occ_t0: torch.Tensor, occ_t1: torch.Tensor) -> np.ndarray:
    """The left reference's weight in the blend, v0 / (v0 + v1) of the visibilities.

    Args:
        occ_t0, occ_t1: (1, 1, h, w), visibility logits.

    Returns:
        (h, w) float32 in [0, 1].
    """
    log0, log1 = (torch.nn.functional.logsigmoid(occ[0, 0].float()) for occ in (occ_t0, occ_t1))
    return torch.sigmoid(log0 - log1).cpu().numpy()


def caption(image: np.ndarray, text: str, height: int = 22) -> np.ndarray:
    """The image (H, W, 3) uint8 with a line of text above it: (H + height, W, 3)."""
    cv2 = require("cv2", "a caption")
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
    """An image with its title; `wheel` adds the legend of flow colours in a corner."""

    title: str
    image: np.ndarray
    wheel: bool = False


def panel(
    path: str | Path,
    rows: list[list[Tile]],
    attention: tuple[list[float], list[float]] | None = None,
    title: str = "",
) -> None:
    """Write a panel of images, and below them the attention weight of each context frame.

    Args:
        path: image file; its suffix chooses the format.
        rows: tiles, row by row; shorter rows are filled with space.
        attention: times of the context frames (the references at 0 and 1) and their attention
            weights.
        title: a line above the panel.

    Raises:
        OSError: the file cannot be written; an earlier file at `path` is unchanged.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    heights = [_row_height(row) for row in rows] + ([1.7] if attention else [])
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


def _row_height(row: list[Tile]) -> float:
    """Inches of a row of tiles: the first image, at most as high as wide, and its title."""
    height, width = row[0].image.shape[:2]
    return 3.4 * min(height / width, 1) + 0.3


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


def draw_attention(axes, times: list[float], weights: list[float]) -> None:
    """Bars of the attention weights over time on matplotlib axes; the references are orange."""
    is_reference = [t in (0, 1) for t in times]
    axes.bar(
        times, weights, width=0.8, color=["tab:orange" if r else "tab:blue" for r in is_reference]
    )
    axes.axvline(0.5, color="0.6", linestyle=":")
    axes.set_xticks(times)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(
        "time of the context frame (orange: references at 0 and 1; dotted: the target)", fontsize=8
    )
    axes.set_ylabel("attention weight", fontsize=8)
