"""Parts of a job on disk, and the output that they become."""

import json
from fractions import Fraction

import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout
from lift.io.image_format import ImageFormat
from lift.io.outputs import FolderOutput, Parts, PartStatistics, SourceEnd, VideoOutput
from lift.io.timing import WHOLE
from tests.support.disk import largest_file
from tests.support.media import write_media
from tests.support.video_samples import moving_frames

av = pytest.importorskip("av")
pytestmark = pytest.mark.videos

RGB = FrameLayout("gbrp", chroma="rgb")
RATE, TICK = Fraction(25), Fraction(1, 1000)


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "work").mkdir()
    return Parts(tmp_path / "work")


def finish(parts, *numbers, end=None):
    for number in numbers:
        parts.mark(number, PartStatistics(4, 2, [(number, "1/25")]))
    if end is not None:
        parts.mark_end(SourceEnd(end, "4/25", 1, 2, ["damaged"]))


def test_marks_are_found_again(parts):
    finish(parts, 0, 2, end=3)
    again = Parts(parts.work)
    assert again.finished(2).cuts == [[2, "1/25"]] and again.finished(1) is None
    assert sorted(again.all()) == [0, 2]
    assert again.outcome() == SourceEnd(3, "4/25", 1, 2, ["damaged"])


@pytest.mark.parametrize(
    "finished, end, start, stop, missing",
    (
        ((), None, 0, None, 0),
        ((0, 1), None, 0, None, 2),  # the end of the source is not known
        ((0, 1), 2, 0, None, None),
        ((0, 2), 3, 0, None, 1),
        ((0, 2), 3, 2, None, None),
        ((0, 1), None, 0, 2, None),
        ((0, 1), None, 3, 5, 3),
    ),
)
def test_the_first_missing_part(parts, finished, end, start, stop, missing):
    finish(parts, *finished, end=end)
    assert parts.first_missing(start, stop) == missing


@pytest.mark.parametrize(
    "part, stop, found", ((0, None, 2), (2, None, 5), (5, None, None), (2, 4, 4))
)
def test_the_next_finished_part(parts, part, stop, found):
    finish(parts, 2, 5)
    assert parts.next_finished(part, stop) == found


@pytest.mark.parametrize("text", ("", "{", "[]", '{"frames": 1, "other": 2}', "null"))
def test_a_mark_that_was_written_by_half_is_none(parts, text):
    parts.file(0, ".done").write_text(text)
    assert parts.finished(0) is None and parts.first_missing(0, None) == 0 and parts.all() == {}


def test_a_part_that_was_damaged_is_made_again(parts):
    parts.file(0, ".mkv").write_bytes(b"0123456789")
    finish(parts, 0)
    assert parts.finished(0).size == 10 and parts.first_missing(0, None) == 1
    parts.file(0, ".mkv").write_bytes(b"01234")
    assert parts.finished(0) is None and parts.all() == {} and parts.first_missing(0, None) == 0


def test_values_for_later_runs(parts):
    assert parts.read("conditions.json") is None
    parts.write("conditions.json", {"threads": 2})
    assert parts.read("conditions.json") == {"threads": 2}
    (parts.work / "conditions.json").write_text("{")
    assert parts.read("conditions.json") is None


