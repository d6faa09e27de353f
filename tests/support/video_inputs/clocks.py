"""Times: variable rates, late and early starts, broadcast clocks, long holds, last frames."""

from fractions import Fraction
from functools import partial

from tests.support.video_inputs.write import Copy, Picture, Tone, write

NTSC = Fraction(30000, 1001)
FILM = Fraction(24000, 1001)


def make_vfr(path, inputs):
    """Irregular times with half a second's gap, and sound for 2 s."""
    ticks = [3000 * k for k in (0, 2, 4, 5, 6, 9, 10, 11, 13, 14, 15, 18, 33, 35, 37, 38)]
    picture = Picture(ticks=ticks, tick=Fraction(1, 90000), count=16)
    write(path, picture, Tone(2.0), options={"video_track_timescale": "90000"})


def make_rate(path, inputs, rate, count, options=None):
    write(path, Picture(rate=rate, count=count, options=options or {"bf": "2"}), Tone(count / 25))


def make_copy(path, inputs, source, options=None, format=None):
    write(path, Copy(inputs(source)), options=options, format=format)


def make_slides(path, inputs, rate, seconds):
    count = rate * seconds
    write(path, Picture(rate=rate, count=count), Tone(seconds))


def make_last_frame_held(path, inputs):
    """8 frames/s; the seventh and last frame is displayed for 1.25 s."""
    picture = Picture(
        rate=8, count=7, ticks=range(0, 7000, 1000), tick=Fraction(1, 8000), end=16000
    )
    write(path, picture, Tone(2.0))


def make_gap(path, inputs):
    """Frame 9 stands still for 4.04 s between two moving parts."""
    ticks = [3600 * (k if k < 10 else k + 100) for k in range(20)]
    picture = Picture(ticks=ticks, tick=Fraction(1, 90000), count=20)
    write(path, picture, options={"video_track_timescale": "90000"})


def make_fast(path, inputs, rate):
    """Times in Matroska's milliseconds, rounded."""
    write(path, Picture(rate=rate, count=24))


def make_b_frames(path, inputs):
    write(path, Picture(options={"bf": "3"}), Tone())


def make_late(path, inputs, stream):
    """Picture (0) or sound (1) begins half a second late."""
    source = inputs("v15_bf.mp4")
    parts = [Copy(source, (k,), shift=Fraction(k == stream, 2)) for k in (0, 1)]
    write(path, *parts)


def make_edit(path, inputs):
    """A cut without re-encoding: the file begins inside a group of pictures (an edit list)."""
    write(
        path.with_name("v15_long.mp4"), Picture(count=50, options={"bf": "2", "g": "25"}), Tone(2.0)
    )

    def second_half(packet):
        return packet.pts * packet.time_base >= 1

    source = path.with_name("v15_long.mp4")
    # packets before 1.3 s get negative times, which the muxer writes as an edit list
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    write(path, Copy(source, shift=Fraction(-13, 10), keep=second_half), options=options)


def make_transport(path, inputs, offset, audio="aac", mode="0"):
    parts = [Copy(inputs("v15_bf.mp4"))] if audio == "aac" else [Picture(), Tone(codec=audio)]
    options = {"output_ts_offset": str(offset), "mpegts_m2ts_mode": mode}
    write(path, *parts, format="mpegts", options=options)


def make_vob(path, inputs):
    tone = Tone(codec="mp2", rate=48000, layout="stereo")
    write(path, Picture(codec="mpeg2video"), tone, format="vob")


def make_hls(path, inputs):
    write(path, Picture(options={"g": "5"}), Tone(), format="hls", options={"hls_time": "0.2"})


MAKERS = {
    "v01_vfr.mp4": make_vfr,
    "v01b_lasthold_audio.mp4": lambda path, inputs: write(path, Picture(rate=10), Tone(2.4)),
    "v02_23976.mp4": partial(make_rate, rate=FILM, count=12),
    "v02_23976.mkv": partial(make_copy, source="v02_23976.mp4"),
    "v02_2997.mp4": partial(make_rate, rate=NTSC, count=12),
    "v02_2997.mkv": partial(make_copy, source="v02_2997.mp4"),
    "v15_bf.mp4": make_b_frames,
    "v15_edit.mp4": make_edit,
    "v15_vlate.mp4": partial(make_late, stream=0),
    "v15_vlate.mkv": partial(make_late, stream=0),
    "v15_alate.mp4": partial(make_late, stream=1),
    "v15_broadcast.ts": partial(make_transport, offset=5001.4),
    "v15_wrap.ts": partial(make_transport, offset=95441.4),
    "v15_plain.ts": partial(make_transport, offset=1.4),
    "f_m2ts.m2ts": partial(make_transport, offset=1.4, audio="ac3", mode="1"),
    "f_vob.vob": make_vob,
    "f_hls.m3u8": make_hls,
    "v43_1fps.mp4": partial(make_slides, rate=1, seconds=4),
    "v43_8fps.mp4": partial(make_slides, rate=8, seconds=2),
    "v43_lasthold.mp4": make_last_frame_held,
    "v44_gap.mp4": make_gap,
    "v45_240fps.mkv": partial(make_fast, rate=240),
    "v45_1200fps.mkv": partial(make_fast, rate=1200),
}
