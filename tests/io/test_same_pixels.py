"""Every command reads the same pixels from one file, and they are the right ones."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from lift.commands import demo
from lift.config import DataConfig
from lift.data.dataset import ClipDataset
from lift.data.sequences import open_sequences
from lift.errors import LiftError
from lift.evaluation.protocols import real16
from lift.io.decode import open_frames
from lift.io.manifest import ManifestClip
from lift.video.interpolator import Interpolator, OutputFrame
from tests.support.exact_color import VideoCase, write_lossless
from tests.support.images import ORIENTED, with_exif

FRAMES = 12


# -- what each command reads -----------------------------------------------------------------------


class Originals(Interpolator):
    """The interpolator's own way from a file to a file, with no frame generated."""

    def __init__(self):
        self.device = torch.device("cpu")
        self.engine = SimpleNamespace(dtype=torch.float32)
        self.detect_scenes, self.cut_times = False, []

    def describe(self):
        return {}

    def stream(self, timed, schedule, first_index, start_index):
        for index, item in enumerate(timed):
            yield OutputFrame(item.frame, item.time, False, None, index, item.frame)


def read_by_interpolate(path, tmp_path, monkeypatch):
    Originals().video(path, tmp_path / "originals")
    return np.stack(list(open_frames(tmp_path / "originals").frames()))


def read_by_train(path, tmp_path, monkeypatch):
    (only,) = open_sequences(path)
    backwards = only.read(range(len(only))[::-1])
    return backwards[::-1]


def read_by_evaluate(path, tmp_path, monkeypatch):
    monkeypatch.setattr(real16, "prepare", lambda frame: frame)
    clip = ManifestClip("a", path.name, path, FRAMES, "val")
    # target k reads k - 1, k, k + 1: together all frames
    found = real16.read_frames(clip, list(range(1, FRAMES - 1)), 2)
    return np.stack([found[k] for k in range(FRAMES)])


