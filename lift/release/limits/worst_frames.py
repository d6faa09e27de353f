"""The picture of the worst frames of the real clips, small enough for a page."""

import tempfile
from pathlib import Path

import torch
from PIL import Image

from lift.errors import LiftError
from lift.evaluation import worst
from lift.evaluation.protocols import real16
from lift.evaluation.target import ScoredFrame
from lift.files import atomic
from lift.release.limits.real import CONTEXT_FRAMES

COUNT = 5  # frames of each order
LARGEST = 400_000  # bytes
WIDTHS = (2200, 2000, 1800, 1600)  # pixels, the widest that fits
QUALITIES = (85, 75, 65)  # of JPEG; smaller ones are tried before the picture is narrowed


def choose(frames: list[ScoredFrame]) -> dict[str, list[ScoredFrame]]:
    """The worst frames by order: `gain` against DIS, then `psnr`, which leaves out the former."""
    by_gain = worst.choose(frames, COUNT, "gain")
    by_psnr = [frame for frame in worst.choose(frames, COUNT, "psnr") if frame not in by_gain]
    return {"gain": by_gain, "psnr": by_psnr}


def draw(path: Path, frames: list[ScoredFrame], root: str, model: torch.nn.Module) -> dict:
    """Write the picture, a row per frame: against DIS first, then by PSNR.

    Args:
        path: a .jpg file of at most LARGEST bytes.
        frames: all scored frames.
        root: folder of the clips.
        model: it generates the frames again.

    Returns:
        {"gain": rows, "psnr": rows} with clip, frame, psnr and baseline (dB), JSON-able.

    Raises:
        LiftError: a clip cannot be read, or the picture does not fit.
    """
    chosen = choose(frames)
    rows = [
        (frame, real16.target(root, frame.clip, frame.frame, CONTEXT_FRAMES))
        for each in chosen.values()
        for frame in each
    ]
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "worst.png"
        worst.draw(full, rows, model)
        write_small(Image.open(full).convert("RGB"), path)
    return {
        order: [
            {"clip": f.clip, "frame": f.frame, "psnr": f.psnr, "baseline": f.baseline} for f in each
        ]
        for order, each in chosen.items()
    }


def write_small(picture: Image.Image, path: Path) -> None:
    """Write a picture as JPEG of at most LARGEST bytes: as wide as fits, then as good as fits.

    Raises:
        LiftError: it does not fit at the least width and quality.
    """
    for width in WIDTHS:
        size = min(width, picture.width), 0
        size = size[0], round(picture.height * size[0] / picture.width)
        small = picture.resize(size, Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            with atomic(path) as part:
                small.save(part, format="JPEG", quality=quality, optimize=True)
            if path.stat().st_size <= LARGEST:
                return
    raise LiftError(f"{path} is larger than {LARGEST} bytes at {WIDTHS[-1]} pixels; draw fewer")
