"""Worst samples are drawn with the results of the methods that have frames."""

import numpy as np
import pytest

from lift.visualize.gallery import Gallery
from lift.visualize.scores import SampleScores, Scores
from lift.visualize.worst_section import WorstCase, case_figure, worst_box, worst_section


def case_of(methods, drawn):
    scores = SampleScores("clip/7", "clip", {m: {"psnr": 20.0 + i} for i, m in enumerate(methods)})
    rng = np.random.default_rng(0)
    truth, *frames = rng.integers(0, 256, (3 + len(drawn), 32, 48, 3), np.uint8)
    return WorstCase(scores, np.stack(frames[:2]), truth, dict(zip(drawn, frames[2:], strict=True)))


@pytest.mark.parametrize("count", (1, 3, 6))
def test_each_method_has_a_column_with_its_psnr(count):
    methods = tuple(f"m{i}" for i in range(count))
    case = case_of(methods, methods)
    figure = case_figure(case, methods, (slice(0, 8), slice(0, 12)))
    titles = {axes.get_title() for axes in figure.axes} - {"", "truth\n"}
    assert titles == {f"m{i}\n{20 + i:.2f} dB" for i in range(count)}


def test_the_box_holds_the_largest_error():
    truth = np.zeros((40, 80, 3), np.uint8)
    frame = truth.copy()
    frame[5:15, 50:70] = 100
    assert worst_box(frame, truth) == (slice(5, 15), slice(50, 70))


def test_methods_without_frames_are_named_and_gains_are_those_of_the_scores(tmp_path):
    methods = ("lift_2", "dis", "rife")
    case = case_of(methods, ("lift_2", "dis"))
    scores = Scores(tmp_path / "s.json", "snufilm", "The protocol.", (case.scores,))
    with Gallery(tmp_path, ("png",), 50) as gallery:
        section = worst_section(gallery, scores, [case], "gain:dis")
    picture, slider = section.parts
    assert "only the scores are known: rife" in picture.caption
    assert "-1.00 dB over dis, -2.00 dB over rife" in picture.caption
    assert list(slider.images) == ["left reference", "lift_2", "dis", "truth", "right reference"]
    assert section.rows[0] == ("sample", "method", "PSNR, 8-bit")
    assert section.rows[1:] == [("clip/7", m, f"{20 + i}") for i, m in enumerate(methods)]
    assert "lowest PSNR gain over dis" in section.text and "The protocol." in section.text
