import subprocess
import sys
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.decode import open_frames
from tests.support.video_samples import moving_frames, write_folder, write_video

av = pytest.importorskip("av")


def read(source):
    return list(source.frames())


# -- videos ----------------------------------------------------------------------------------------


def test_a_video_gives_its_frames_size_and_rate(tmp_path):
    frames = moving_frames(6)
    source = open_frames(write_video(tmp_path / "a.mp4", frames))
    assert (source.width, source.height, source.fps, source.count) == (64, 48, 25, 6)
    for got, want in zip(read(source), frames, strict=True):
        assert got.shape == (48, 64, 3) and got.dtype == np.uint8
        assert np.abs(got.astype(int) - want).mean() < 4


def test_times_are_exact_at_a_variable_rate(tmp_path):
    ticks = [0, 40, 80, 171, 200, 333]
    source = open_frames(write_video(tmp_path / "a.mkv", moving_frames(6), ticks))
    assert [time for _, time in source.timed()] == [Fraction(k, 1000) for k in ticks]


def test_a_source_can_be_read_again_and_left_early(tmp_path):
    source = open_frames(write_video(tmp_path / "a.mp4", moving_frames(6)))
    assert len(list(islice(source.frames(), 2))) == 2
    assert len(read(source)) == 6


@pytest.mark.parametrize("degrees", (90, 180, -90))
def test_rotation_is_applied(tmp_path, degrees):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:16, :16] = 255  # a white top left corner
    source = open_frames(write_video(tmp_path / "a.mp4", [frame] * 3, rotate=degrees))
    got = read(source)[0]
    upright = np.rot90(frame, degrees // 90)
    assert (source.height, source.width) == upright.shape[:2] == got.shape[:2]
    assert np.abs(got.astype(int) - upright).mean() < 4


def test_a_cover_picture_is_not_taken_for_the_video(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as out:
        audio = out.add_stream("aac", rate=44100)
        chunk = av.AudioFrame.from_ndarray(
            np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
        )
        chunk.sample_rate = 44100
        out.mux(audio.encode(chunk))
        out.mux(audio.encode(None))
    with pytest.raises(LiftError, match="song.m4a: no video stream"):
        open_frames(tmp_path / "song.m4a")


@pytest.mark.parametrize(
    "suffix, options",
    [
        (".mp4", {"movflags": "faststart"}),
        (".mkv", {}),
        (".avi", {}),
        (".ts", {}),
        (".mp4", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_a_truncated_video_is_an_error_that_names_the_place(tmp_path, suffix, options):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    path = write_video(
        tmp_path / f"a{suffix}", list(noise), list(range(40)), Fraction(1, 25), options=options
    )
    assert len(read(open_frames(path))) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(
        LiftError, match=rf"a{suffix}: damaged or truncated after frame \d\d \([01]\.\d\d s\)"
    ):
        read(open_frames(path))


def test_what_is_no_video_is_an_error(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", moving_frames(3)).read_bytes()
    contents = {
        "text.mp4": b"not a video, whatever its name says\n" * 50,
        "empty.mp4": b"",
        "headless.mp4": whole[: len(whole) // 2],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LiftError, match=f"{name}: not a readable video"):
            open_frames(tmp_path / name)


def test_a_missing_input_is_an_error(tmp_path):
    with pytest.raises(LiftError, match="nothing.mp4: no such file or folder"):
        open_frames(tmp_path / "nothing.mp4")


def test_without_pyav_a_video_is_one_sentence_and_a_folder_works(tmp_path):
    write_folder(tmp_path / "frames", moving_frames(2))
    (tmp_path / "a.mp4").write_bytes(b"anything")
    program = f"""
import sys
sys.modules["av"] = None
from lift.errors import LiftError
from lift.io.decode import open_frames
assert len(list(open_frames({str(tmp_path / "frames")!r}).frames())) == 2
try:
    open_frames({str(tmp_path / "a.mp4")!r})
except LiftError as error:
    assert "pip install av" in str(error) and "\\n" not in str(error)
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# -- folders ---------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    frames = moving_frames(12)
    source = open_frames(
        write_folder(tmp_path / "f", frames, first=8, pattern="im{}.png")
    )  # im8, im9, im10: not the alphabet's order
    assert (source.width, source.height, source.fps, source.count) == (64, 48, 24, 12)
    assert all(np.array_equal(a, b) for a, b in zip(read(source), frames, strict=True))
    assert [time for _, time in open_frames(tmp_path / "f", Fraction(10)).timed()] == [
        Fraction(k, 10) for k in range(12)
    ]


@pytest.mark.parametrize("suffix", ("png", "jpg", "bmp", "tif", "webp"))
def test_the_accepted_picture_formats(tmp_path, suffix):
    frames = moving_frames(2)
    source = open_frames(write_folder(tmp_path / "f", frames, pattern="{:04d}." + suffix))
    assert np.abs(read(source)[1].astype(int) - frames[1]).mean() < 4


def test_16_bit_and_grey_pictures_become_8_bit_colour(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((16, 24), 257 * 77, np.uint16))
    (got,) = read(open_frames(tmp_path))
    assert got.dtype == np.uint8 and (got == 77).all() and got.shape == (16, 24, 3)


def test_files_that_are_no_pictures_and_hidden_ones_are_left_out(tmp_path):
    write_folder(tmp_path, moving_frames(3))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    assert open_frames(tmp_path).count == 3


def numbered(folder, pattern="im{:03d}.png"):
    return write_folder(folder, moving_frames(6), pattern=pattern)


def without(name):
    return lambda folder: (numbered(folder) / name).unlink()


def replaced(name, change, pattern="im{:03d}.png"):
    def make(folder):
        file = numbered(folder, pattern) / name
        file.write_bytes(change(file.read_bytes()))

    return make


BAD_FOLDERS = {  # how it is made, what the sentence says
    "empty": (lambda f: f.mkdir(), "no frames in this folder"),
    "one missing": (without("im003.png"), "frame 3 is missing between im002.png and im004.png"),
    "doubled": (
        lambda f: (numbered(f), numbered(f, "im{:03d}.jpg")),
        "im001.jpg and im001.png have the same number 1",
    ),
    "two sequences": (
        lambda f: (numbered(f), numbered(f, "b{:03d}.png")),
        r"b\d+.png and im\d+.png are named differently",
    ),
    "two numbers": (
        lambda f: (numbered(f, "take1_{:03d}.png"), numbered(f, "take2_{:03d}.png")),
        "more than one number varies",
    ),
    "no number": (lambda f: numbered(f, "picture.png"), "picture.png: no number in the name"),
    "two sizes": (
        lambda f: (numbered(f), write_folder(f, moving_frames(1, 32, 40), first=4)),
        "frames of two sizes, im001.png is 64x48 and im004.png is 40x32",
    ),
    "no picture": (
        replaced("im002.png", lambda data: b"\x89PNG and no more"),
        "im002.png: not a readable image",
    ),
    "cut short": (
        replaced("im002.png", lambda data: data[:-400]),
        "im002.png: not a readable image",
    ),
    "cut short jpg": (
        replaced("im002.jpg", lambda data: data[:-400], "im{:03d}.jpg"),
        "im002.jpg: not a readable image",
    ),
    "zero bytes": (replaced("im002.png", lambda data: b""), "im002.png: not a readable image"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_bad_folder_is_one_sentence_that_names_the_frame(tmp_path, name):
    make, message = BAD_FOLDERS[name]
    make(tmp_path / "f")
    with pytest.raises(LiftError, match=message) as error:
        read(open_frames(tmp_path / "f"))
    assert str(tmp_path / "f") in str(error.value) and "\n" not in str(error.value)


def test_several_missing_frames_are_named_together(tmp_path):
    folder = numbered(tmp_path / "f")
    for name in ("im003.png", "im004.png"):
        (folder / name).unlink()
    with pytest.raises(LiftError, match="frames 3 to 4 are missing"):
        open_frames(folder)
