"""What an interpolated file holds, for people and as JSON."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        path: the output.
        frames: number of frames.
        generated: how many of them the model generated.
        cuts: number of scene cuts.
        width, height: pixels.
        rate: frames per second.
        notes: sentences on what was changed or left out and why.
        dtype: precision of the model.
        seconds: how long the output lasts.
        cut_times: seconds of the output at which a new shot begins.
        duplicates: number of source frames that were generated anew because they repeated another.
        damaged: number of packets or frames of the source that could not be decoded.
        codec, pix_fmt: of a video.
    """

    path: Path
    frames: int
    generated: int
    cuts: int
    width: int
    height: int
    rate: Fraction
    notes: list[str]
    dtype: torch.dtype
    seconds: Fraction = Fraction(0)
    cut_times: list[Fraction] = field(default_factory=list)
    duplicates: int = 0
    damaged: int = 0
    codec: str = ""
    pix_fmt: str = ""

    def as_json(self) -> dict:
        """The attributes as JSON values: rates as text such as "60000/1001", times in seconds."""
        return {
            "output": str(self.path),
            "frames": self.frames,
            "generated": self.generated,
            "width": self.width,
            "height": self.height,
            "rate": str(self.rate),
            "seconds": float(self.seconds),
            "cuts": [round(float(time), 6) for time in self.cut_times],
            "duplicates": self.duplicates,
            "damaged": self.damaged,
            "codec": self.codec,
            "pix_fmt": self.pix_fmt,
            "dtype": str(self.dtype).removeprefix("torch."),
            "notes": list(self.notes),
        }


def report_path(output: Path) -> Path:
    """Where --report writes: beside the output."""
    return output.with_name(output.name + ".json")
