"""Times: variable rates, film rates, broadcast clocks, holds, and how long the last frame stays."""

import re
from fractions import Fraction

import numpy as np
import pytest

from tests.support import video_output as out
from tests.support.video_checks import (
    Row,
    doubled,
    frames,
    in_step,
    noted,
    originals_at_their_times,
    picture_ends_at,
    rising,
    same_sound,
    starts_at,
    table,
)

pytestmark = pytest.mark.videos

ZERO = starts_at(0, 0.024)
STEP = (ZERO, in_step, same_sound, originals_at_their_times)


@table(
    Row("V01-variable_rate", "v01_vfr.mp4", "o.mp4", (*STEP, picture_ends_at(1.3))),
    Row("V01-variable_rate_mkv", "v01_vfr.mp4", "o.mkv", (*STEP, picture_ends_at(1.3))),
    Row("V02-film", "v02_23976.mp4", "o.mp4", STEP),
    Row("V02-film_mkv", "v02_23976.mkv", "o.mkv", (*STEP[1:], doubled)),
    Row("V15-b_frames", "v15_bf.mp4", "o.mp4", (*STEP, picture_ends_at(0.48))),
    Row("V15-edit_list", "v15_edit.mp4", "o.mp4", (ZERO, in_step, rising)),
    Row("V15-late_picture", "v15_vlate.mp4", "o.mp4", (starts_at(0.5), in_step, same_sound)),
    Row("V15-late_picture_mkv", "v15_vlate.mkv", "o.mkv", (starts_at(0.5), in_step, same_sound)),
    Row("V15-late_sound", "v15_alate.mp4", "o.mp4", (ZERO, in_step, same_sound)),
    Row("V15-rounded_240", "v45_240fps.mkv", "o.mkv", (ZERO, doubled, rising)),
    Row("V15-rounded_1200", "v45_1200fps.mkv", "o.mp4", (ZERO, rising)),
)
def test_originals_keep_their_times_and_sound_its_step(lift_file, row):
    row.check(lift_file)


TRANSPORT = (starts_at(0), in_step, originals_at_their_times, picture_ends_at(0.48, 0.06))


@table(
    Row("V15-broadcast", "v15_broadcast.ts", "o.mp4", (*TRANSPORT, same_sound)),
    Row("V15-broadcast_mkv", "v15_broadcast.ts", "o.mkv", (*TRANSPORT, same_sound)),
    Row("V15-broadcast_ts", "v15_broadcast.ts", "o.ts", (in_step, originals_at_their_times)),
    Row("V15-wrapped", "v15_wrap.ts", "o.mp4", TRANSPORT),
    Row("V15-plain", "v15_plain.ts", "o.mp4", TRANSPORT),
    Row("V15-m2ts", "f_m2ts.m2ts", "o.mkv", (*TRANSPORT, same_sound)),
    Row("V15-vob", "f_vob.vob", "o.mp4", (starts_at(0), in_step, doubled, same_sound)),
    Row("V15-hls", "f_hls.m3u8", "o.mkv", (starts_at(0), in_step, doubled)),
    Row("V15-program_stream", "v05_interlaced.mpg", "o.mp4", (ZERO, rising)),
)
def test_the_output_starts_at_zero_whatever_the_clock_of_the_source(lift_file, row):
    row.check(lift_file)


def test_V15_a_transport_stream_lasts_as_long_as_before(lift_file):
    run = lift_file("v15_broadcast.ts", "o.mkv")
    with out.av.open(str(run.output)) as container:
        assert container.duration / 1e6 == pytest.approx(0.5, abs=0.06)


@table(
    Row("V02b-59.94", "v02_2997.mp4", "o.mp4", (noted("60000/1001"),), ("--fps", "59.94")),
    Row("V02b-59.94_mkv", "v02_2997.mkv", "o.mkv", (noted("60000/1001"),), ("--fps", "59.94")),
    Row("V02b-119.88", "v02_23976.mkv", "o.mkv", (noted("120000/1001"),), ("--fps", "119.88")),
    Row("V02b-47.952", "v02_23976.mp4", "o.mp4", (noted("48000/1001"),), ("--fps", "47.952")),
)
def test_a_typed_decimal_means_the_exact_rate_and_says_so(lift_file, row):
    row.check(lift_file)


def test_V02b_a_typed_59_94_keeps_every_original_of_a_29_97_source(lift_file):
    run = lift_file("v02_2997.mp4", "o.mp4", "--fps", "59.94", "--crf", 4)
    source, target = out.decode(run.source), out.decode(run.output)
    found = out.times(run.output)
    assert len(found) >= 2 * len(source) - 1
    for k, frame in enumerate(source):
        assert float(found[2 * k] - found[0] - k * Fraction(1001, 30000)) == pytest.approx(
            0, abs=1e-7
        )
        assert out.psnr(out.planes(frame)[0], out.planes(target[2 * k])[0]) > 38


