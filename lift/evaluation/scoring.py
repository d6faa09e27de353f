"""Metrics by name, and the scores of one sample by every method under test."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lift.errors import LiftError
from lift.evaluation import lpips as perceptual
from lift.evaluation import metrics
from lift.evaluation.baselines import round_half_up
from lift.evaluation.builtin_methods import SavedFrames
from lift.evaluation.frames import FrameReader
from lift.evaluation.methods import Method
from lift.evaluation.samples import Sample
from lift.evaluation.tof import tof
from lift.files import atomic
from lift.io.optional import require

SMALLEST = 11  # pixels a side, the window of SSIM
VERSION = 1  # of the metrics' definitions; a higher one does not mix with rows of this one


@dataclass(frozen=True)
class Frames:
    """What a metric may look at: the generated frame, unrounded and of 8 bits, and true ones."""

    unrounded: np.ndarray
    rounded: np.ndarray
    truth: np.ndarray
    left: np.ndarray


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        title: of its column in a table.
        digits: after the point.
        compute: of the frames.
    """

    title: str
    digits: int
    compute: Callable[[Frames], float]


METRICS = {
    "psnr": Metric("PSNR, 8-bit", 4, lambda f: metrics.psnr(f.rounded, f.truth)),
    "psnr_float": Metric("PSNR, float", 4, lambda f: metrics.psnr_unrounded(f.unrounded, f.truth)),
    "ssim": Metric("SSIM", 6, lambda f: metrics.ssim(f.rounded, f.truth)),
    "ssim_rife": Metric("SSIM, RIFE", 6, lambda f: metrics.ssim_rife(f.rounded, f.truth)),
    "ie": Metric("IE", 4, lambda f: metrics.interpolation_error(f.rounded, f.truth)),
    "nie": Metric("NIE", 4, lambda f: metrics.normalized_interpolation_error(f.rounded, f.truth)),
    "mae": Metric("MAE", 4, lambda f: metrics.mean_absolute_error(f.rounded, f.truth)),
    "lpips": Metric("LPIPS", 6, lambda f: perceptual.lpips(f.rounded, f.truth)),
    "tof": Metric("tOF", 4, lambda f: tof(f.rounded, f.truth, f.left)),
}
STANDARD = ("psnr", "psnr_float", "ssim", "ssim_rife", "ie")
FURTHER = tuple(name for name in METRICS if name not in STANDARD)


def choose_metrics(further: Iterable[str]) -> tuple[str, ...]:
    """The standard metrics and further ones, in the order of METRICS.

    Raises:
        LiftError: a metric cannot be computed on this machine.
    """
    further = set(further)
    if "lpips" in further:
        perceptual.check_lpips()
    return tuple(name for name in METRICS if name in STANDARD or name in further)


def score_sample(
    sample: Sample,
    methods: Sequence[Method | SavedFrames],
    reader: FrameReader,
    names: Sequence[str],
    save_to: Path | None = None,
) -> dict:
    """Scores of one sample.

    Args:
        sample: of a test set.
        methods: methods under test.
        reader: of its frames.
        names: metrics.
        save_to: folder for the frames of each method, as <method>/<sample>.png.

    Returns:
        JSON-able: {"sample", "group", "size": [width, height], "scores": {method: {metric:
        value}}, "seconds": {method: seconds}, "memory": {method: bytes}, "process_memory":
        bytes}. `memory` is what CUDA allocated at most, empty without a GPU; `process_memory` is
        the peak resident size.

    Raises:
        LiftError: a frame cannot be read, or a method fails or returns no frame of the right shape.
    """
    inputs, truth = reader.sample(sample)
    if min(truth.shape[:2]) < SMALLEST:
        raise LiftError(
            f"{sample.truth.path} is scored at {truth.shape[1]}x{truth.shape[0]}; SSIM needs "
            f"frames of at least {SMALLEST} pixels a side"
        )
    row: dict = {"sample": sample.name, "group": sample.group}
    row |= {"size": [truth.shape[1], truth.shape[0]], "scores": {}, "seconds": {}, "memory": {}}
    for method in methods:
        if isinstance(method, SavedFrames):
            unrounded = method.read(sample.name, truth.shape)
        else:
            unrounded = _generate(method, sample, inputs, truth.shape, row)
        rounded = round_half_up(unrounded)
        frames = Frames(unrounded, rounded, truth, inputs[sample.left])
        row["scores"][method.name] = {name: METRICS[name].compute(frames) for name in names}
        if save_to is not None:
            _save(saved_path(save_to, method.name, sample.name), rounded)
    row["process_memory"] = _peak_process_memory()
    return row


def _peak_process_memory() -> int:
    """Bytes of main memory that the process has used at most; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _generate(
    method: Method, sample: Sample, inputs: np.ndarray, shape: tuple[int, ...], row: dict
) -> np.ndarray:
    """The frame of a method, float32, with its time and memory added to the row."""
    chosen, times, left = sample.nearest(method.context_frames)
    cuda = torch.cuda.is_initialized()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    try:
        frame = np.asarray(method.interpolate(inputs[chosen], times, left, sample.t))
    except torch.OutOfMemoryError:
        raise LiftError(
            f"{method.name} needs more GPU memory than there is on sample {sample.name} "
            f"({shape[1]}x{shape[0]}); end other programs on the GPU, or use --device cpu"
        ) from None
    row["seconds"][method.name] = time.perf_counter() - started
    if cuda:
        row["memory"][method.name] = torch.cuda.max_memory_allocated()
    if frame.shape != shape:
        raise LiftError(
            f"{method.name} returned shape {frame.shape} for sample {sample.name}; it must return "
            f"a frame of shape {shape}"
        )
    frame = frame.astype(np.float32)
    if not np.isfinite(frame).all():
        raise LiftError(f"{method.name} returned NaN or infinity for sample {sample.name}")
    return frame


def saved_path(folder: Path, method: str, sample: str) -> Path:
    """Where the frame of a method is saved."""
    return folder / method / f"{sample}.png"


def _save(path: Path, frame: np.ndarray) -> None:
    cv2 = require("cv2", "writing an image")
    with atomic(path) as part:
        part.write_bytes(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())
