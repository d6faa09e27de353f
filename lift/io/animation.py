"""Animated images: GIF, WebP and APNG, whose frames each state how long they are shown.

GIF has 256 colours for the whole animation, so that its frames are read twice: once for the palette
(FFmpeg's palettegen), once to be drawn with it (paletteuse). Memory does not grow with length.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.files import atomic, write_error
from lift.io.codecs import Encoding
from lift.io.color import YuvCoding
from lift.io.decode import DecodedFrame
from lift.io.optional import require
from lift.io.to_yuv import to_frame

CENTISECOND, MILLISECOND = Fraction(1, 100), Fraction(1, 1000)
GIF_FASTEST = 2  # centiseconds; browsers show shorter frames for 10
COLOURS = 256  # of a GIF's palette
OPAQUE = 128  # alpha from here on is opaque in GIF
APNG_LARGEST = 65535  # of the two numbers of an APNG delay
Frames = Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]


def write_animation(
    path: str | Path,
    encoding: Encoding,
    frames: Frames,
    times: Sequence[Fraction],
    end: Fraction,
    plays: int = 0,
) -> tuple[str, ...]:
    """Write an animated image; it appears when it is complete.

    Args:
        path: the file.
        encoding: from `choose_encoding` for .gif, .webp, .apng or .png.
        frames: called for each pass; gives (rgb, alpha) for every time in order: (H, W, 3) and
            (H, W) or None, uint8, or uint16 over its whole range.
        times: seconds at which the frames appear; they rise, and the first is the beginning.
        end: seconds at which the last frame ends.
        plays: how often the animation is played; 0 for without end.

    Returns:
        Sentences on what the format cannot show.

    Raises:
        LiftError: no frames, or the file cannot be written.
    """
    av = require("av", "writing an animation")
    path = Path(path)
    if not times:
        raise LiftError(f"{path}: no frame was written, so there is no animation")
    tick = _tick(encoding, times)
    starts, kept = _schedule(times, end, tick, GIF_FASTEST if encoding.container == "gif" else 1)
    notes = ()
    if left_out := len(times) - len(kept):
        fastest = round(1 / (tick * (GIF_FASTEST if encoding.container == "gif" else 1)))
        name = encoding.container.upper()
        notes = (
            f"{name} shows at most {fastest} frames per second: {left_out} of {len(times)} "
            "frames are left out, the speed stays",
        )
    try:
        with atomic(path) as file:
            chosen = _Chosen(frames, kept, starts[:-1])
            if encoding.container == "gif":
                _write_gif(av, file, chosen, starts, plays)
            else:
                _write(av, file, encoding, chosen, starts, tick, plays)
            if encoding.container == "webp":
                _set_last_duration(file, starts[-1] - starts[-2])
    except (av.error.FFmpegError, OSError) as error:
        raise write_error(path, error) from error
    return notes


def frames_of_parts(paths: Sequence[str | Path]) -> Frames:
    """The frames of finished parts, for `write_animation`.

    Args:
        paths: parts in order, encoded by `Encoding.for_parts` of an animation.
    """
    return lambda: (frame for path in paths for frame in _frames_of_part(path))


def _frames_of_part(path: str | Path) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    av = require("av", "writing an animation")
    with av.open(str(Path(path).resolve())) as container:
        for frame in container.decode(video=0):
            kind = np.dtype(np.uint16 if "16" in frame.format.name else np.uint8)
            planes = []
            for plane in frame.planes:
                rows = np.frombuffer(plane, kind).reshape(frame.height, -1)
                planes.append(rows)
            if len(planes) == 1:  # bgr0 or bgra
                pixels = planes[0][:, : 4 * frame.width].reshape(frame.height, frame.width, 4)
                alpha = pixels[..., 3] if frame.format.name == "bgra" else None
                yield pixels[..., 2::-1], alpha
            else:  # G, B, R and alpha
                planes = [plane[:, : frame.width] for plane in planes]
                rgb = np.stack([planes[2], planes[0], planes[1]], -1)
                yield rgb, planes[3] if len(planes) == 4 else None


def _tick(encoding: Encoding, times: Sequence[Fraction]) -> Fraction:
    """Seconds of one tick of the format's clock; exact for the usual rates of APNG."""
    if encoding.container == "gif":
        return CENTISECOND
    if encoding.container == "webp":
        return MILLISECOND
    common = 1
    for time in times:
        denominator = (time - times[0]).denominator
        common *= denominator // np.gcd(common, denominator)
        if common > APNG_LARGEST:
            return MILLISECOND
    return Fraction(1, int(common))


def _schedule(times, end, tick: Fraction, fastest: int) -> tuple[list[int], list[int]]:
    """Ticks at which frames appear and the last one ends; the indices of the frames to show.

    Ticks are rounded from the beginning, so that errors do not add up.
    """
    starts, kept = [], []
    for index, time in enumerate(times):
        start = round((time - times[0]) / tick)
        if not starts or start - starts[-1] >= fastest:
            starts.append(start)
            kept.append(index)
    last = round((end - times[0]) / tick)
    return [*starts, max(last, starts[-1] + fastest)], kept


class _Chosen:
    """The frames to show, each with its tick; can be iterated for every pass."""

    def __init__(self, frames: Frames, kept: list[int], starts: list[int]):
        self._frames, self._start_of = frames, dict(zip(kept, starts, strict=True))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None, int]]:
        for index, (rgb, alpha) in enumerate(self._frames()):
            if index in self._start_of:
                yield rgb, alpha, self._start_of[index]


