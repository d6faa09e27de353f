"""Test sets of triplets: two frames and the true frame at t = 0.5 between them.

A protocol is a `TripletProtocol`; reading and scoring are the same for all of them. Scores are
means over the triplets of each triplet's PSNR and SSIM (`lift.evaluation.metrics`): PSNR of frames
rounded to 8 bits and of frames as a method computes them, SSIM of rounded frames.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from lift.errors import LiftError
from lift.evaluation import baselines
from lift.evaluation.metrics import psnr, psnr_unrounded, ssim
from lift.evaluation.protocols.real16 import as_clip
from lift.evaluation.target import ScoredFrame, Target
from lift.io.images import read_image

# (frame0, frame1), each (H, W, 3) uint8 -> the frame at t = 0.5, (H, W, 3) float in [0, 255]
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
BASELINES = tuple(baselines.UNROUNDED_METHODS)


@dataclass(frozen=True)
class Triplet:
    """Files of a triplet: the references and the true frame between them."""

    name: str
    frame0: Path
    truth: Path
    frame1: Path


@dataclass(frozen=True)
class Published:
    """A score that a paper states, PSNR in dB, under the paper's own rounding and SSIM."""

    psnr: float
    ssim: float
    paper: str


@dataclass(frozen=True)
class TripletProtocol:
    """A test set and how it is scored.

    Attributes:
        name, description: what stands beside every score.
        find: the triplets in a folder, in order; raises LiftError where the folder has none or
            one is incomplete.
        size: (H, W) of every frame, pixels; None where sizes differ.
        count: number of triplets of the whole set.
        published: scores of other models by name.
    """

    name: str
    description: str
    find: Callable[[Path], list[Triplet]]
    size: tuple[int, int] | None
    count: int
    published: dict[str, Published] = field(default_factory=dict)


# -- methods under test ----------------------------------------------------------------------------


def baseline_method(name: str) -> Method:
    """A baseline by name, one of BASELINES."""
    method = baselines.UNROUNDED_METHODS[name]
    return lambda frame0, frame1: method(frame0, frame1, 0.5)


def model_method(model: torch.nn.Module) -> Method:
    """A LIFT model, or anything with its interface, on the device of its parameters."""
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def interpolate(frame0: np.ndarray, frame1: np.ndarray) -> np.ndarray:
        clip = as_clip(np.stack((frame0, frame1)), [0.0, 1.0], 0, device)
        frame = model(clip, torch.tensor([0.5], device=device)).frame[0]
        return (255 * frame.float().clamp(0, 1)).permute(1, 2, 0).cpu().numpy()

    return interpolate


# -- scoring ---------------------------------------------------------------------------------------


def score(
    protocol: TripletProtocol,
    root: str | Path,
    methods: dict[str, Method],
    limit: int | None = None,
    progress: Callable[[list[Triplet]], Iterable[Triplet]] = iter,
) -> dict:
    """Score methods on the triplets of a folder.

    Args:
        protocol: the test set.
        root: its folder.
        methods: methods under test, by name.
        limit: only the first triplets, at least 1.
        progress: wraps the list of triplets, for example with a progress bar.

    Returns:
        JSON-able: {"protocol", "description", "count": triplets of the whole set,
        "samples": [name], "scores": {method: {"psnr", "psnr_unrounded", "ssim",
        "psnr_each": [...]}}, "published": {model: {"psnr", "ssim", "paper"}}}; PSNR in dB.

    Raises:
        LiftError: the folder has no triplet, one is incomplete, or a file is no image of the size.
    """
    triplets = list(islice(protocol.find(Path(root)), limit))
    each = {name: [] for name in methods}
    for triplet in progress(triplets):
        target = read(protocol, triplet)
        for name, method in methods.items():
            each[name].append(_scores(method(*target.frames), target.truth))
    return {
        "protocol": protocol.name,
        "description": protocol.description,
        "count": protocol.count,
        "samples": [triplet.name for triplet in triplets],
        "scores": {name: _means(rows) for name, rows in each.items()},
        "published": {name: vars(paper) for name, paper in protocol.published.items()},
    }


def read(protocol: TripletProtocol, triplet: Triplet) -> Target:
    """The frames of a triplet.

    Raises:
        LiftError: a file is no image, or has another size than the protocol's or the first one.
    """
    frames, size = [], protocol.size
    for path in (triplet.frame0, triplet.truth, triplet.frame1):
        frame = read_image(path)
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            height, width = frame.shape[:2]
            raise LiftError(
                f"{path} is {width}x{height} and protocol {protocol.name} needs {size[1]}x{size[0]}"
                "; copy the test set again, without resizing"
            )
        frames.append(frame)
    frame0, truth, frame1 = frames
    return Target(np.stack((frame0, frame1)), [0.0, 1.0], 0, truth)


def _scores(frame: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    rounded = baselines.round_half_up(frame)
    return psnr(rounded, truth), psnr_unrounded(frame, truth), ssim(rounded, truth)


def _means(rows: list[tuple[float, float, float]]) -> dict:
    means = (float(np.mean(column)) for column in zip(*rows, strict=True))
    names = ("psnr", "psnr_unrounded", "ssim")
    return dict(zip(names, means, strict=True)) | {"psnr_each": [round(row[0], 3) for row in rows]}


# -- single triplets -------------------------------------------------------------------------------


def scored_frames(result: dict, method: str, baseline: str) -> list[ScoredFrame]:
    """The recorded PSNR of every triplet by a method and a baseline."""
    scores = result["scores"]
    pairs = zip(scores[method]["psnr_each"], scores[baseline]["psnr_each"], strict=True)
    return [
        ScoredFrame(name, None, *pair) for name, pair in zip(result["samples"], pairs, strict=True)
    ]


def target(protocol: TripletProtocol, root: str | Path, name: str) -> Target:
    """The frames of the triplet with this name."""
    return read(protocol, next(t for t in protocol.find(Path(root)) if t.name == name))