def read_by_demo(path, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CLIP", path)
    return demo.read_clip()[0]


READERS = (read_by_interpolate, read_by_train, read_by_evaluate, read_by_demo)


def read_by_all(path, tmp_path, monkeypatch) -> np.ndarray:
    """The frames, once every command has been found to read the same."""
    first, *others = (read(path, tmp_path, monkeypatch) for read in READERS)
    for frames in others:
        assert np.array_equal(frames, first)
    return first


# -- videos ----------------------------------------------------------------------------------------

VIDEOS = {
    "untagged 480p": VideoCase(480, 64, matrix=6, tagged=False),
    "untagged 720p": VideoCase(720, 64, matrix=1, tagged=False),
    "BT.601": VideoCase(720, 64, matrix=6),
    "BT.601 of PAL": VideoCase(matrix=5),
    "BT.709": VideoCase(480, 64, matrix=1),
    "BT.2020, 10 bit": VideoCase(matrix=9, bits=10, suffix=".mkv"),
    "full range": VideoCase(matrix=1, full_range=True),
    "full range, BT.601": VideoCase(matrix=6, full_range=True),
    "full range, 10 bit": VideoCase(matrix=1, full_range=True, bits=10, suffix=".mkv"),
    "rotated 90": VideoCase(turn=90),
    "rotated 180": VideoCase(turn=180),
    "rotated 270": VideoCase(turn=270),
    "mirrored left-right": VideoCase(mirror="x"),
    "mirrored up-down": VideoCase(mirror="y"),
    "rotated 90, mirrored": VideoCase(turn=90, mirror="x"),
    "untagged 720p, rotated": VideoCase(720, 64, matrix=1, tagged=False, turn=270),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VIDEOS)
def test_of_a_video(tmp_path, monkeypatch, name):
    pytest.importorskip("av")
    case = VIDEOS[name]
    path = write_lossless(tmp_path / f"a{case.suffix}", case, FRAMES)
    frames = read_by_all(path, tmp_path, monkeypatch)
    assert len(frames) == FRAMES
    for k, frame in enumerate(frames):
        assert frame.shape == case.expected(k).shape
        assert np.abs(frame - case.expected(k)).max() < 0.6
    assert open_sequences(path)[0].size == frames.shape[1:3]


def test_a_training_clip_holds_these_pixels(tmp_path):
    pytest.importorskip("av")
    case = VideoCase(96, 64, matrix=6, tagged=False, turn=90)
    write_lossless(tmp_path / "a.mp4", case, 40)
    config = DataConfig(data_root=str(tmp_path), crop_height=64, crop_width=64, scan_videos=False)
    dataset = ClipDataset(config, "val", batch_size=1, seed=0, train=False)
    (only,) = open_sequences(tmp_path, "val")
    known = {frame.tobytes() for frame in only.read(range(len(only)))}
    target = (dataset[0].target[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert target.tobytes() in known


# -- folders ---------------------------------------------------------------------------------------


def smooth(k: int) -> np.ndarray:
    y, x = np.mgrid[:40, :56]
    return np.stack([4 * x + k, 5 * y, 120 + x - y], -1).astype(np.uint8)


@pytest.mark.parametrize("orientation", ORIENTED)
def test_of_a_folder_with_an_exif_orientation(tmp_path, monkeypatch, orientation):
    (tmp_path / "in").mkdir()
    wanted = []
    for k in range(FRAMES):
        path = tmp_path / "in" / f"{k}.jpg"
        cv2.imwrite(str(path), smooth(k)[..., ::-1])
        wanted.append(ORIENTED[orientation](cv2.imread(str(path))[..., ::-1]))
        with_exif(path, orientation)
    frames = read_by_all(tmp_path / "in", tmp_path, monkeypatch)
    assert np.array_equal(frames, np.stack(wanted))


@pytest.mark.parametrize("bits", (8, 16))
def test_of_a_folder_with_8_and_16_bits(tmp_path, monkeypatch, bits):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    kind = np.uint8 if bits == 8 else np.uint16
    stored = rng.integers(0, 2**bits, (FRAMES, 40, 56, 3), dtype=kind)
    for k, image in enumerate(stored):
        cv2.imwrite(str(tmp_path / "in" / f"frame{k}.png"), image[..., ::-1])
    frames = read_by_all(tmp_path / "in", tmp_path, monkeypatch)
    assert np.array_equal(frames, np.rint(stored * (255 / (2**bits - 1))).astype(np.uint8))


NAMES = {  # whether this is one sequence
    "{}.png": True,
    "frame_{:04d}.png": True,
    "shot 2 take 3 - {:04d}_left.png": True,
    "frame_{}_gt.png": True,
}


@pytest.mark.parametrize("pattern", NAMES)
def test_the_same_folders_are_accepted(tmp_path, monkeypatch, pattern):
    (tmp_path / "in").mkdir()
    for k in range(FRAMES):
        cv2.imwrite(str(tmp_path / "in" / pattern.format(k + 5)), smooth(k)[..., ::-1])
    frames = read_by_all(tmp_path / "in", tmp_path, monkeypatch)
    assert np.array_equal(frames, np.stack([smooth(k) for k in range(FRAMES)]))


BAD = {
    "named differently": lambda k: f"{'ab'[k % 2]}_{k:04d}.png",
    "have the same number": lambda k: f"{k // 2:0{1 + k % 2}d}.png",
    "more than one number varies": lambda k: f"take{k}_{k}.png",
    "frame 5 is missing": lambda k: f"{k + (k > 4)}.png",
}


@pytest.mark.parametrize("message", BAD)
def test_the_same_folders_are_refused(tmp_path, message):
    (tmp_path / "in").mkdir()
    for k in range(FRAMES):
        cv2.imwrite(str(tmp_path / "in" / BAD[message](k)), smooth(k))
    for open_folder in (open_frames, open_sequences):
        with pytest.raises(LiftError, match=message):
            open_folder(tmp_path / "in")
