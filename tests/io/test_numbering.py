"""Which images of a folder are frames, in which order and at what times."""

from fractions import Fraction
from pathlib import Path

import pytest

from lift.errors import LiftError
from lift.io.frame_folder import FrameFolder
from lift.io.numbering import numbered_files
from tests.support.video_samples import moving_frames, write_folder


def ordered(names, gaps="error"):
    found = numbered_files(Path("f"), [Path("f", name) for name in sorted(names)], gaps)
    return [file.name for file in found.files], found


# names in the order of their frames
SEQUENCES = {
    "not padded": ["f8.png", "f9.png", "f10.png"],
    "two suffixes": ["1.PNG", "2.jpg", "3.png"],
    "other numbers": ["shot 2 take 3 - 0001.png", "shot 2 take 3 - 0002.png"],
    "a number behind": ["2024-frame_0.5.png", "2024-frame_1.5.png", "2024-frame_2.5.png"],
    "a mark behind": ["ComfyUI_00001_.png", "ComfyUI_00002_.png"],
    "a dot before": ["scene.0001.png", "scene.0002.png"],
    "upper and lower case": ["IMG_1.jpg", "img_2.jpg", "IMG_3.jpg"],
    "a dash before": ["shot2-01.png", "shot2-02.png"],
    "negative": ["-0002.png", "-0001.png", "0000.png", "0001.png"],
    "negative behind a name": ["a-2.png", "a-1.png", "a0.png", "a1.png"],
    "one frame": ["0001.png"],
}


@pytest.mark.parametrize("gaps", ("error", "sort", "time"))
@pytest.mark.parametrize("kind", SEQUENCES)
def test_names_of_many_programs_are_one_sequence(kind, gaps):
    if kind == "negative behind a name" and gaps == "sort":
        return  # a dash within a name is no sign in natural order
    assert ordered(SEQUENCES[kind], gaps)[0] == SEQUENCES[kind]


DATES = [f"IMG_20240101_{time}.jpg" for time in ("115958", "115959", "120000")]
MIDNIGHT = ["20240101_235959.jpg", "20240102_000000.jpg", "20240102_000001.jpg"]


def test_a_gap_is_an_error_that_names_the_flags():
    for names in (["1.png", "2.png", "4.png"], DATES):
        with pytest.raises(LiftError, match="missing between .* --gaps sort .* --gaps time"):
            ordered(names)
    with pytest.raises(LiftError, match="more than one number varies.* --gaps sort"):
        ordered(MIDNIGHT)


def test_sorted_files_need_no_rule():
    doubled = ["1.jpg", "1.png", "2.png"]
    letters = ["a.png", "B.png", "c.png"]
    for names in (["1.png", "9.png", "10.png"], DATES, MIDNIGHT, doubled, letters):
        assert ordered(names, "sort")[0] == names


def test_numbers_as_times():
    names, found = ordered(["7.png", "8.png", "12.png"], "time")
    assert names == ["7.png", "8.png", "12.png"] and found.numbers == [7, 8, 12]
    with pytest.raises(LiftError, match="the same number 8"):
        ordered(["7.png", "8.jpg", "8.png"], "time")


def test_a_folder_displays_frames_at_the_times_of_their_numbers(tmp_path):
    folder = write_folder(tmp_path / "f", moving_frames(5))
    (folder / "im003.png").unlink()
    source = FrameFolder(folder, Fraction(10), gaps="time")
    times = [Fraction(k, 10) for k in (0, 1, 3, 4)]
    assert [time for _, time in source.timed()] == times == [t for _, t in source.decoded()]
    assert source.timestamps == tuple(times) and source.report.end == Fraction(5, 10)
    assert [t for _, t in FrameFolder(folder, gaps="sort").timed()][-1] == Fraction(3, 24)


@pytest.mark.parametrize("gaps", ("error", "sort", "time"))
@pytest.mark.parametrize(
    "stray, why",
    (
        ("thumbnail.png", "without a number"),
        ("cover2.jpg", "named differently"),
        ("frame_cover_1.png", "named differently"),
    ),
)
def test_a_single_picture_of_another_name_is_left_out_with_a_note(stray, why, gaps):
    frames = [f"frame_{k}.png" for k in range(3)]
    names, found = ordered([*frames, stray], gaps)
    assert names == frames and found.notes == [f"1 image(s) {why} left out ({stray})"]


def test_two_sequences_are_not_guessed_at():
    with pytest.raises(LiftError, match="a1.png and b1.png are named differently"):
        ordered(["a1.png", "a2.png", "b1.png", "b2.png"])
    assert len(ordered(["a1.png", "a2.png", "b1.png", "b2.png"], "sort")[0]) == 4
    with pytest.raises(ValueError, match="gaps must be one of error, sort, time, got 'skip'"):
        ordered(["1.png"], "skip")
