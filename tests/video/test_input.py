"""The frames of a job after --trim, --loop and --slow, from any one on, and how many come out."""

from fractions import Fraction

import numpy as np
import pytest

from lift.errors import LiftError
from lift.video.input import Input
from lift.video.options import FileOptions
from tests.support.raw_frames import random_frame, write_frames
from tests.support.video_samples import moving_frames, write_folder, write_video

pytest.importorskip("av")
pytestmark = pytest.mark.videos

CASES = {
    "plain": {},
    "trim": {"trim": "0.1:0.3"},
    "slow": {"slow": Fraction(5, 2), "trim": "0.1:"},
    "loop": {"loop": True},
    "loop of a part": {"loop": True, "trim": "0.1:0.3"},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("in") / "in.mkv", moving_frames(12, 32, 48))


def times(source, first=0):
    return [time for _, time in source.frames(first)]


@pytest.mark.parametrize("name", CASES)
def test_frames_may_begin_anywhere(video, name):
    source = Input(video, FileOptions(**CASES[name]))
    whole = list(source.frames())
    for first in (1, 2, len(whole) - 1):
        rest = list(source.frames(first))
        assert [time for _, time in rest] == [time for _, time in whole[first:]]
        for (frame, _), (expected, _) in zip(rest, whole[first:], strict=True):
            assert np.array_equal(frame.rgb, expected.rgb)


def test_times_of_a_part_that_is_slower(video):
    source = Input(video, FileOptions(slow=Fraction(2), trim="0.12:0.3"))
    found = times(source)
    assert found == [2 * Fraction(k, 25) for k in range(5)] and source.end == Fraction(36, 100)
    assert source.first_number == 3
    assert [source.source_time(time) for time in found] == [Fraction(k + 3, 25) for k in range(5)]


@pytest.mark.parametrize(
    "options, expected",
    (
        ({}, 23),
        ({"multi": 4}, 45),
        ({"fps": Fraction(50)}, 23),
        ({"slow": Fraction(3)}, 34),
        ({"loop": True}, 24),
        ({"trim": "0.12:0.32"}, 9),
    ),
)
@pytest.mark.parametrize("suffix", (".mkv", ".webm", ".ts", ".mp4", ".avi"))
def test_the_number_of_outputs_is_known_before(tmp_path, suffix, options, expected):
    """Also of containers that do not state the number of frames."""
    path = tmp_path / f"in{suffix}"
    if suffix == ".webm":
        frames = [random_frame("yuv420p", 8, 32, 32, k) for k in range(12)]
        write_frames(path, frames, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"})
    else:
        write_video(path, moving_frames(12, 32, 48), range(12), Fraction(1, 25))
    assert abs(Input(path, FileOptions(**options)).expected_outputs() - expected) <= 1


def test_images_of_two_sizes_are_one_sentence(tmp_path):
    a = write_folder(tmp_path / "a", moving_frames(1, 32, 32)) / "im001.png"
    b = write_folder(tmp_path / "b", moving_frames(1, 32, 48)) / "im001.png"
    with pytest.raises(LiftError, match="size"):
        times(Input((a, b), FileOptions()))


def test_a_rate_is_for_folders(video, tmp_path):
    with pytest.raises(LiftError, match="--source_fps is for folders"):
        Input(video, FileOptions(source_fps=Fraction(10)))
    folder = write_folder(tmp_path / "in", moving_frames(3, 32, 32))
    assert Input(folder, FileOptions(source_fps=Fraction(10))).rate == 20


def test_a_part_after_the_end_is_one_sentence(video):
    with pytest.raises(LiftError, match="no frame is displayed after 5.000 s"):
        times(Input(video, FileOptions(trim="5:6")))


@pytest.mark.parametrize("options", ({"fps": Fraction(50)}, {"slow": Fraction(5, 2)}))
def test_a_video_that_starts_late_has_its_first_frame_at_its_start(tmp_path, options):
    path = tmp_path / "late.mp4"
    write_video(path, moving_frames(6, 32, 48), [400 + 40 * k for k in range(6)], sound=True)
    source = Input(path, FileOptions(**options))
    first = times(source)[0]
    assert source.first_time == first
    frames = [time for _, time in source.frames()]
    assert source.schedule.between(*frames[:2])[0].time == first
