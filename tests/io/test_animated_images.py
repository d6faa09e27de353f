"""Animated WebP images are sources of frames with alpha and the times that the file states."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io import animated_images
from lift.io.animated_images import AnimatedWebP, is_animated_webp, play_count
from lift.io.frame_folder import FrameFolder

pytestmark = pytest.mark.skipif(not hasattr(cv2, "Animation"), reason="OpenCV before 4.11")


def animation(path, durations, channels=3):
    """An animation of random frames; they are returned, (H, W, channels), red first."""
    frames = np.random.default_rng(0).integers(1, 256, (len(durations), 12, 16, channels))
    frames = frames.astype(np.uint8)
    made = cv2.Animation()
    made.frames = [np.ascontiguousarray(f[..., [2, 1, 0, 3][:channels]]) for f in frames]
    made.durations, made.loop_count = np.array(durations), 3
    assert cv2.imwriteanimation(str(path), made, [cv2.IMWRITE_WEBP_QUALITY, 101])
    return frames


@pytest.mark.parametrize("channels", (3, 4))
@pytest.mark.parametrize("block", (32, 2))
def test_frames_come_back_with_their_times_and_alpha(tmp_path, channels, block, monkeypatch):
    monkeypatch.setattr(animated_images, "BLOCK", block)
    frames = animation(tmp_path / "a.webp", [40, 250, 30, 20, 60], channels)
    source = AnimatedWebP(tmp_path / "a.webp")
    assert (source.width, source.height, source.count) == (16, 12, 5)
    assert play_count(source.path) == 3
    assert source.has_alpha == (channels == 4) and source.fps == 5 / Fraction(400, 1000)
    decoded = list(source.decoded())
    assert [1000 * time for _, time in decoded] == [0, 40, 290, 320, 340]
    for (frame, _), pixels in zip(decoded, frames, strict=True):
        assert np.array_equal(frame.rgb, pixels[..., :3])
        assert channels == 3 or np.array_equal(frame.alpha, pixels[..., 3])
    assert source.report.end == source.duration == Fraction(400, 1000)
    assert np.array_equal(list(source.frames()), frames[..., :3])


def test_an_animation_of_one_frame(tmp_path):
    path = tmp_path / "a.webp"
    animation(path, [40, 70])
    data = path.read_bytes()
    data = data[: data.rfind(b"ANMF")]
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    source = AnimatedWebP(path)
    assert source.count == 1 and len(list(source.frames())) == 1
    assert source.report.end == Fraction(40, 1000)


def test_frames_without_a_duration_are_displayed_as_long_as_in_browsers(tmp_path):
    animation(tmp_path / "a.webp", [0, 10, 11])
    assert AnimatedWebP(tmp_path / "a.webp").duration == Fraction(211, 1000)


def test_a_still_image_is_none(tmp_path):
    cv2.imwrite(str(tmp_path / "1.webp"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "text.webp").write_text("no image")
    animation(tmp_path / "2.webp", [40, 40])
    assert [is_animated_webp(tmp_path / n) for n in ("1.webp", "2.webp", "text.webp", "no")] == [
        *(False, True, False, False)
    ]
    with pytest.raises(LiftError, match="text.webp: damaged or truncated after frame 0"):
        AnimatedWebP(tmp_path / "text.webp")


def test_in_a_folder_an_animation_is_its_first_frame(tmp_path):
    for k in (1, 2):
        frames = animation(tmp_path / f"{k}.webp", [40, 40])
    assert np.array_equal(FrameFolder(tmp_path).read([0])[0], frames[0])


def test_a_truncated_animation_is_an_error(tmp_path):
    path = tmp_path / "a.webp"
    animation(path, [40, 40, 40])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LiftError, match="a.webp: damaged or truncated after frame 2"):
        AnimatedWebP(path)
    with pytest.raises(LiftError, match="no.webp cannot be read"):
        AnimatedWebP(tmp_path / "no.webp")