@table(
    Row("V30-1fps", "v43_1fps.mp4", "o.mp4", (picture_ends_at(4), same_sound), ("--multi", 8)),
    Row("V30-1fps_mkv", "v43_1fps.mp4", "o.mkv", (picture_ends_at(4),), ("--multi", 8)),
    Row("V30-8fps", "v43_8fps.mp4", "o.mp4", (picture_ends_at(2), same_sound)),
    Row("V30-8fps_rate", "v43_8fps.mp4", "o.mp4", (picture_ends_at(2),), ("--fps", 20)),
    Row("V30-held", "v43_lasthold.mp4", "o.mp4", (picture_ends_at(2), same_sound)),
    Row("V30-held_mkv", "v43_lasthold.mp4", "o.mkv", (picture_ends_at(2),)),
    Row("V30-held_rate", "v43_lasthold.mp4", "o.mp4", (picture_ends_at(2),), ("--fps", 20)),
    Row("V30-sound_longer", "v01b_lasthold_audio.mp4", "o.mp4", (picture_ends_at(1.2), same_sound)),
    Row("V30-gif", "v10_alpha.gif", "o.gif", (picture_ends_at(2, 0.05),)),
)
def test_the_last_frame_is_displayed_as_long_as_before(lift_file, row):
    row.check(lift_file)


@pytest.mark.parametrize("flags", ((), ("--fps", 20)), ids=("V31-multi", "V31-fps"))
def test_a_long_hold_stays_a_hold_and_motion_is_in_the_last_frame_time(lift_file, flags):
    run = lift_file("v44_gap.mp4", "o.mp4", "--crf", 4, *flags)
    still = out.rgb(out.decode(run.source)[9])
    held = [
        (float(at), out.rgb(frame))
        for at, frame in zip(out.times(run.output), out.decode(run.output), strict=True)
        if 0.355 < at < 4.34
    ]
    assert held
    for at, picture in held:
        assert out.psnr(picture, still) > 36, at
    found = [float(at) for at in out.times(run.output)]
    assert sum(0.345 < at < 4.405 for at in found) >= 2  # the hold, then motion or the next frame
    assert max(at for at in found if at < 4.399) >= 4.3, "no motion before the next frame"
    assert picture_ends_at(4.8, 0.04)(run) is None


def test_V31_a_larger_max_gap_makes_a_hold_motion(lift_file):
    run = lift_file("v44_gap.mp4", "o.mp4", "--max_gap", 10)
    assert any(2.3 < at < 2.5 for at in out.times(run.output))


@pytest.mark.parametrize("name", ("v02_23976.mkv", "f_vp9.webm", "v15_plain.ts", "f_raw.h264"))
def test_V33_progress_has_a_total_and_the_time_left(lift_file, name):
    run = lift_file(name, "o.mkv", "loud")
    assert run.code == 0
    assert re.search(r"\d+%", run.err) and "/s" in run.err, run.err
    assert re.search(r"\d+/\d+", run.err), run.err


@table(
    Row("V16-one", "v16_one.mp4", "o.mp4", (frames(1), ZERO)),
    Row("V16-one_folder", "v16_one.mp4", "o", (frames(1),)),
    Row("V16-one_rate", "v16_one.mp4", "o.mp4", (ZERO,), ("--fps", 60)),
    Row("V16-two", "v16_two.mp4", "o.mp4", (frames(3), originals_at_their_times)),
    Row("V16-two_folder", "v16_two.mp4", "o", (frames(3),)),
    Row("V16-one_with_sound", "v16_one_audio.mp4", "o.mp4", (same_sound, ZERO)),
    Row("V16-two_images", "two", "o", (frames(3),)),
    Row("V16-one_image", "one", "o", (frames(1),)),
)
def test_a_video_may_have_one_or_two_frames(lift_file, row):
    row.check(lift_file)


def test_V16_sound_without_a_picture_is_refused(lift_file):
    run = lift_file("v16_audio_only.mp4", "o.mp4")
    assert run.code == 1 and "no video stream" in run.err


@pytest.mark.parametrize("target", ("o.mp4", "o.mov"))
def test_the_last_frame_keeps_its_time_from_run_to_run(lift_file, tmp_path, target):
    source = tmp_path / "hold.gif"
    with out.av.open(str(source), "w", container_options={"final_delay": "200"}) as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for k in range(12):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[10:30, 4 * k : 4 * k + 10] = 255
            container.mux(
                stream.encode(out.av.VideoFrame.from_ndarray(pixels).reformat(format="rgb8"))
            )
        container.mux(stream.encode(None))
    first = lift_file(source, target)
    second = lift_file(first.output, "second.mkv")
    for run in (first, second):
        picture_ends_at(3.1, 0.011)(run)
