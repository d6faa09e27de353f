"""Frames become a folder of images, without loss where the files hold what the frames have."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.decode import open_frames
from lift.io.decoded_frame import DecodedFrame
from lift.io.folder_writer import PartFolder, publish, work_name
from lift.io.frame_folder import FrameFolder
from lift.io.image_format import FORMATS, ImageFormat
from tests.support.disk import largest_file
from tests.support.video_samples import moving_frames, write_folder


def write_all(target, frames, image_format=ImageFormat(), overwrite=False):  # noqa: B008  frozen
    work = work_name(target)
    try:
        folder = PartFolder(work, image_format, target)
        for k, frame in enumerate(frames):
            folder.write(frame, k)
        publish(work, target, overwrite)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def noise(kind, alpha=False, n=2):
    """n frames of random pixels."""
    rng = np.random.default_rng(0)
    top = 4 if kind == np.float32 else np.iinfo(kind).max
    pixels = (rng.random((n, 20, 24, 4)) * top).astype(kind)
    return [DecodedFrame(p[..., :3], None, p[..., 3] if alpha else None) for p in pixels]


def names(folder: Path):
    return sorted(file.name for file in folder.iterdir())


# -- the folder ------------------------------------------------------------------------------------


def test_a_folder_holds_one_numbered_sequence_without_loss(tmp_path):
    frames = moving_frames(11)
    write_all(tmp_path / "f", frames)
    assert names(tmp_path / "f") == [f"{k:06d}.png" for k in range(11)]
    assert all(
        np.array_equal(a, b)
        for a, b in zip(open_frames(tmp_path / "f").frames(), frames, strict=True)
    )
    assert names(tmp_path) == ["f"]


def test_a_folder_that_is_not_empty_is_refused_and_replaced_on_request(tmp_path):
    folder = write_folder(tmp_path / "f", moving_frames(9))
    with pytest.raises(LiftError, match="not empty.*--overwrite"):
        write_all(folder, moving_frames(2))
    assert len(names(folder)) == 9
    write_all(folder, moving_frames(2), overwrite=True)
    assert names(folder) == ["000000.png", "000001.png"] and names(tmp_path) == ["f"]


def test_a_folder_with_more_than_frames_is_never_replaced(tmp_path):
    (write_folder(tmp_path / "f", moving_frames(2)) / "thesis.tex").write_text("precious")
    with pytest.raises(LiftError, match="holds more than frames \\(thesis.tex\\)"):
        write_all(tmp_path / "f", moving_frames(1), overwrite=True)


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "f").mkdir()
    write_all(tmp_path / "f", moving_frames(2))
    assert len(names(tmp_path / "f")) == 2


def test_a_full_disk_is_one_sentence(tmp_path):
    with (
        pytest.raises(LiftError, match="frames: could not be written: .*free some space") as error,
        largest_file(500),
    ):
        write_all(tmp_path / "frames", noise(np.uint8))
    assert "\n" not in str(error.value) and names(tmp_path) == []


def test_the_longest_names_work(tmp_path):
    for name in ("x" * 255, "ä" * 127, "f"):
        write_all(tmp_path / name, moving_frames(1))
        assert names(tmp_path / name) == ["000000.png"]
        hidden = os.fsencode(work_name(tmp_path / name).name)
        assert hidden.startswith(b".") and len(hidden) <= max(len(os.fsencode(name)), 64)


# -- kinds of files --------------------------------------------------------------------------------

EXACT = [
    *(("png", kind, alpha) for kind in (np.uint8, np.uint16) for alpha in (False, True)),
    *(("tif", kind, a) for kind in (np.uint8, np.uint16, np.float32) for a in (False, True)),
    *(("exr", np.float32, alpha) for alpha in (False, True)),
    *(("webp", np.uint8, alpha) for alpha in (False, True)),
    ("bmp", np.uint8, False),
]


@pytest.mark.parametrize("name, kind, alpha", EXACT, ids=str)
def test_originals_are_exact_where_the_files_hold_them(tmp_path, name, kind, alpha):
    if name in ("exr", "tif"):
        pytest.importorskip("av")
    frames = noise(kind, alpha)
    write_all(tmp_path / "f", frames, ImageFormat(name))
    folder = FrameFolder(tmp_path / "f")
    assert (folder.dtype, folder.has_alpha, folder.suffix) == (kind, alpha, f".{name}")
    for (got, _), frame in zip(folder.decoded(), frames, strict=True):
        assert np.array_equal(got.rgb, frame.rgb)
        assert not alpha or np.array_equal(got.alpha, frame.alpha)
    assert ImageFormat(name).notes(kind, alpha) == []


@pytest.mark.parametrize(
    "name, kind, alpha, lost",
    (
        ("jpg", np.uint8, True, ["holds no alpha"]),
        ("bmp", np.uint16, True, ["16 bits of the frames are rounded", "holds no alpha"]),
        ("png", np.float32, False, ["converted to sRGB with 16 bits"]),
        ("webp", np.float32, False, ["converted to sRGB with 8 bits"]),
        ("exr", np.uint8, False, ["converted from sRGB"]),
    ),
    ids=str,
)
def test_what_files_do_not_hold_is_noted(tmp_path, name, kind, alpha, lost):
    if name == "exr":
        pytest.importorskip("av")
    notes = ImageFormat(name).notes(kind, alpha)
    assert all(part in note for part, note in zip(lost, notes, strict=True))
    write_all(tmp_path / "f", noise(kind, alpha, 3), ImageFormat(name))
    assert FrameFolder(tmp_path / "f").count == 3


def test_the_kind_follows_the_frames_unless_one_is_asked_for():
    assert [ImageFormat.choose(kind=k).name for k in (np.uint8, np.uint16, np.float32)] == [
        *("png", "png", "exr")
    ]
    assert ImageFormat.choose(".TIFF", kind=np.float32).suffix == ".tif"
    assert ImageFormat.choose("jpeg", 80) == ImageFormat("jpg", 80)


def test_quality_is_for_jpg_and_webp():
    frame = DecodedFrame(moving_frames(1)[0])
    for name in ("jpg", "webp"):
        sizes = [len(ImageFormat(name, quality).encode(frame)) for quality in (10, 95, None)]
        assert sizes[0] < sizes[1] <= max(sizes[1:])
    for name, quality, message in (
        ("png", 50, "png images have no quality"),
        ("jpg", 0, "1 \\(worst\\) to 100, got 0"),
        ("gif", None, f"written as {', '.join(FORMATS)}"),
    ):
        with pytest.raises(LiftError, match=message):
            ImageFormat(name, quality)


def test_an_image_that_a_kind_does_not_hold_is_an_error():
    with pytest.raises(LiftError, match="16400x1 cannot be written as webp; .*--format"):
        ImageFormat("webp").encode(DecodedFrame(np.zeros((1, 16400, 3), np.uint8)))
