"""Figures have the sizes of a paper, and images in them are no larger than print needs."""

import io

import numpy as np
import pytest
from matplotlib import rc_context

from lift.visualize.sheet import (
    MARGIN,
    STYLE,
    Row,
    figure_of,
    image,
    preview_size,
    save,
    time_label,
)


def nothing(axes):
    axes.set_axis_off()


def test_rows_are_placed_in_inches():
    rows = [
        Row([nothing, nothing], aspect=0.5, columns=4, above=0.2, below=0.1, gap=0.1),
        Row([nothing], height=1.0, above=0.3, below=0.2, left=0.4),
    ]
    figure = figure_of(rows, width=3.3)
    cell = (3.3 - 2 * MARGIN - 3 * 0.1) / 4
    height = 2 * MARGIN + (0.2 + 0.5 * cell + 0.1) + (0.3 + 1.0 + 0.2)
    assert figure.get_size_inches() == pytest.approx([3.3, height])
    first, second, wide = (axes.get_position() for axes in figure.axes)
    assert 3.3 * first.x0 == pytest.approx(MARGIN) and 3.3 * first.width == pytest.approx(cell)
    assert 3.3 * (second.x0 - first.x1) == pytest.approx(0.1)
    assert height * first.y1 == pytest.approx(height - MARGIN - 0.2)
    assert height * wide.y0 == pytest.approx(MARGIN + 0.2)
    assert 3.3 * wide.x0 == pytest.approx(MARGIN + 0.4)


def test_large_images_are_reduced_and_keep_their_coordinates():
    marks = []

    def mark(axes):
        marks.append((axes.get_xlim(), axes.get_ylim(), axes.images[0].get_array().shape))

    frame = np.zeros((2160, 3840, 3), np.uint8)
    figure_of([Row([image(frame, then=mark)], aspect=0.5625)], width=1.08)
    (x, y, shape), limit = marks[0], round(600 * (1.08 - 2 * MARGIN))
    assert shape[1] == limit < 700
    assert x == (-0.5, 3839.5) and y == (2159.5, -0.5)


@pytest.mark.parametrize("text", ["$x", "a_b", "50 %", "$\\frac$"])
def test_titles_are_no_formulas(text):
    figure = figure_of([Row([image(np.zeros((4, 4, 3), np.uint8), text)])], width=1.0)
    figure.savefig(io.BytesIO(), dpi=50)


@pytest.mark.parametrize("suffix", ("png", "pdf", "svg"))
def test_the_same_figure_has_the_same_bytes(tmp_path, suffix):
    paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for path in paths:
        with rc_context(STYLE):
            save(figure_of([Row([image(np.eye(4), "text", cmap="gray")])], width=1.0), path, 60)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_figure_as_wide_as_a_page_fills_the_text():
    assert preview_size(figure_of([Row([nothing])], width=6.9))[0] == 966


def test_times_have_signs():
    assert [time_label(t) for t in (-7.0, 0.0, -0.0, 1.0, 2.5)] == ["-7", "0", "0", "+1", "+2.5"]
