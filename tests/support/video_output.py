"""What a run of `lift interpolate` wrote: times, pictures, packets, streams, tags."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from lift.commands.interpolate import main
from lift.errors import run

av = pytest.importorskip("av", reason="PyAV is not installed")

COVER = av.stream.Disposition.attached_pic
TEXT_FORMATS = ("srt", "subrip", "ass", "ssa", "mov_text", "webvtt", "text")


@dataclass
class Run:
    """One call of the command.

    Attributes:
        code: exit code.
        out, err: what it wrote to stdout and stderr.
    """

    source: Path
    output: Path
    code: int
    out: str
    err: str

    @property
    def notes(self) -> list[str]:
        """Its notes, those about streams first."""
        lines = self.out.splitlines()
        return [line.removeprefix("note: ") for line in lines if line.startswith("note: ")]

    def noted(self, *words: str) -> bool:
        """Whether one note has all the words, whatever their case."""
        return any(all(word.lower() in note.lower() for word in words) for note in self.notes)

    def noted_before_the_first_frame(self, *words: str) -> bool:
        """Whether such a note stands before the summary, which is printed at the end."""
        lines = self.out.splitlines()
        summary = next(k for k, line in enumerate(lines) if line.startswith(f"{self.output}: "))
        return Run(self.source, self.output, 0, "\n".join(lines[:summary]), "").noted(*words)


def interpolate(source, output, *flags, capsys, checkpoint) -> Run:
    """Run the command in this process, on the CPU, with two context frames."""
    always = ["--context_frames", 2, "--device", "cpu"]
    if checkpoint is not None:
        always += ["--checkpoint", checkpoint]
    if "loud" not in flags:
        always.append("--quiet")
    sources = source if isinstance(source, tuple | list) else [source]
    given = [flag for flag in flags if flag != "loud"]
    arguments = [*always, *given, "--", *sources, output]
    capsys.readouterr()
    try:
        code = run(main, [str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        code = stop.code
    out, err = capsys.readouterr()
    return Run(source, Path(output), code, out, err)


# -- pictures --------------------------------------------------------------------------------------


def video_of(container):
    """The first video stream that is not a cover."""
    return next(s for s in container.streams.video if not s.disposition & COVER)


def decode(path, decoder=None) -> list[av.VideoFrame]:
    """The frames of a video."""
    with av.open(str(path)) as container:
        stream = video_of(container)
        if decoder is None:
            return [frame for frame in container.decode(stream)]
        context = av.CodecContext.create(decoder, "r")
        context.extradata = stream.codec_context.extradata
        packets = [p for p in container.demux(stream) if p.size]
        return [frame for packet in [*packets, None] for frame in context.decode(packet)]


def times(path) -> list[Fraction]:
    """Seconds at which each frame is displayed, as the file has them."""
    return [frame.pts * frame.time_base for frame in decode(path)]


def planes(frame) -> list[np.ndarray]:
    """The planes of a planar frame as stored, each (h, w) uint8 or uint16."""
    depth = frame.format.components[0].bits
    kind = np.dtype(np.uint8 if depth <= 8 else np.uint16)
    stored = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
        stored.append(rows[:, : plane.width].copy())
    return stored


# red's and blue's part of luma by the number of the matrix; untagged files are taken for BT.601
LUMA = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
LUMA |= {5: LUMA[2], 6: LUMA[2]}


def rgb(frame) -> np.ndarray:
    """(H, W, 3) float RGB in 0..255, by the frame's own matrix and range; chroma is repeated."""
    if frame.format.is_rgb or len(frame.planes) < 3 or int(frame.colorspace) not in LUMA:
        return frame.to_ndarray(format="rgb24").astype(np.float64)
    y, u, v = (plane.astype(np.float64) for plane in planes(frame)[:3])
    rows, columns = -(-y.shape[0] // u.shape[0]), -(-y.shape[1] // u.shape[1])
    middle = 2 ** (frame.format.components[0].bits - 1)
    u, v = (
        plane.repeat(rows, 0).repeat(columns, 1)[: y.shape[0], : y.shape[1]] - middle
        for plane in (u, v)
    )
    unit = middle / 128
    full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    black, luma, chroma = (
        (0, 2 * middle - 1, 2 * middle - 1) if full else (16 * unit, 219 * unit, 224 * unit)
    )
    kr, kb = LUMA[int(frame.colorspace)]
    y, u, v = (y - black) * 255 / luma, u * 255 / chroma, v * 255 / chroma
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue], -1).clip(0, 255)


