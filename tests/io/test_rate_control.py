"""crf and preset mean what the encoder means by them."""

import pytest

from lift.config import InferenceConfig
from lift.io.rate_control import quality_of


def test_the_default_of_x264_is_that_of_the_config():
    assert quality_of("libx264", None, None).options["crf"] == str(InferenceConfig.crf)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", {"crf": "20", "preset": "fast"}),
        ("libx265", {"crf": "20", "preset": "fast"}),
        ("libvpx-vp9", {"crf": "20", "b": "0"}),
        ("libsvtav1", {"crf": "20"}),
        ("h264_nvenc", {"cq": "20", "preset": "fast"}),
        ("hevc_qsv", {"global_quality": "20", "preset": "fast"}),
        ("hevc_vaapi", {"qp": "20", "rc_mode": "CQP"}),
        ("h264_amf", {"qp_i": "20", "qp_p": "20"}),
        ("mpeg4", {"global_quality": str(20 * 118)}),
        ("libwebp_anim", {"quality": "80"}),
    ],
)
def test_crf_has_the_encoders_name(encoder, options):
    preset = options.get("preset")
    assert options.items() <= quality_of(encoder, 20, preset).options.items()


@pytest.mark.parametrize("encoder", ["h264_qsv", "av1_nvenc", "libvpx", "mjpeg"])
def test_an_encoder_that_is_never_lossless_says_so(encoder):
    quality = quality_of(encoder, 0, None)
    assert not quality.is_lossless and "not lossless" in quality.notes[0]


@pytest.mark.parametrize(
    ("encoder", "preset", "option"),
    [
        ("libvpx-vp9", "4", "cpu-used"),
        ("libsvtav1", "10", "preset"),
        ("h264_nvenc", "p7", "preset"),
    ],
)
def test_presets_pass_through(encoder, preset, option):
    assert quality_of(encoder, None, preset).options[option] == preset
