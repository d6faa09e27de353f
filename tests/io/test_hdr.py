"""HDR metadata and stereoscopic packing are read from the file."""

from fractions import Fraction

import pytest

from lift.io.decode import open_frames
from lift.io.hdr import HdrMetadata
from tests.support.raw_frames import random_frame, write_frames

av = pytest.importorskip("av")

HDR10 = (
    "log-level=none:hdr10=1:repeat-headers=1:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
    "max-cll=1000,400"
)


def hevc(path, parameters):
    frames = [random_frame("yuv420p10le", 10, 64, 48, seed=k) for k in range(2)]
    options = {"preset": "ultrafast", "x265-params": parameters}
    return open_frames(write_frames(path, frames, "libx265", options))


def test_mastering_display_and_light_levels(tmp_path):
    source = hevc(tmp_path / "a.mkv", HDR10)
    assert source.mastering == HdrMetadata(
        red=(Fraction(34000, 50000), Fraction(16000, 50000)),
        green=(Fraction(13250, 50000), Fraction(34500, 50000)),
        blue=(Fraction(7500, 50000), Fraction(3000, 50000)),
        white=(Fraction(15635, 50000), Fraction(16450, 50000)),
        min_luminance=Fraction(1, 10000),
        max_luminance=Fraction(1000),
        max_cll=1000,
        max_fall=400,
    )


def test_light_levels_alone(tmp_path):
    source = hevc(tmp_path / "a.mkv", "log-level=none:max-cll=600,120")
    assert source.mastering == HdrMetadata(max_cll=600, max_fall=120)


def test_a_source_without_metadata_has_none(tmp_path):
    source = open_frames(write_frames(tmp_path / "a.mkv", [random_frame("yuv420p", 8)]))
    assert source.mastering is None and source.stereo is None


@pytest.mark.parametrize(
    "mode, name", [("left_right", "side by side"), ("bottom_top", "top and bottom (inverted)")]
)
def test_stereoscopic_packing(tmp_path, mode, name):
    frames = [random_frame("yuv420p", 8)]
    path = write_frames(tmp_path / "a.mkv", frames, metadata={"stereo_mode": mode})
    assert open_frames(path).stereo == name