def pictures(path) -> list[np.ndarray]:
    """The frames of a video or the images of a folder (in order of their names), as RGB."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        return [read_image(file)[..., :3][..., ::-1] for file in files]
    return [rgb(frame) for frame in decode(path)]


def read_image(file) -> np.ndarray:
    """(H, W, C) as OpenCV stores it: BGR or BGRA, uint8 or uint16."""
    image = cv2.imdecode(np.frombuffer(Path(file).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None, file
    return image[..., None].repeat(3, 2) if image.ndim == 2 else image


def psnr(a, b) -> float:
    """Of two pictures in 0..255, dB."""
    error = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


# -- times -----------------------------------------------------------------------------------------


def start(path) -> Fraction:
    """Seconds at which the first frame is displayed."""
    return min(times(path))


def picture_end(path) -> Fraction:
    """Seconds at which the last frame stops being displayed, as the container states it."""
    with av.open(str(path)) as container:
        stream = video_of(container)
        stated = stream.metadata.get("DURATION")
        if stated:
            hours, minutes, seconds = stated.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
        if stream.duration is not None:
            return ((stream.start_time or 0) + stream.duration) * stream.time_base
        packets = [p for p in container.demux(stream) if p.pts is not None]
        return max((p.pts + (p.duration or 0)) * p.time_base for p in packets)


def sound_after_picture(path) -> Fraction:
    """Seconds from the first picture to the first sound; negative where sound is first."""
    with av.open(str(path)) as container:
        picture, sound = video_of(container), container.streams.audio[0]
        began = [
            s.start_time * s.time_base
            if s.start_time is not None
            else next(p.pts * p.time_base for p in _packets(path, s.index))
            for s in (picture, sound)
        ]
        return began[1] - began[0]


# -- streams ---------------------------------------------------------------------------------------


def _packets(path, index):
    with av.open(str(path)) as container:
        return [p for p in container.demux(container.streams[index]) if p.size]


def payload(path, kind: str, number: int = 0) -> str:
    """Hash of all bytes of the packets of a stream, and how many bytes."""
    with av.open(str(path)) as container:
        stream = [s for s in container.streams if s.type == kind][number]
        adts = kind == "audio" and stream.codec_context.extradata is None
        packets = [bytes(p) for p in container.demux(stream) if p.size]
    if adts:  # AAC of transport streams has a header in every packet, elsewhere in none
        packets = [p[7 if p[1] & 1 else 9 :] if p[:1] == b"\xff" else p for p in packets]
    content = b"".join(packets)
    return f"{len(content)} bytes, {hashlib.md5(content).hexdigest()}"


def packet_hashes(path, kind: str, number: int = 0) -> list[str]:
    """A hash for each packet of a stream."""
    with av.open(str(path)) as container:
        stream = [s for s in container.streams if s.type == kind][number]
        return [hashlib.md5(bytes(p)).hexdigest() for p in container.demux(stream) if p.size]


def samples(path) -> np.ndarray:
    """Decoded sound, (n, channels) float."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", rate=44100)
        chunks = []
        for frame in container.decode(audio=0):
            chunks += [part.to_ndarray() for part in resampler.resample(frame)]
        return np.concatenate(chunks, 1).T


def streams(path) -> list[tuple]:
    """(kind, codec, language, title, dispositions) of every stream."""
    with av.open(str(path)) as container:
        return [
            (
                s.type,
                s.codec_context.name if s.codec_context else s.metadata.get("filename", ""),
                s.metadata.get("language"),
                s.metadata.get("title"),
                int(s.disposition),
            )
            for s in container.streams
        ]


def kinds(path) -> list[str]:
    """The type of every stream; "cover" of a cover picture."""
    with av.open(str(path)) as container:
        return ["cover" if s.disposition & COVER else s.type for s in container.streams]


def captions(path, number: int = 0) -> list[tuple[float, str]]:
    """(seconds, text) of every event of a text subtitle stream."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[number]
        assert stream.codec_context.name in TEXT_FORMATS, stream.codec_context.name
        events = []
        for packet in container.demux(stream):
            for event in stream.decode(packet) if packet.size else ():
                text = event.dialogue.decode().strip()
                if text:
                    events.append((round(float(packet.pts * packet.time_base), 3), text))
        return events


def chapters(path) -> list[tuple[float, float, str]]:
    """(start, end, title), seconds."""
    with av.open(str(path)) as container:
        return [
            (
                float(c["start"] * c["time_base"]),
                float(c["end"] * c["time_base"]),
                c["metadata"].get("title", ""),
            )
            for c in container.chapters()
        ]


def color_tags(frame) -> tuple[int, int, int, int]:
    """Primaries, transfer, matrix, range."""
    numbers = frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range
    return tuple(int(number) for number in numbers)


def side_data(frame) -> dict[str, bytes]:
    """Side data of a frame by the name of its type."""
    return {data.type.name: bytes(data) for data in frame.side_data}