def write_parts(output, frames, length):
    for k, frame in enumerate(frames):
        if k % length == 0:
            if k:
                output.end()
            output.begin(k // length)
        output.write(frame, k / RATE)
    output.end()
    return [min(length, len(frames) - k) for k in range(0, len(frames), length)]


def video_output(parts, target, **options):
    encoding = choose_encoding(target.suffix, RGB, size=(64, 48))
    return VideoOutput(parts, target, (64, 48), encoding, RATE, TICK, layout=RGB, **options)


@pytest.mark.parametrize("suffix", (".mp4", ".mkv", ".mov", ".ts", ".webm", ".gif", ".apng"))
def test_parts_become_one_video(parts, tmp_path, suffix):
    frames, target = moving_frames(7), tmp_path / f"a{suffix}"
    output = video_output(parts, target)
    assert output.plan_streams(suffix, None, "copy", WHOLE, RATE) == ()
    counts = write_parts(output, frames, 3)
    assert output.publish(target, counts, 7 / RATE) == []
    with av.open(str(target)) as container:
        found = list(container.decode(video=0))
        start = found[0].pts * found[0].time_base
    assert len(found) == 7
    for k, (frame, original) in enumerate(zip(found, frames, strict=True)):
        assert abs(frame.pts * frame.time_base - start - k / RATE) <= TICK / 2
        error = np.abs(frame.to_ndarray(format="rgb24").astype(int) - original).mean()
        assert error < (12 if suffix == ".gif" else 4)


def test_an_animated_image_has_no_sound(parts, tmp_path):
    source = write_media(tmp_path / "in.mkv", frames=3)
    output = video_output(parts, tmp_path / "a.gif")
    notes = output.plan_streams(".gif", tmp_path / "in.mkv", "copy", WHOLE, RATE)
    assert source and notes == ("sound left out: an animated image has none",)


def test_parts_become_one_folder(parts, tmp_path):
    frames, target = moving_frames(5), tmp_path / "frames"
    output = FolderOutput(parts, target, ImageFormat("bmp"))
    assert output.format_name == "bmp"
    counts = write_parts(output, frames, 2)
    (parts.work / "frames").mkdir()
    (parts.work / "frames" / "000000.bmp").write_text("an interrupted run left it")
    output.publish(target, counts, 5 / RATE)
    files = sorted(target.iterdir())
    assert [file.name for file in files] == [f"{k:06d}.bmp" for k in range(5)]
    assert parts.file(0, "").is_dir()  # a run that is interrupted here begins with them


def test_an_error_in_a_part_leaves_none(parts, tmp_path):
    output = video_output(parts, tmp_path / "a.mkv")
    output.begin(0)
    output.write(moving_frames(1)[0], Fraction(0))
    output.end(KeyboardInterrupt())
    assert list(parts.work.iterdir()) == []
    output.end(KeyboardInterrupt())  # there is none open


def test_a_full_disk_names_the_output(parts, tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), dtype=np.uint8))
    output = video_output(parts, tmp_path / "a.mkv")
    with pytest.raises(LiftError, match="a.mkv: could not be written"), largest_file(3000):
        write_parts(output, noise, 8)


def test_an_earlier_output_survives_a_failure(parts, tmp_path):
    target = tmp_path / "a.mkv"
    target.write_text("precious")
    output = video_output(parts, target)
    output.plan_streams(".mkv", None, "copy", WHOLE, RATE)
    counts = write_parts(output, moving_frames(4), 2)
    with pytest.raises(LiftError, match="a.mkv: could not be written"), largest_file(400):
        output.publish(target, counts, 4 / RATE)
    assert target.read_text() == "precious"
    assert json.loads(parts.file(0, ".json").read_text()) == ["0", "1/25"]


@pytest.mark.parametrize(
    "places, is_constant",
    (((0, 1, 2, 3), True), ((0, Fraction(11, 10), 2, 3), True), ((0, 1, Fraction(5, 2), 3), False)),
)
def test_avi_counts_frames_at_a_constant_rate(tmp_path, places, is_constant):
    work, target = tmp_path / "work", tmp_path / "a.avi"
    work.mkdir()
    layout = FrameLayout()
    encoding = choose_encoding(".avi", layout, size=(64, 48), codec="mpeg4")
    rate, tick = Fraction(50), Fraction(1, 90_000)
    output = VideoOutput(Parts(work), target, (64, 48), encoding, rate, tick, None, layout)
    output.plan_streams(".avi", None, "copy", WHOLE, rate / 2)
    output.begin(0)
    for place in places:
        output.write(np.zeros((48, 64, 3), np.uint8), place / rate)
    output.end()
    output.publish(target, [len(places)], len(places) / rate)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.time_base == 1 / rate) == is_constant
        times = [packet.dts for packet in container.demux(stream) if packet.size]
    assert times == list(range(len(places))) or not is_constant
