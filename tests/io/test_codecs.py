"""The encoding of an output keeps what the source has, or says what it cannot keep."""

import pytest

from lift.errors import LiftError
from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout, YuvCoding
from lift.io.to_yuv import pixel_format


def layout(pix_fmt="yuv420p", alpha=False, coding=None):
    known = pixel_format(pix_fmt)
    return FrameLayout(pix_fmt, known.bits, known.chroma, alpha, coding or YuvCoding())


@pytest.mark.parametrize(
    ("suffix", "pix_fmt", "alpha", "encoder", "chosen"),
    [
        (".mp4", "yuv420p", False, "libx264", "yuv420p"),
        (".mp4", "yuv422p", False, "libx264", "yuv422p"),
        (".mkv", "yuv444p", False, "libx264", "yuv444p"),
        (".mp4", "yuv422p10le", False, "libx265", "yuv422p10le"),
        (".mkv", "yuv444p12le", False, "libx265", "yuv444p12le"),
        (".mp4", "yuv420p16le", False, "libx265", "yuv420p12le"),
        (".ts", "yuv420p10le", False, "libx265", "yuv420p10le"),
        (".avi", "yuv420p10le", False, "libx264", "yuv420p10le"),
        (".mp4", "gray", False, "libx264", "yuv420p"),
        (".mp4", "gbrp", False, "libx264", "yuv420p"),
        (".mov", "gbrp16le", False, "libx265", "yuv420p12le"),
        (".webm", "yuv420p", False, "libvpx-vp9", "yuv420p"),
        (".webm", "gbrp", True, "libvpx-vp9", "yuva420p"),
        (".mkv", "yuv420p", True, "libvpx-vp9", "yuva420p"),
        (".mkv", "yuv444p12le", True, "ffv1", "yuva444p12le"),
        (".mov", "yuv444p12le", True, "prores_ks", "yuva444p10le"),
        (".gif", "gbrp", False, "gif", "pal8"),
        (".webp", "gbrp", True, "libwebp_anim", "bgra"),
        (".apng", "gbrp16le", True, "apng", "rgba64be"),
        (".png", "gbrp", False, "apng", "rgb24"),
    ],
)
def test_the_default_keeps_depth_chroma_and_alpha(suffix, pix_fmt, alpha, encoder, chosen):
    encoding = choose_encoding(suffix, layout(pix_fmt, alpha))
    assert (encoding.encoder, encoding.pix_fmt) == (encoder, chosen)


def test_a_prores_source_stays_prores_in_mov():
    hq = choose_encoding(".mov", layout("yuv422p10le"), source_codec="prores")
    assert (hq.encoder, hq.pix_fmt, hq.options["profile"]) == ("prores_ks", "yuv422p10le", "hq")
    full = choose_encoding(".mov", layout("yuv444p12le"), source_codec="prores")
    assert (full.pix_fmt, full.options["profile"]) == ("yuv444p10le", "4444")
    assert "10 bits" in full.notes[0]


@pytest.mark.parametrize(
    "codec, pix_fmt, tag",
    (
        ("prores", "yuv444p10le", "ap4h"),
        ("prores", "yuv422p10le", "apch"),
        ("dnxhd", "yuv422p", "AVdh"),
    ),
)
def test_intermediate_codecs_have_the_tag_of_their_profile(codec, pix_fmt, tag):
    assert choose_encoding(".mov", layout(pix_fmt), codec=codec).tag == tag


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_hevc_with_the_tag_of_apple(transfer):
    source = layout("yuv420p10le", coding=YuvCoding(9))
    encoding = choose_encoding(".mp4", source, transfer=transfer, primaries=9)
    assert (encoding.encoder, encoding.tag, encoding.coding.matrix) == ("libx265", "hvc1", 9)
    assert choose_encoding(".mkv", source, transfer=transfer).tag is None
    forced = choose_encoding(".mp4", source, transfer=transfer, pix_fmt="yuv420p")
    assert any("8 bits" in note for note in forced.notes)


def test_rgb_of_bt2020_gets_its_matrix():
    assert choose_encoding(".mp4", layout("gbrp16le"), primaries=9).coding.matrix == 9
    assert choose_encoding(".mp4", layout("gbrp")).coding == YuvCoding()


def test_range_is_kept_but_for_jpeg():
    full = layout(coding=YuvCoding(1, True))
    assert choose_encoding(".mp4", full).coding == YuvCoding(1, True)
    assert choose_encoding(".mkv", layout(), codec="mjpeg").coding.full_range


