"""What becomes of every stream of a source in an output; made by `lift.io.streams`."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from lift.io.sound import COPY
from lift.io.timing import WHOLE, Timing


@dataclass(frozen=True)
class PlannedStream:
    """A stream of the source that the output has too.

    Attributes:
        index: of the stream in the source.
        kind: "audio", "video" (another picture than the interpolated one), "cover", "subtitle",
            "data" or "attachment".
        action: "copy", "convert", or "attach" (a cover as a Matroska attachment).
        encoder: FFmpeg's name where the stream is converted, or of the encoder whose parameters
            a copy takes.
        layout: speaker layout where the source's is unspecified.
        unlisted: the container's list of codecs lacks this codec, though it holds it.
        from_zero: sound long before 0, which an edit of the source hides, is left out.
        metadata, disposition: of the output stream.
        data: the bytes of an attached cover.
    """

    index: int
    kind: str
    action: str
    encoder: str | None = None
    layout: str | None = None
    unlisted: bool = False
    from_zero: bool = False
    metadata: dict = field(default_factory=dict)
    disposition: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class StreamPlan:
    """The streams beside the picture, decided before the first frame.

    Attributes:
        source: file that the streams come from; None for a folder of frames.
        video_index: index of the interpolated stream in the source.
        format: FFmpeg's name of the output container.
        options: of the output container.
        streams: in the order of the source.
        notes: a sentence for each stream that is converted or left out.
        chapters: as PyAV gives them, in seconds of the output.
        metadata: of the container.
        picture_metadata, picture_disposition: of the interpolated stream.
        picture_rate: its nominal frames per second, which a timecode counts by, or None.
        timing: which part of the source is kept, and how much slower.
        sound: one of `lift.io.sound.SOUND_MODES`.
        lead: seconds by which all times are moved because sound begins before 0.
        first: seconds at which the first sound begins, or None.
    """

    source: Path | None
    video_index: int = 0
    format: str = "matroska"
    options: dict = field(default_factory=dict)
    streams: tuple[PlannedStream, ...] = ()
    notes: tuple[str, ...] = ()
    chapters: tuple[dict, ...] = ()
    metadata: dict = field(default_factory=dict)
    picture_metadata: dict = field(default_factory=dict)
    picture_disposition: int = 0
    picture_rate: Fraction | None = None
    timing: Timing = WHOLE
    sound: str = COPY
    lead: Fraction = Fraction(0)
    first: Fraction | None = None
