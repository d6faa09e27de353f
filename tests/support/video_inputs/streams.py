"""What stands beside the picture: sound of every codec, subtitles, fonts, chapters, telemetry."""

import struct
from functools import partial

import av
import cv2
import numpy as np

from tests.support.video_inputs.write import (
    SUBTITLE_HEADER,
    TESTSRC,
    Captions,
    Copy,
    Data,
    Picture,
    Tone,
    frames_of,
    write,
)

SRT = (
    "1\n00:00:00,100 --> 00:00:00,300\nHello\n\n2\n00:00:00,320 --> 00:00:00,450\nWorld ünï\n"
).encode()
EVENTS = (
    "Dialogue: 0,0:00:00.10,0:00:00.30,Default,,0,0,0,,Hello\n"
    "Dialogue: 0,0:00:00.32,0:00:00.45,Default,,0,0,0,,World ünï\n"
)
ASS = SUBTITLE_HEADER + EVENTS.encode()
CHAPTERS = ((0, 200, "Intro"), (200, 480, "Main"))
FONT = bytes(range(256)) * 8
TAGS = {"title": "My Film", "artist": "Me", "comment": "nice"}
D = av.stream.Disposition


def presentation_graphics() -> bytes:
    """The smallest PGS stream (.sup): a white square of 8 pixels, displayed from 0.1 to 0.3 s."""

    def segment(seconds, kind, data):
        return b"PG" + struct.pack(">IIBH", int(seconds * 90000), 0, kind, len(data)) + data

    def composition(number, state, objects):
        head = struct.pack(">HHBHBBBB", 96, 64, 0x10, number, state, 0, 0, len(objects))
        return head + b"".join(struct.pack(">HBBHH", 0, 0, 0, *place) for place in objects)

    window = struct.pack(">BBHHHH", 1, 0, 8, 8, 8, 8)
    palette = bytes([0, 0, 1, 235, 128, 128, 255])
    runs = bytes([0, 0x88, 1, 0, 0]) * 8
    size = struct.pack(">I", len(runs) + 4)[1:]
    square = struct.pack(">HBB", 0, 0, 0xC0) + size + struct.pack(">HH", 8, 8) + runs
    return b"".join(
        (
            segment(0.1, 0x16, composition(0, 0x80, [(8, 8)])),
            segment(0.1, 0x17, window),
            segment(0.1, 0x14, palette),
            segment(0.1, 0x15, square),
            segment(0.1, 0x80, b""),
            segment(0.3, 0x16, composition(1, 0, [])),
            segment(0.3, 0x17, window),
            segment(0.3, 0x80, b""),
        )
    )


def make_everything(path, inputs):
    """Two audio streams, three kinds of subtitles, chapters, a font, tags and dispositions."""
    write(
        path,
        Picture(metadata={"title": "Main picture", "language": "jpn"}, disposition=D.default),
        Tone(metadata={"language": "eng", "title": "Stereo"}, disposition=D(0)),
        Tone(
            codec="ac3",
            pitch=880,
            metadata={"language": "fra", "title": "Commentary"},
            disposition=D.default | D.comment,
        ),
        Copy((SRT, "srt"), metadata={"language": "eng"}, disposition=D.default | D.forced),
        Copy((ASS, "ass"), metadata={"language": "ger"}, disposition=D.hearing_impaired),
        Copy((presentation_graphics(), "sup"), disposition=D(0)),
        metadata=TAGS,
        chapters=CHAPTERS,
        attachments=[("My Font.ttf", "application/x-truetype-font", FONT)],
    )


def make_part(path, inputs, streams, source="v11_full.mkv"):
    write(path, Copy(inputs(source), streams))


def make_fonts_only(path, inputs):
    font = ("My Font.ttf", "application/x-truetype-font", FONT)
    write(path, Copy(inputs("v11_full.mkv"), (0,)), attachments=[font])


def make_audio(path, inputs, codec, rate=48000, layout="stereo", strict=True):
    write(path, Picture(), Tone(0.48, codec, rate, layout, strict=strict))


def make_movtext(path, inputs):
    text = Captions("mov_text", metadata={"language": "eng"})
    write(path, Picture(), Tone(), text, metadata=TAGS, chapters=CHAPTERS)


def make_camera(path, inputs, codec="mjpeg", pix_fmt="yuvj420p", seconds=0.48):
    """A camera's AVI: stereo PCM whose layout the file does not state."""
    picture = Picture(codec=codec, pix_fmt=pix_fmt, count=round(25 * seconds))
    write(path, picture, Tone(seconds, "pcm_s16le", layout="stereo"))


def make_timecode(path, inputs):
    metadata = {
        "creation_time": "2020-05-06T07:08:09Z",
        "location": "+48.1+011.5/",
        "com.apple.quicktime.make": "Apple",
    }
    picture = Picture(metadata={"timecode": "01:00:00:00"})
    options = {"movflags": "use_metadata_tags"}
    write(path, picture, Tone(), metadata=metadata, options=options)


def make_telemetry(path, inputs):
    write(path, Picture(), Data())


class Cover:
    """A picture of 64 pixels beside the video."""

    def add(self, out):
        red = np.zeros((64, 64, 3), np.uint8)
        red[..., 2] = 255
        content = cv2.imencode(".jpg", red)[1].tobytes()
        stream = out.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        stream.disposition = D.attached_pic

        def write():
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
            out.mux(packet)

        return write


def make_cover(path, inputs, first=False):
    parts = [Cover(), Picture(), Tone()] if first else [Picture(), Tone(), Cover()]
    write(path, *parts)


def make_two_videos(path, inputs):
    second = Picture(frames_of(12, "mandelbrot=s=96x64:r=25"))
    write(path, Picture(), second)


def make_stereo(path, inputs):
    write(path, Picture(frames_of(12, TESTSRC), metadata={"stereo_mode": "left_right"}))


AUDIO = ("flac", "libopus", "libmp3lame", "mp2", "pcm_s16le", "pcm_s24le", "ac3", "aac")

MAKERS = {
    "v11_full.mkv": make_everything,
    "v11_vt.mkv": make_fonts_only,
    "v11_vsrt.mkv": partial(make_part, streams=(0, 3)),
    "v11_vass.mkv": partial(make_part, streams=(0, 4)),
    "v11_vpgs.mkv": partial(make_part, streams=(0, 5)),
    "v11c_camera_stereo.avi": make_camera,
    "v11b_vorbis.mkv": partial(make_audio, codec="vorbis", strict=False),
    "v13_movtext.mp4": make_movtext,
    "v14_tmcd.mov": make_timecode,
    "v14_gpmd.mp4": make_telemetry,
    "v14_cover.mp4": make_cover,
    "v14_coverfirst.mp4": partial(make_cover, first=True),
    "v14_twovideos.mkv": make_two_videos,
    "v14_stereo3d.mkv": make_stereo,
} | {f"v11b_{codec}.mkv": partial(make_audio, codec=codec) for codec in AUDIO}
