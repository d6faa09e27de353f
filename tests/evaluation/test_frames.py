"""Frames are decoded once, prepared, and checked against one another."""

import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation import frames
from lift.evaluation.frames import FrameReader
from lift.evaluation.samples import Frame, Sample
from tests.support.published_folders import write
from tests.support.video_samples import moving_frames, write_video


def sample(folder, *names: str) -> Sample:
    paths = [Frame(folder / name) for name in names]
    return Sample("one", "", (paths[0], paths[2]), (0.0, 1.0), 0, paths[1])


def test_a_frame_of_neighbouring_samples_is_decoded_once(tmp_path, monkeypatch):
    write(tmp_path / f"{k}.png" for k in range(5))
    decoded = []
    read = frames.read_image
    monkeypatch.setattr(frames, "read_image", lambda path: decoded.append(path.stem) or read(path))
    reader = FrameReader()
    for first in range(3):
        reader.sample(sample(tmp_path, *(f"{first + k}.png" for k in range(3))))
    assert sorted(decoded) == ["0", "1", "2", "3", "4"]
    small = FrameReader(cached_bytes=2 * 16 * 24 * 3)  # two frames: the first one goes
    for k in (0, 1, 2, 0):
        small.read(Frame(tmp_path / f"{k}.png"))
    assert decoded[5:] == ["0", "1", "2", "0"]


def test_frames_are_prepared_and_an_error_names_the_file(tmp_path):
    write(tmp_path / f"{k}.png" for k in range(3))

    def refuse(frame):
        raise LiftError("is too small")

    inputs, truth = FrameReader(lambda frame: frame[:12]).sample(
        sample(tmp_path, "0.png", "1.png", "2.png")
    )
    assert inputs.shape == (2, 12, 24, 3) and truth.shape == (12, 24, 3)
    with pytest.raises(LiftError, match=r"0.png is too small"):
        FrameReader(refuse).read(Frame(tmp_path / "0.png"))


def test_frames_of_two_sizes_are_named(tmp_path):
    write([tmp_path / "0.png", tmp_path / "1.png"])
    write([tmp_path / "2.png"], 20, 24)
    with pytest.raises(LiftError, match="2.png is 24x20 and .*1.png is 24x16; .*one size"):
        FrameReader().sample(sample(tmp_path, "0.png", "1.png", "2.png"))


@pytest.mark.native
@pytest.mark.videos
def test_frames_of_videos_are_read_by_index(tmp_path):
    for name in "abc":
        write_video(
            tmp_path / f"{name}.mp4", moving_frames(4, 32, 48, (90 + 9 * ord(name) % 50,) * 3)
        )
    reader = FrameReader()
    shown = {}
    for k in (2, 0, 3):
        for name in "abc":  # one more than stay open
            shown[name, k] = reader.read(Frame(tmp_path / f"{name}.mp4", k))
    expected = moving_frames(4, 32, 48, (90 + 9 * ord("b") % 50,) * 3)[3]
    assert np.abs(shown["b", 3].astype(int) - expected).mean() < 4
    assert len(reader._videos) <= frames.OPEN_VIDEOS
