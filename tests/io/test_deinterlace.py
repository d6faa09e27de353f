"""Interlaced frames lose their combs; their number, times, tags and alpha stay."""

from fractions import Fraction

import numpy as np
import pytest

from lift.io.decode import open_frames
from lift.io.deinterlace import KEPT_FIELDS, NOTE, Deinterlacer
from tests.support.raw_frames import filtered, planes_of, rows, write_frames

av = pytest.importorskip("av")

FRAMES, HEIGHT, WIDTH = 5, 32, 64


def woven(k: int, pix_fmt: str = "yuv420p"):
    """A frame whose fields show a bar at two places, 8 pixels apart, top field first."""
    frame = av.VideoFrame(WIDTH, HEIGHT, pix_fmt)
    for plane in frame.planes[1:3]:
        rows(plane)[:] = 128
    luma = rows(frame.planes[0])
    luma[:] = 40
    for field in range(2):
        left = 4 + 8 * (2 * k + field) // 2
        luma[field::2, left : left + 8] = 200
    if pix_fmt.startswith("yuva"):
        rows(frame.planes[3])[:] = 255 - k
    return filtered(frame, ("setfield", "tff"))


def progressive(k: int):
    frame = woven(k)
    rows(frame.planes[0])[1::2] = rows(frame.planes[0])[::2]
    return filtered(frame, ("setfield", "prog"))


def combs(luma: np.ndarray) -> float:
    """Mean difference of neighbouring lines, beyond that of lines of one field."""
    luma = luma.astype(int)
    return np.abs(luma[1:-1] - luma[:-2]).mean() - np.abs(luma[2:] - luma[:-2]).mean()


CODECS = {  # how a file says that it is interlaced
    "mpeg2video": (".mpg", {"qscale": "2", "flags": "+ildct+ilme+qscale", "g": "3"}),
    "libx264": (".mp4", {"qp": "4", "preset": "ultrafast", "x264opts": "tff=1"}),
    "ffv1": (".mkv", {}),
}


@pytest.mark.parametrize("codec", CODECS)
def test_combs_go_and_the_number_and_times_of_frames_stay(tmp_path, codec):
    suffix, options = CODECS[codec]
    frames = [woven(k) for k in range(FRAMES)]
    path = write_frames(tmp_path / f"a{suffix}", frames, codec, options)
    combed = open_frames(path, deinterlace="off")
    source = open_frames(path)
    before, after = list(combed.decoded()), list(source.decoded())
    assert [time for _, time in after] == [time for _, time in before]
    assert len(after) == FRAMES and NOTE in source.report.notes and combed.report.notes == []
    for (kept, _), (made, _) in zip(before, after, strict=True):
        assert combs(kept.planes[0]) > 4 and abs(combs(made.planes[0])) < 1.5
        assert [p.shape for p in made.planes] == [p.shape for p in kept.planes]


def test_training_reads_the_fields_as_they_are(tmp_path):
    path = write_frames(tmp_path / "a.mkv", [woven(k) for k in range(2)])
    assert combs(next(open_frames(path).frames())[..., 1]) > 4


@pytest.mark.parametrize("count", (1, 2, 3))
def test_as_many_frames_come_out_as_go_in(count):
    frames = [woven(k) for k in range(count)]
    out = list(Deinterlacer("h264")(frames))
    assert [stored for _, stored in out] == frames


def test_progressive_frames_of_a_mixed_stream_are_not_touched():
    frames = [progressive(0), progressive(1), woven(2), progressive(3), woven(4), progressive(5)]
    out = [pixels for pixels, _ in Deinterlacer("h264")(frames)]
    for k in (0, 1, 3, 5):
        for a, b in zip(planes_of(out[k]), planes_of(frames[k]), strict=True):
            assert np.array_equal(a, b)
    assert abs(combs(planes_of(out[2])[0])) < 1.5


def test_a_change_of_size_starts_the_filter_anew():
    small = filtered(woven(1), ("scale", "48:24"), ("setfield", "tff"))
    frames = [woven(0), small, woven(2)]
    out = [pixels for pixels, _ in Deinterlacer("h264")(frames)]
    assert [(f.width, f.height) for f in out] == [(64, 32), (48, 24), (64, 32)]


def test_tags_and_alpha_pass_the_filter():
    frames = [woven(k, "yuva420p") for k in range(3)]
    for frame in frames:
        frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 2, 9, 16
    for k, (pixels, _) in enumerate(Deinterlacer("ffv1")(frames)):
        assert (int(pixels.colorspace), int(pixels.color_range)) == (9, 2)
        assert (int(pixels.color_primaries), int(pixels.color_trc)) == (9, 16)
        assert (planes_of(pixels)[3] == 255 - k).all()


def test_the_field_order_of_the_container_holds_where_the_codec_has_none():
    frames = [filtered(woven(k, "yuv422p"), ("setfield", "prog")) for k in range(3)]
    top_first = 2
    for order, codec, used in ((top_first, "huffyuv", True), (1, "huffyuv", False)):
        deinterlacer = Deinterlacer(codec, order)
        assert len(list(deinterlacer(frames))) == 3 and deinterlacer.used == used
    deinterlacer = Deinterlacer("h264", top_first)  # the flags of its frames are right
    assert len(list(deinterlacer(frames))) == 3 and not deinterlacer.used


def test_packed_frames_are_deinterlaced_without_a_loss_of_chroma():
    frames = [woven(k, "yuv422p").reformat(format="uyvy422") for k in range(3)]
    frames = [filtered(frame, ("setfield", "tff")) for frame in frames]
    for pixels, stored in Deinterlacer("rawvideo")(frames):
        assert pixels.format.name == "yuv422p" and stored.format.name == "uyvy422"


def test_another_word_than_auto_or_off_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="deinterlace"):
        open_frames(tmp_path, Fraction(24), deinterlace="on")


def test_it_is_known_before_the_first_frame_is_read(tmp_path):
    path = write_frames(tmp_path / "a.mkv", [woven(0), woven(1)], "ffv1", {})
    assert open_frames(path).notes == (NOTE,)
    assert open_frames(path, deinterlace="off").notes == (KEPT_FIELDS,)