# -- GIF -------------------------------------------------------------------------------------------


def _write_gif(av, file: Path, chosen: _Chosen, starts: list[int], plays: int) -> None:
    palette = _palette(av, chosen)
    # FFmpeg counts repetitions: -1 is none, 0 for ever
    options = {
        "loop": str({0: 0, 1: -1}.get(plays, plays - 1)),
        "final_delay": str(starts[-1] - starts[-2]),
    }
    with av.open(str(file), "w", format="gif", container_options=options) as container:
        stream = drawing = None
        for frame in _on_or_off(chosen):
            if stream is None:
                stream = _stream(container, "gif", "pal8", frame, CENTISECOND)
                drawing = _Filter(av, "paletteuse", f"alpha_threshold={OPAQUE}", frame, palette)
            for drawn in drawing(frame):
                container.mux(stream.encode(drawn))
        for drawn in drawing(None):
            container.mux(stream.encode(drawn))
        container.mux(stream.encode(None))


def _on_or_off(chosen: _Chosen) -> Iterator:
    """Frames as bgra, with alpha of 0 or 255 and one colour where it is 0."""
    for rgb, alpha, start in chosen:
        if alpha is not None:
            top = np.iinfo(alpha.dtype).max
            is_opaque = alpha >= top * (OPAQUE / 255)
            rgb = np.where(is_opaque[..., None], rgb, 0).astype(rgb.dtype)
            alpha = (is_opaque * top).astype(alpha.dtype)
        frame = to_frame(DecodedFrame(rgb, None, alpha), "bgra", YuvCoding())
        frame.pts, frame.time_base = start, CENTISECOND
        yield frame


def _palette(av, chosen: _Chosen):
    """The colours of all frames, a frame of 16 x 16; one of them is transparent.

    Colours that all fit are taken as they are; palettegen would round them.
    """
    generator, exact = None, np.empty(0, np.uint32)
    for frame in _on_or_off(chosen):
        generator = generator or _Filter(av, "palettegen", "reserve_transparent=1", frame)
        list(generator(frame))
        if len(exact) <= COLOURS:
            exact = np.union1d(exact, frame.to_ndarray().view(np.uint32))
    opaque = exact[exact != 0]
    if len(opaque) >= COLOURS:
        return next(generator(None))
    colours = np.full(COLOURS, 0xFF000000, np.uint32)
    colours[: len(opaque)], colours[-1] = opaque, 0  # one transparent entry, as in palettegen's
    return av.VideoFrame.from_ndarray(colours.view(np.uint8).reshape(16, 16, 4), format="bgra")


class _Filter:
    """A filter of FFmpeg with one input that grows, and a second one of a single frame or none."""

    def __init__(self, av, name: str, options: str, first, second=None):
        self._graph = graph = av.filter.Graph()  # must live as long as its ends
        self._source, self._sink = self._buffer("first", first), graph.add("buffersink")
        node = graph.add(name, options)
        self._source.link_to(node, 0, 0)
        if second is not None:
            other = self._buffer("second", second)
            other.link_to(node, 0, 1)
        node.link_to(self._sink)
        graph.configure()
        if second is not None:
            second.pts, second.time_base = 0, CENTISECOND
            other.push(second)
            other.push(None)

    def _buffer(self, name: str, frame):
        size = {"width": frame.width, "height": frame.height}
        return self._graph.add_buffer(**size, format=frame.format, name=name, time_base=CENTISECOND)

    def __call__(self, frame) -> Iterator:
        """What comes out once `frame` has gone in; None is the end."""
        self._source.push(frame)
        while True:
            try:
                yield self._sink.pull()
            except (BlockingIOError, EOFError):  # needs more input, or is at its end
                return


# -- WebP, APNG ------------------------------------------------------------------------------------


def _write(av, file, encoding: Encoding, chosen: _Chosen, starts, tick: Fraction, plays) -> None:
    options = {"plays" if encoding.container == "apng" else "loop": str(plays)}
    if encoding.container == "apng":
        options["final_delay"] = str((starts[-1] - starts[-2]) * tick)
    with av.open(str(file), "w", format=encoding.container, container_options=options) as container:
        stream = None
        for rgb, alpha, start in chosen:
            frame = to_frame(DecodedFrame(rgb, None, alpha), encoding.pix_fmt, YuvCoding())
            frame.pts, frame.time_base = start, tick
            if stream is None:
                stream = _stream(
                    container, encoding.encoder, encoding.pix_fmt, frame, tick, encoding.options
                )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _stream(container, encoder: str, pix_fmt: str, frame, tick: Fraction, options=None):
    stream = container.add_stream(encoder, rate=1 / tick, options=options or {})
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
    stream.codec_context.time_base = tick
    return stream


def _set_last_duration(file: Path, duration: int) -> None:
    """Write the milliseconds of the last frame, which FFmpeg leaves to a guess.

    A WebP file is a list of chunks; an ANMF chunk holds a frame, its duration in bytes 12 to 14.
    """
    with open(file, "r+b") as stream:
        position, last = 12, None
        while len(header := _at(stream, position, 8)) == 8:
            last = position if header[:4] == b"ANMF" else last
            size = int.from_bytes(header[4:], "little")
            position += 8 + size + size % 2
        if last is not None:
            stream.seek(last + 8 + 12)
            stream.write(min(duration, (1 << 24) - 1).to_bytes(3, "little"))


def _at(stream, position: int, size: int) -> bytes:
    stream.seek(position)
    return stream.read(size)
