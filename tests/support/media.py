"""Small files with sound, subtitles and more, and the frames of a picture to join them with."""

import io
from contextlib import contextmanager
from fractions import Fraction

import numpy as np

from lift.io.join import join_parts
from lift.io.streams import plan_streams

RATE = 48_000
SRT = b"1\n00:00:00,100 --> 00:00:00,200\nHello\n\n2\n00:00:00,250 --> 00:00:00,350\nW\xc3\xb6rld\n"
STEP = Fraction(1, 25)


def write_media(
    path,
    *,
    frames: int = 10,
    sounds=("aac",),
    layout: str = "stereo",
    subtitles: bytes | None = None,
    font: bytes | None = None,
    cover: bool = False,
    data: bool = False,
    chapters=(),
    metadata=None,
    dispositions=(),
    b_frames: int = 2,
    format=None,
    options=None,
    picture_first: bool = True,
):
    """A file of `frames` tiny pictures 40 ms apart, and a tone for as long in each of `sounds`.

    Args:
        path: the file, or a file-like object.
        sounds: encoders; "wmav2" and the like where the container holds them.
        subtitles: text of an SRT file.
        chapters: (start, end, title) in seconds.
        dispositions: of the streams in their order, as numbers.
    """
    import av

    path = path if hasattr(path, "write") else str(path)
    with av.open(path, "w", format=format, container_options=options or {}) as out:
        video = None
        if picture_first:
            video = _add_video(out, b_frames)
        audios = [_add_audio(out, encoder, layout) for encoder in sounds]
        video = video or _add_video(out, b_frames)
        script = None
        if subtitles is not None:
            script = av.open(io.BytesIO(subtitles), format="srt")
            text = out.add_stream("mov_text" if out.format.name in ("mp4", "mov") else "subrip")
            decoder = script.streams[0].codec_context
            decoder.open(strict=False)
            text.codec_context.subtitle_header = decoder.subtitle_header
        if font is not None:
            out.add_attachment("font.ttf", "application/x-truetype-font", font)
        picture = _add_cover(out) if cover else None
        telemetry = out.add_data_stream("bin_data") if data else None
        if telemetry is not None:
            telemetry.time_base = Fraction(1, 1000)
        for stream, disposition in zip(out.streams, dispositions, strict=False):
            stream.disposition = disposition
        out.metadata.update(metadata or {})
        out.set_chapters(
            [
                {
                    "id": k + 1,
                    "start": round(start * 1000),
                    "end": round(end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for k, (start, end, title) in enumerate(chapters)
            ]
        )
        if picture is not None:
            _mux(out, picture, _jpeg(), 0, 1)
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 20 * k % 256, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = k, STEP
            out.mux(video.encode(frame))
            if telemetry is not None:
                _mux(out, telemetry, bytes([k]) * 8, 40 * k, 40)
        out.mux(video.encode(None))
        for audio in audios:
            _write_tone(out, audio, frames * STEP)
        if script is not None:
            for packet in script.demux():
                for subtitle in [decoder.decode2(packet)] if packet.size else []:
                    ready = text.codec_context.encode_subtitle(subtitle)
                    ready.pts = ready.dts = packet.pts
                    ready.duration, ready.time_base = packet.duration, packet.time_base
                    ready.stream = text
                    out.mux(ready)
    return path


def _add_video(out, b_frames: int):
    options = {"preset": "ultrafast", "bf": str(b_frames), "crf": "30"}
    video = out.add_stream("libx264", rate=25, options=options)
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    video.codec_context.time_base = STEP
    return video


def _add_audio(out, encoder: str, layout: str):
    audio = out.add_stream(encoder, rate=RATE)
    audio.codec_context.layout = layout
    audio.codec_context.bit_rate = 128_000
    return audio


def _add_cover(out):
    import av

    video = av.open(io.BytesIO(_jpeg()), format="jpeg_pipe")
    picture = out.add_stream_from_template(video.streams[0], opaque=True)
    picture.disposition = 0x400
    return picture


def _jpeg() -> bytes:
    import cv2

    return cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()


def _mux(out, stream, data: bytes, time: int, duration: int) -> None:
    import av

    packet = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = time
    packet.duration, packet.is_keyframe = duration, True
    out.mux(packet)


def _write_tone(out, audio, seconds: Fraction) -> None:
    import av

    codec = audio.codec_context
    channels = codec.layout.nb_channels
    for start in range(0, round(seconds * RATE), 1024):
        count = min(1024, round(seconds * RATE) - start)
        wave = 0.1 * np.sin(2 * np.pi * 440 * (start + np.arange(count)) / RATE)
        frame = av.AudioFrame.from_ndarray(
            np.stack([wave] * channels).astype(np.float32),
            format="fltp",
            layout=codec.layout.name,
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        out.mux(audio.encode(frame))
    out.mux(audio.encode(None))


@contextmanager
def encoded_picture(frames: int = 10, encoder: str = "libx264", b_frames: int = 2):
    """A template stream and its packets, (packet, number of the frame), in decoding order."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        options = {"bf": str(b_frames), "preset": "ultrafast"} if encoder == "libx264" else {}
        video = out.add_stream(encoder, rate=1000, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 9 * k % 256, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = k, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    file.seek(0)
    with av.open(file) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        numbered = [(packet, packet.pts) for packet in packets]
        container.seek(0)
        yield stream, numbered


def packets_of(path, kind: str) -> dict[int, list]:
    """(seconds, bytes) of the packets of all streams of a kind, by stream index, file's clock."""
    import av

    found: dict[int, list] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.stream.type == kind and packet.pts is not None:
                entry = (packet.pts * packet.time_base, bytes(packet))
                found.setdefault(packet.stream.index, []).append(entry)
    return dict(sorted(found.items()))


def shown_times(path) -> list[Fraction]:
    """Seconds at which the frames of the first video are displayed."""
    return sorted(time for time, _ in packets_of(path, "video")[0])


def join(path, source=None, times=None, hold=STEP, b_frames=2, encoder="libx264", **options):
    """A picture (10 frames 40 ms apart where no times are given) joined with a source's streams."""
    times = [k * STEP for k in range(10)] if times is None else times
    ends = [*times[1:], times[-1] + hold]
    with encoded_picture(len(times), encoder, b_frames) as (template, numbered):
        plan = plan_streams(source, path.suffix, template=template, **options)
        packets = (
            (packet, times[k], ends[k] - times[k], packet.is_keyframe) for packet, k in numbered
        )
        join_parts(path, packets, template, plan, time_base=Fraction(1, 90_000))
    return path
