"""Other containers and codecs that people have, as far as PyAV's own FFmpeg encodes them."""

import os
from functools import partial

from tests.support.video_inputs.write import Picture, Tone, frames_of, write

QUIET = {"x265-params": "log-level=none"}
SVT = {"preset": "10", "svtav1-params": "lp=1"}


def make(path, inputs, codec, pix_fmt="yuv420p", sound=None, size=(96, 64), count=12, **settings):
    """A video of `codec`, with `sound`: a Tone's codec, sample rate and layout."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only; SVT-AV1 writes to stderr by itself
    source = f"testsrc2=s={size[0]}x{size[1]}:r=25"
    options, container = settings.get("options", {}), settings.get("container")
    parts = [Picture(frames_of(count, source), codec, pix_fmt, options=options)]
    if sound is not None:
        codec, rate, layout, *experimental = sound
        seconds = count / 25
        parts.append(Tone(seconds, codec, rate, layout, strict=not experimental))
    write(path, *parts, format=settings.get("format"), options=container)


AAC, MP3, OPUS = ("aac", 44100, "mono"), ("libmp3lame", 44100, "mono"), ("libopus", 48000, "mono")
PCM = ("pcm_s16le", 44100, "mono")
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}

MAKERS = {
    "tiny.mp4": partial(make, codec="libx264", size=(64, 48), count=5),
    "v16_one.mp4": partial(make, codec="libx264", count=1),
    "v16_two.mp4": partial(make, codec="libx264", count=2),
    "v16_one_audio.mp4": lambda path, inputs: write(path, Picture(count=1), Tone(1.0)),
    "v16_audio_only.mp4": lambda path, inputs: write(path, Tone(0.5)),
    "f_xvid_b.avi": partial(make, codec="mpeg4", sound=MP3, options={"bf": "2", "qscale": "3"}),
    "f_wmv.wmv": partial(make, codec="wmv2", sound=("wmav2", 44100, "mono")),
    "f_flv.flv": partial(make, codec="flv", sound=MP3),
    "f_ogv.ogv": partial(make, codec="libvpx", sound=("vorbis", 44100, "stereo", True)),
    "f_vp8.webm": partial(make, codec="libvpx", sound=("vorbis", 44100, "stereo", True)),
    "f_vp9.webm": partial(make, codec="libvpx-vp9", sound=OPUS),
    "f_svtav1.mp4": partial(make, codec="libsvtav1", sound=AAC, options=SVT),
    "f_huffyuv.avi": partial(make, codec="huffyuv", pix_fmt="yuv422p", sound=PCM),
    "f_dnxhr.mov": partial(
        make,
        codec="dnxhd",
        pix_fmt="yuv422p",
        sound=PCM,
        size=(256, 144),
        count=4,
        options={"profile": "dnxhr_hq"},
    ),
    "f_prores.mov": partial(
        make,
        codec="prores_ks",
        pix_fmt="yuv422p10le",
        sound=("pcm_s24le", 44100, "mono"),
        options={"profile": "3"},
    ),
    "f_raw.h264": partial(make, codec="libx264", format="h264"),
    "f_raw.hevc": partial(make, codec="libx265", format="hevc", options=QUIET),
    "f_y4m.y4m": partial(make, codec="wrapped_avframe", format="yuv4mpegpipe"),
    "f_anim.apng": partial(make, codec="apng", pix_fmt="rgba", count=6, container={"plays": "0"}),
    "f_anim.webp": partial(
        make,
        codec="libwebp_anim",
        pix_fmt="bgra",
        count=6,
        format="webp",
        options={"lossless": "1"},
    ),
    "f_frag.mp4": partial(make, codec="libx264", sound=AAC, container=FRAGMENTS),
    "f_3gp.3gp": partial(make, codec="h263", sound=AAC, size=(128, 96)),
    "f_dv.dv": partial(
        make, codec="dvvideo", sound=("pcm_s16le", 48000, "stereo"), size=(720, 576), count=3
    ),
    "v22_longgop.mp4": partial(make, codec="libx264", count=24, options={"g": "9999", "bf": "3"}),
    "v22_og.ts": partial(
        make, codec="libx264", count=24, options={"x264-params": "open-gop=1:keyint=8:bframes=2"}
    ),
    "v25_long.mp4": partial(make, codec="libx264", sound=AAC, count=250, size=(160, 96)),
}
