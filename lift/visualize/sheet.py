"""Figures for a paper: rows of images and plots on a sheet of a column's or a page's width.

Positions are in inches, so that text has the same size in every figure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lift.files import atomic
from lift.io.optional import require

COLUMN, PAGE = 3.3, 6.9  # widths in inches, of a column and of a page with two columns
MARGIN = 0.04  # inches
FORMATS = ("png", "pdf", "svg")
STYLE = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,  # text stays text, in a font that can be edited
    "svg.fonttype": "none",
    "svg.hashsalt": "lift",  # else names in the file are random
}
LARGEST_DPI = 600  # of images in figures; frames of 4K are reduced
PREVIEW_DPI = 200  # of the page
PAGE_PIXELS = 140  # CSS pixels an inch: a figure of a page's width fills the text
PREVIEW_QUALITY = 88  # of WebP, 0 to 100

Draw = Callable[["object"], None]  # draws on matplotlib axes


@dataclass(frozen=True)
class Row:
    """Axes of one size, side by side.

    Attributes:
        cells: what each of the axes shows; None leaves space.
        aspect: height of the axes divided by their width.
        columns: number of axes that would fill the row; that of the cells when None.
        above, below: inches for titles and for labels.
        left, right: inches for labels beside the row.
        gap: inches between the axes.
        height: inches of the axes, in place of `aspect`.
    """

    cells: list[Draw | None]
    aspect: float = 1.0
    columns: int | None = None
    above: float = 0.17
    below: float = 0.03
    left: float = 0.0
    right: float = 0.0
    gap: float = 0.05
    height: float | None = None

    def axes_size(self, width: float) -> tuple[float, float]:
        """Width and height of one of the axes on a sheet of this width, inches."""
        columns = self.columns or len(self.cells)
        space = width - 2 * MARGIN - self.left - self.right - self.gap * (columns - 1)
        cell = space / columns
        return cell, self.aspect * cell if self.height is None else self.height


def figure_of(rows: list[Row], width: float = PAGE):
    """A matplotlib figure with rows from top to bottom, as high as they need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [row.above + row.axes_size(width)[1] + row.below for row in rows]
    total = sum(heights) + 2 * MARGIN
    figure = Figure(figsize=(width, total))
    FigureCanvasAgg(figure)
    top = total - MARGIN
    for row, height in zip(rows, heights, strict=True):
        cell_width, cell_height = row.axes_size(width)
        bottom = top - row.above - cell_height
        for i, draw in enumerate(row.cells):
            if draw is not None:
                left = MARGIN + row.left + i * (cell_width + row.gap)
                box = (left / width, bottom / total, cell_width / width, cell_height / total)
                draw(figure.add_axes(box))
        top -= height
    return figure


# -- cells -----------------------------------------------------------------------------------------


def image(
    pixels: np.ndarray,
    title: str = "",
    *,
    extent: tuple[float, float, float, float] | None = None,
    frame_color: str | None = None,
    then: Draw | None = None,
    **options,
) -> Draw:
    """A cell with an image (H, W, 3) uint8, or a map (h, w) with a colormap.

    Args:
        pixels: the image.
        title: above it.
        extent: left, right, bottom, top in the coordinates that `then` draws in; pixels when None.
        frame_color: of a frame around it; none when None.
        then: draws on the axes afterwards.
        options: of matplotlib's `imshow`, such as cmap, vmin and vmax.
    """

    height, width = pixels.shape[:2]
    place = extent or (-0.5, width - 0.5, height - 0.5, -0.5)

    def draw(axes) -> None:
        inches = axes.get_position().width * axes.figure.get_size_inches()[0]
        shown = at_most_wide(pixels, round(LARGEST_DPI * inches))
        axes.imshow(shown, aspect="auto", interpolation="nearest", extent=place, **options)
        axes.set_title(plain_text(title), pad=2.5)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(frame_color is not None)
            if frame_color is not None:
                spine.set(color=frame_color, linewidth=1.6)
        if then is not None:
            limits = axes.get_xlim(), axes.get_ylim()
            then(axes)
            axes.set(xlim=limits[0], ylim=limits[1])

    return draw


def at_most_wide(pixels: np.ndarray, width: int) -> np.ndarray:
    """An image (H, W, 3) or a map (h, w), area-resized where it is wider than `width` pixels."""
    if pixels.shape[1] <= width:
        return pixels
    cv2 = require("cv2", "reducing frames")
    height = max(round(pixels.shape[0] * width / pixels.shape[1]), 1)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def color_bar(axes, name: str, label: str, ticks: dict[float, str]) -> None:
    """A bar with the colours of a colormap below the axes.

    Args:
        axes: of the image.
        name: of the colormap.
        label: what it shows, with the unit.
        ticks: text by position, 0 to 1.
    """
    width, height = axes.get_position().size * axes.figure.get_size_inches()
    bar = axes.inset_axes([0.0, -0.12 / height, 1.0, 0.07 / height])
    bar.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=name, extent=(0, 1, 0, 1))
    bar.set_yticks([])
    bar.set_xticks(list(ticks), list(ticks.values()))
    for tick, alignment in zip(bar.get_xticklabels(), _alignments(ticks), strict=True):
        tick.set_horizontalalignment(alignment)
    bar.tick_params(length=1.5, pad=1, labelsize=6)
    bar.set_xlabel(plain_text(label), labelpad=1, fontsize=6.5)


def _alignments(ticks: dict[float, str]) -> list[str]:
    """Labels at the ends stay within the bar."""
    ends = {0.0: "left", 1.0: "right"}
    return [ends.get(float(position), "center") for position in ticks]


def time_label(time: float) -> str:
    """A time with its sign: +2, 0, -1.5."""
    return f"{time:+g}" if time else "0"


def plain_text(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


# -- files -----------------------------------------------------------------------------------------


def save(figure, path: str | Path, dpi: int) -> None:
    """Write a figure; the suffix chooses the format.

    The same figure gives the same bytes: no date is stored.

    Raises:
        OSError: the file cannot be written; an earlier file at `path` is unchanged.
    """
    suffix = Path(path).suffix.lower()
    metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix, {})
    with atomic(path) as part:
        figure.savefig(part, dpi=dpi, metadata=metadata)


def preview(figure) -> bytes:
    """The figure as WebP for the page."""
    figure.set_dpi(PREVIEW_DPI)
    figure.canvas.draw()
    return encode_webp(np.asarray(figure.canvas.buffer_rgba())[..., :3], PREVIEW_QUALITY)


def preview_size(figure) -> tuple[int, int]:
    """Width and height of the figure on the page, in CSS pixels."""
    width, height = figure.get_size_inches()
    return round(PAGE_PIXELS * width), round(PAGE_PIXELS * height)


def encode_webp(rgb: np.ndarray, quality: int) -> bytes:
    """An image (H, W, 3) uint8 as WebP; lossless where quality is above 100."""
    cv2 = require("cv2", "the page of pictures")
    flags = [cv2.IMWRITE_WEBP_QUALITY, quality]
    return cv2.imencode(".webp", np.ascontiguousarray(rgb[..., ::-1]), flags)[1].tobytes()