@pytest.mark.parametrize(
    ("codec", "chosen"),
    [(None, "yuv444p"), ("hevc", "yuv444p"), ("ffv1", "yuv420p"), ("vp9", "yuv420p")],
)
def test_odd_sides_have_full_chroma_where_halves_are_impossible(codec, chosen):
    encoding = choose_encoding(".mkv", layout(), size=(161, 91), codec=codec)
    assert encoding.pix_fmt == chosen
    assert bool(encoding.notes) == (chosen == "yuv444p")


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "ffv1"])
def test_crf_0_is_lossless(codec):
    crf = None if codec == "ffv1" else 0
    assert choose_encoding(".mkv", layout(), codec=codec, crf=crf).is_lossless
    assert not choose_encoding(".mkv", layout("yuv444p"), codec="av1", crf=0).is_lossless


def test_rgb_is_lossless_in_rgb_alone():
    converted = choose_encoding(".mkv", layout("gbrp"), crf=0)
    assert not converted.is_lossless and "ffv1" in converted.notes[0]
    stored = choose_encoding(".mkv", layout("gbrp"), codec="ffv1")
    assert stored.is_lossless and pixel_format(stored.pix_fmt).is_rgb


def test_lost_alpha_is_noted_with_what_keeps_it():
    (note,) = choose_encoding(".mp4", layout(alpha=True)).notes
    assert "alpha" in note and ".mov" in note and ".webm" in note


def test_presets_and_quality_reach_hardware_encoders_under_their_names():
    encoding = choose_encoding(".mp4", layout(), codec="h264_nvenc", preset="p7", crf=23)
    assert encoding.options["preset"] == "p7" and encoding.options["cq"] == "23"
    assert choose_encoding(".mp4", layout(), codec="hevc_nvenc").tag == "hvc1"


def test_an_animation_has_lossless_parts():
    source = layout("gbrp16le", alpha=True)
    parts = choose_encoding(".apng", source).for_parts(source)
    assert (parts.encoder, parts.pix_fmt, parts.is_lossless) == ("ffv1", "gbrap16le", True)
    encoding = choose_encoding(".mkv", source)
    assert encoding.for_parts(source) is encoding


@pytest.mark.parametrize(
    ("suffix", "arguments", "message"),
    [
        (".xyz", {}, "choose one of .mp4"),
        (".mp4", {"codec": "prores"}, r"\.mp4 files hold no prores.*\.mov"),
        (".webm", {"codec": "h264"}, "hold no h264.*vp9"),
        (".ts", {"codec": "ffv1"}, "hold no ffv1"),
        (".mkv", {"codec": "nothing"}, "unknown codec 'nothing'"),
        (".mkv", {"codec": "aac"}, "unknown codec 'aac'"),
        (".mkv", {"codec": "h264_vdpau_qsv"}, "has no encoder h264_vdpau_qsv"),
        (".mkv", {"pix_fmt": "yuv410p"}, "no pixel format yuv410p; choose one of yuv420p"),
        (".mkv", {"pix_fmt": "yuv420p", "size": (161, 91)}, "half a pixel"),
        (".mkv", {"preset": "faster than light"}, "unknown preset.*ultrafast"),
        (".mkv", {"codec": "ffv1", "preset": "fast"}, "no presets"),
        (".mkv", {"crf": 52}, r"0 \(lossless\) to 51"),
        (".mkv", {"codec": "vp9", "crf": 64}, r"0 \(lossless\) to 63"),
        (".mov", {"codec": "prores", "crf": 17}, "no constant rate factor"),
        (".mkv", {"codec": "ffv1", "crf": 17}, "means nothing"),
    ],
)
def test_contradictions_are_refused_with_a_remedy(suffix, arguments, message):
    with pytest.raises(LiftError, match=message):
        choose_encoding(suffix, layout(), **arguments)


def test_a_remedy_is_a_codec_that_the_container_holds():
    with pytest.raises(LiftError) as refused:
        choose_encoding(".mov", layout(), codec="av1")
    advice = str(refused.value).partition("choose")[2].partition(", or a name")[0]
    assert "prores" in advice and "vp9" not in advice and "av1" not in advice
    with pytest.raises(LiftError, match="mpeg4"):  # FFmpeg leaves out what its decoders need
        choose_encoding(".ts", layout(), codec="mpeg4")
