"""Real clips: PSNR by class of motion, and with noise added to the input frames.

Targets and their input frames are those of protocol `real16`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from lift.data.clip import frames_around
from lift.evaluation.metrics import psnr
from lift.evaluation.motion_classes import (
    CLASSES,
    MotionStatistics,
    classify,
    motion_statistics,
)
from lift.evaluation.protocols import real16
from lift.evaluation.protocols.real16 import Candidate
from lift.evaluation.target import ScoredFrame, Target
from lift.io.manifest import ManifestClip, read_manifest

CONTEXT_FRAMES = 15
LIFT = f"lift_{CONTEXT_FRAMES}"
MOTION_METHODS = (LIFT, "dis", "dis_cubic")
NOISE_METHODS = (LIFT, "dis", "average")
NOISE_LEVELS = (0, 2, 5, 10)  # standard deviation, of 255
NONE, ALL = "none of these", "all"

Progress = Callable[[list[ManifestClip]], Iterable[ManifestClip]]


def by_motion(
    model: torch.nn.Module, root: str | Path, split: str, count: int, progress: Progress = iter
) -> dict:
    """PSNR of each target with its classes of motion, JSON-able.

    Args:
        model: a LIFT model.
        root: folder with manifest.json and the clips.
        split: `train`, `val` or `all`.
        count: targets per clip, at most those of the protocol, evenly spread over them.
        progress: wraps the list of clips.

    Returns:
        {"targets": [{"clip", "frame", "classes", "psnr": {method: dB}}, ...], "classes": means as
        `class_means` gives them}.

    Raises:
        LiftError: the manifest or a clip cannot be read, or a clip is too short.
    """
    candidates = _candidates(model, MOTION_METHODS)
    rows = []
    for clip in progress(real16.select_clips(read_manifest(root), split)):
        for k, target in _targets(clip, count):
            rows.append(
                {
                    "clip": clip.name,
                    "frame": k,
                    "classes": list(classify(_motion(target))),
                    "psnr": {
                        name: round(_score(candidate, target), 4)
                        for name, candidate in candidates.items()
                    },
                }
            )
    return {"targets": rows, "classes": class_means(rows)}


def class_means(rows: list[dict]) -> dict[str, dict]:
    """By class, for targets of none and for all: number of targets and clips, and mean PSNR.

    Classes overlap. A class without targets is left out.
    """
    members = {name: [row for row in rows if name in row["classes"]] for name in CLASSES}
    members |= {NONE: [row for row in rows if not row["classes"]], ALL: rows}
    return {
        name: {
            "targets": len(chosen),
            "clips": len({row["clip"] for row in chosen}),
            "psnr": {m: float(np.mean([row["psnr"][m] for row in chosen])) for m in MOTION_METHODS},
        }
        for name, chosen in members.items()
        if chosen
    }


def scored_frames(rows: list[dict]) -> list[ScoredFrame]:
    """The targets of `by_motion` with the PSNR of LIFT and of DIS."""
    return [
        ScoredFrame(row["clip"], row["frame"], row["psnr"][LIFT], row["psnr"]["dis"])
        for row in rows
    ]


def by_noise(
    model: torch.nn.Module, root: str | Path, split: str, count: int, progress: Progress = iter
) -> dict:
    """Mean PSNR against the clean truth with Gaussian noise on all input frames, JSON-able.

    Noisy frames are rounded to 8 bits. The noise is the same in every run and for every method.

    Args:
        model, root, split, count, progress: as `by_motion` takes them.

    Returns:
        {"targets": their number, "levels": [{"sigma": of 255, "psnr": {method: dB}}, ...]}.

    Raises:
        LiftError: as `by_motion`.
    """
    candidates = _candidates(model, NOISE_METHODS)
    scores = {sigma: {name: [] for name in candidates} for sigma in NOISE_LEVELS}
    for number, clip in enumerate(progress(real16.select_clips(read_manifest(root), split))):
        for k, target in _targets(clip, count):
            for sigma, found in scores.items():
                frames = noisy(target.frames, sigma, (number, k))
                for name, candidate in candidates.items():
                    changed = Target(frames, target.times, target.left, target.truth)
                    found[name].append(_score(candidate, changed))
    return {
        "targets": len(scores[0][LIFT]),
        "levels": [
            {"sigma": sigma, "psnr": {name: float(np.mean(each)) for name, each in found.items()}}
            for sigma, found in scores.items()
        ],
    }


def noisy(frames: np.ndarray, sigma: float, seed: tuple[int, ...]) -> np.ndarray:
    """Frames with Gaussian noise, rounded and clipped to 8 bits.

    Args:
        frames: (T, H, W, 3) uint8.
        sigma: standard deviation, of 255; 0 returns the frames.
        seed: of the noise, whose pattern does not depend on sigma.
    """
    if not sigma:
        return frames
    noise = np.random.default_rng(seed).standard_normal(frames.shape, np.float32)
    return np.clip(np.rint(frames + np.float32(sigma) * noise), 0, 255).astype(np.uint8)


def _candidates(model: torch.nn.Module, names: tuple[str, ...]) -> dict[str, Candidate]:
    baselines = {name: real16.baseline_candidate(name) for name in names if name != LIFT}
    return {LIFT: real16.model_candidate(model, CONTEXT_FRAMES), **baselines}


def _targets(clip: ManifestClip, count: int) -> Iterable[tuple[int, Target]]:
    """Some targets of a clip with their index, each with all its input frames."""
    clip = real16.with_frame_count(clip)
    chosen = thinned(real16.targets_of(clip), count)
    frames = real16.read_frames(clip, chosen, CONTEXT_FRAMES)
    for k in chosen:
        indices, times, left = real16.context_indices(k, clip.frames, clip.cuts, CONTEXT_FRAMES)
        yield k, Target(np.stack([frames[i] for i in indices]), times, left, frames[k])


def thinned(items: list[int], count: int) -> list[int]:
    """`count` of the items, each from the middle of its share of them; all if there are fewer."""
    if count >= len(items):
        return items
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def _motion(target: Target) -> MotionStatistics:
    """Of one target, with the frames beside its references where the shot has them."""
    frames, left = target.frames, target.left
    return motion_statistics(
        frames[left],
        frames[left + 1],
        frames[left - 1] if left else None,
        frames[left + 2] if len(frames) > left + 2 else None,
    )


def _score(candidate: Candidate, target: Target) -> float:
    """PSNR of a method on a target, with as many of its frames as the method reads."""
    before, after = frames_around(candidate.context_frames)
    first = max(0, target.left - before + 1)
    last = target.left + 1 + after
    frames, times = target.frames[first:last], target.times[first:last]
    return psnr(candidate.interpolate(frames, times, target.left - first), target.truth)
