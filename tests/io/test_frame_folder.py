"""A folder of frames can be read in order and by index, with or without PyAV."""

import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.frame_folder import FrameFolder, is_frame_folder
from lift.io.optional import require
from tests.support.video_samples import moving_frames, write_folder


def test_frames_by_index_are_those_in_order(tmp_path):
    folder = FrameFolder(write_folder(tmp_path / "f", moving_frames(5)), Fraction(10))
    in_order = list(folder.frames())
    assert len(folder) == folder.count == 5 and folder.size == (48, 64)
    assert np.array_equal(folder.read([3, 0, 3]), np.stack([in_order[k] for k in (3, 0, 3)]))
    assert [time for _, time in folder.timed()] == [Fraction(k, 10) for k in range(5)]


def test_images_without_a_number_are_left_out_with_a_note(tmp_path):
    folder = write_folder(tmp_path / "f", moving_frames(3))
    (folder / "thumbnail.png").write_bytes((folder / "im001.png").read_bytes())
    source = FrameFolder(folder)
    assert len(source) == 3 and source.notes == [
        "1 image(s) without a number left out (thumbnail.png)"
    ]
    (folder / "thumbnail.png").unlink()
    assert FrameFolder(folder).notes == []


def test_two_numbered_images_make_a_frame_folder(tmp_path):
    write_folder(tmp_path, moving_frames(1))
    (tmp_path / "cover.png").write_bytes(b"")
    (tmp_path / "2.txt").write_bytes(b"")
    assert not is_frame_folder(tmp_path)
    write_folder(tmp_path, moving_frames(1), first=2)
    assert is_frame_folder(tmp_path)


def test_a_folder_needs_no_pyav(tmp_path):
    write_folder(tmp_path / "f", moving_frames(2))
    program = f"""
import sys
sys.modules["av"] = None
from lift.io.frame_folder import FrameFolder
assert FrameFolder({str(tmp_path / "f")!r}).read([0, 1]).shape == (2, 48, 64, 3)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("module, package", [("av", "av"), ("cv2", "opencv-python-headless")])
def test_a_missing_library_is_one_sentence(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LiftError, match=f"^reading needs .*pip install {package}$"):
        require(module, "reading")


def test_what_follows_the_number_may_differ(tmp_path):
    """UCF101 marks the middle frame of three as the ground truth."""
    for name in ("frame_00.png", "frame_01_gt.png", "frame_02.png"):
        write_folder(tmp_path, moving_frames(1), pattern=name)
    folder = FrameFolder(tmp_path)
    assert [file.name for file in folder.files][1] == "frame_01_gt.png" and len(folder) == 3


def test_decoded_frames_have_the_depth_and_the_alpha_of_the_deepest_file(tmp_path):
    """Programs that optimize images store opaque and grey frames with fewer channels and bits."""
    deep = np.random.default_rng(0).integers(0, 65536, (3, 8, 9, 4), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 9), 5, np.uint8))
    for k in (1, 2):
        cv2.imwrite(str(tmp_path / f"{k + 1}.png"), deep[k])
    folder = FrameFolder(tmp_path)
    assert (folder.dtype, folder.has_alpha, folder.suffix) == (np.uint16, True, ".png")
    frames = [frame for frame, _ in folder.decoded()]
    assert (frames[0].rgb == 5 * 257).all() and (frames[0].alpha == 65535).all()
    for k in (1, 2):
        stored = np.dstack([frames[k].rgb[..., ::-1], frames[k].alpha])
        assert stored.dtype == np.uint16 and np.array_equal(stored, deep[k])
    assert all(frame.dtype == np.uint8 for frame in folder.frames())


def test_decoded_frames_of_8_bits_are_those_that_are_read(tmp_path):
    folder = FrameFolder(write_folder(tmp_path, moving_frames(3)))
    assert (folder.dtype, folder.has_alpha) == (np.uint8, False)
    for (decoded, time), (frame, other) in zip(folder.decoded(), folder.timed(), strict=True):
        assert np.array_equal(decoded.rgb, frame) and time == other
        assert decoded.planes is None and decoded.alpha is None
    assert folder.report.end == Fraction(3, 24)


def test_files_in_the_order_in_which_they_are_given(tmp_path):
    frames = moving_frames(2)
    write_folder(tmp_path, frames[:1], pattern="zebra.png")
    write_folder(tmp_path, frames[1:], pattern="ant.png")
    pair = FrameFolder.of_files([tmp_path / "zebra.png", tmp_path / "ant.png"], Fraction(2))
    assert [time for _, time in pair.timed()] == [0, Fraction(1, 2)] and pair.fps == 2
    assert all(np.array_equal(a, b) for a, b in zip(pair.frames(), frames, strict=True))
    write_folder(tmp_path, moving_frames(1, 20, 20), pattern="bee.png")
    with pytest.raises(LiftError, match="frames of two sizes, ant.png is 64x48 and bee.png"):
        FrameFolder.of_files([tmp_path / "ant.png", tmp_path / "bee.png"])
    with pytest.raises(LiftError, match="no image was given"):
        FrameFolder.of_files([])
