"""What a user asks of one interpolated file."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lift.config import InferenceConfig
from lift.errors import LiftError

SOUNDS = ("keep", "stretch", "drop")


@dataclass(frozen=True)
class FileOptions:
    """How a file is interpolated, beyond the model.

    Attributes:
        multi: interpolation factor; 2 where None and neither fps nor slow is given.
        fps: output frames per second instead of a factor.
        source_fps: frame rate of a folder of frames, which has none of its own.
        slow: slow motion: the output lasts this many times as long.
        sound: of slow motion: "stretch", "drop" or "keep" (from the start, at its own speed).
        loop: also generate the frames from the last one back to the first.
        trim: START:END of the source, as `timeline.parse_trim` reads it.
        max_gap: seconds; a longer interval of a video is a hold. None: chosen from the rate.
        duplicates: "keep", or "fill": generate frames in place of those that repeat the one before.
        gaps: a folder whose numbers have gaps: "error", "sort" or "time".
        cuts: file with a list of cuts that replaces detection.
        codec, pix_fmt, preset, crf: of the encoder; chosen from the source where None.
        image_format: of a folder of frames (png, jpg, ...); chosen from the source where None.
        deinterlace: "auto" or "off".
        strict: stop at a damaged packet.
        resume: keep finished parts when interrupted, and use those of an earlier run.
        compare: write the source, each frame held, beside the result.
        report: also write a report of the run as JSON beside the output.
        overwrite: replace an output that exists.
    """

    multi: int | None = None
    fps: Fraction | None = None
    source_fps: Fraction | None = None
    slow: Fraction | None = None
    sound: str | None = None
    loop: bool = False
    trim: str | None = None
    max_gap: Fraction | None = None
    duplicates: str = "keep"
    gaps: str = "error"
    cuts: Path | None = None
    codec: str | None = None
    pix_fmt: str | None = None
    preset: str | None = None
    crf: int | None = None
    image_format: str | None = None
    deinterlace: str = "auto"
    strict: bool = False
    resume: bool = False
    compare: bool = False
    report: bool = False
    overwrite: bool = False

    def __post_init__(self):
        if self.multi is not None and self.fps is not None:
            raise LiftError(
                "--multi and --fps contradict each other: the first multiplies the rate of the "
                "source, the second states a rate; give one of them"
            )
        if self.sound is not None and self.slow is None:
            raise LiftError("--sound says what becomes of the sound of --slow; give both")
        if self.multi is not None and self.multi < 2:
            raise ValueError(f"multi must be at least 2, got {self.multi}")

    @property
    def factor(self) -> int:
        """The interpolation factor."""
        if self.multi is not None:
            return self.multi
        if self.slow is not None:
            return max(2, -(-self.slow.numerator // self.slow.denominator))
        return InferenceConfig.multi
