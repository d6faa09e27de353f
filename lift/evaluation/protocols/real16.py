"""Protocol `real16`: twenty frames of each real clip, interpolated with every second frame dropped.

Frames are RGB, area-resized to cover 448 × 256 (256 × 448 if tall), never enlarged, then
centre-cropped to at most that size with both sides multiples of 32. Target k is interpolated from
k - 1 and k + 1; a model with more context also sees k ± 3, k ± 5, ... within the shot. Scores
are the PSNR and SSIM of `lift.evaluation.metrics`, the mean over the targets, then over the clips.
The clips, with their cuts, duplicate frames and split, are listed in `manifest.json` beside them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lift.data.clip import Clip, frames_around
from lift.errors import LiftError
from lift.evaluation import baselines
from lift.evaluation.metrics import psnr, ssim, to_uint8
from lift.evaluation.samples import Frame, Sample, TestSet
from lift.evaluation.target import ScoredFrame, Target
from lift.io.decode import open_frames
from lift.io.frame_folder import FrameFolder
from lift.io.manifest import ManifestClip, read_manifest
from lift.io.optional import require
from lift.io.video_index import IndexedVideo

NAME = "real16"
LONG_SIDE, SHORT_SIDE, MULTIPLE = 448, 256, 32
TARGETS = 20
DESCRIPTION = (
    "20 targets a clip, frame k from k-1 and k+1 (context: k±3, k±5, ... within the shot); "
    "RGB area-resized to cover 448x256, centre-cropped to multiples of 32; "
    "PSNR of 8-bit frames with the MSE floored at 0.01; "
    "SSIM Gaussian sigma 1.5, population variance, channel mean"
)


# -- the clips -------------------------------------------------------------------------------------


def select_clips(
    clips: list[ManifestClip], split: str = "all", names: list[str] | None = None
) -> list[ManifestClip]:
    """The clips of one split (`train`, `val` or `all`), or those named.

    Raises:
        LiftError: a name or the split is not in the manifest.
    """
    known = {clip.name for clip in clips}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise LiftError(
            f"no clip named {unknown[0]} in the manifest; it has {', '.join(sorted(known))}"
        )
    chosen = [c for c in clips if (names is None or c.name in names) and split in ("all", c.split)]
    if not chosen:
        raise LiftError(
            f"no clip is left with split {split}"
            + (f" and clips {','.join(names)}" if names else "")
            + f" of the {len(clips)} clips in the manifest"
        )
    return chosen


def with_frame_count(clip: ManifestClip) -> ManifestClip:
    """The clip with its number of frames, counted where the manifest does not state it.

    Raises:
        LiftError: the clip cannot be read.
    """
    if clip.frames is not None:
        return clip
    opened = FrameFolder(clip.path) if clip.path.is_dir() else IndexedVideo(clip.path)
    return replace(clip, frames=len(opened))


# -- the protocol's rules --------------------------------------------------------------------------


def prepare(frame: np.ndarray) -> np.ndarray:
    """Resize and crop a frame to the protocol's size.

    Args:
        frame: (H, W, 3) uint8.

    Returns:
        (h, w, 3) uint8, at most 448 × 256 or 256 × 448, multiples of 32.

    Raises:
        LiftError: OpenCV is not installed, or a side is shorter than 32 pixels.
    """
    cv2 = require("cv2", f"protocol {NAME}")
    height, width = frame.shape[:2]
    sides = (SHORT_SIDE, LONG_SIDE) if width >= height else (LONG_SIDE, SHORT_SIDE)
    scale = max(sides[0] / height, sides[1] / width)
    if scale < 1:
        height, width = round(height * scale), round(width * scale)
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    crop_height = min(height, sides[0]) // MULTIPLE * MULTIPLE
    crop_width = min(width, sides[1]) // MULTIPLE * MULTIPLE
    if not crop_height or not crop_width:
        raise LiftError(
            f"protocol {NAME} needs frames of at least {MULTIPLE} pixels a side, "
            f"got {height}x{width}"
        )
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return np.ascontiguousarray(frame[top : top + crop_height, left : left + crop_width])


def valid_targets(
    frames: int, cuts: tuple[int, ...] = (), duplicates: tuple[int, ...] = ()
) -> list[int]:
    """Indices of the frames that can be targets.

    Frame k can be one when k - 2 ... k + 2 lie in the clip and none of the steps between them is a
    cut or a duplicate.
    """
    broken = set(cuts) | set(duplicates)
    return [k for k in range(2, frames - 2) if broken.isdisjoint(range(k - 1, k + 3))]


def choose_targets(
    frames: int, cuts: tuple[int, ...] = (), duplicates: tuple[int, ...] = (), count: int = TARGETS
) -> list[int]:
    """Indices of the target frames, evenly spread over the frames that can be targets.

    Of the `valid_targets`, `count + 2` evenly spaced ones without the two outer ones.

    Raises:
        ValueError: fewer than `count` frames can be targets.
    """
    valid = valid_targets(frames, cuts, duplicates)
    if len(valid) < count:
        raise ValueError(
            f"{count} targets are needed, but only {len(valid)} of {frames} frames can be one"
        )
    positions = np.linspace(0, len(valid) - 1, count + 2)[1:-1]
    return [valid[int(round(position))] for position in positions]


def targets_of(clip: ManifestClip) -> list[int]:
    """The targets of a clip with its number of frames.

    Raises:
        LiftError: it is too short.
    """
    try:
        return choose_targets(clip.frames, clip.cuts, clip.duplicates)
    except ValueError as error:
        raise LiftError(
            f"{clip.path} is too short for protocol {NAME} ({error}); leave it out with --clips, "
            "or use --protocol frames"
        ) from None


def context_indices(
    target: int, frames: int, cuts: tuple[int, ...] = (), context_frames: int = 15
) -> tuple[list[int], list[float], int]:
    """The input frames for a target: its neighbours and every second frame beyond, within the shot.

    Args:
        target: index of the frame to interpolate.
        frames: length of the clip.
        cuts: first frame of each new shot.
        context_frames: number of input frames with the references; 15 is eight on the left and
            seven on the right. Near an end there are fewer.

    Returns:
        indices (ascending), their times in units of the reference interval (the references at 0
        and 1), and the position of the left reference.

    Raises:
        ValueError: context_frames is less than two, or a neighbour is missing.
    """
    if context_frames < 2:
        raise ValueError(
            f"context_indices: context_frames must be at least 2, got {context_frames}"
        )
    if not 1 <= target < frames - 1:
        raise ValueError(
            f"context_indices: target {target} has no neighbour on one side "
            f"of a clip of {frames} frames"
        )
    first = max((c for c in cuts if c < target), default=0)
    last = min((c for c in cuts if c > target), default=frames) - 1
    before, after = frames_around(context_frames)
    left = list(range(target - 1, first - 1, -2))[:before] or [target - 1]
    right = list(range(target + 1, last + 1, 2))[:after] or [target + 1]
    indices = left[::-1] + right
    return indices, [(k - (target - 1)) / 2 for k in indices], len(left) - 1


# -- methods under test ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A method under test.

    Attributes:
        context_frames: number of input frames.
        interpolate: (frames (T, H, W, 3) uint8, times, left) -> the frame at t = 0.5, (H, W, 3)
            uint8.
    """

    context_frames: int
    interpolate: Callable[[np.ndarray, list[float], int], np.ndarray]


BASELINES = (*baselines.METHODS, *baselines.PATH_METHODS)
PATH_FRAMES = baselines.PATH_FRAMES


def baseline_candidate(name: str) -> Candidate:
    """A baseline by name, one of BASELINES."""
    if name in baselines.PATH_METHODS:
        return Candidate(PATH_FRAMES[name], baselines.PATH_METHODS[name])
    return two_frame_candidate(baselines.METHODS[name])


def two_frame_candidate(method: baselines.Method) -> Candidate:
    """A method that uses the two references only."""
    return Candidate(2, lambda frames, times, left: method(frames[left], frames[left + 1], 0.5))


def model_candidate(model: torch.nn.Module, context_frames: int = 15) -> Candidate:
    """A LIFT model, or anything with its interface, on the device of its parameters."""
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def interpolate(frames: np.ndarray, times: list[float], left: int) -> np.ndarray:
        clip = as_clip(frames, times, left, device)
        return to_uint8(model(clip, torch.tensor([0.5], device=device)).frame[0])

    return Candidate(context_frames, interpolate)


def as_clip(
    frames: np.ndarray, times: list[float], left: int, device: torch.device | None = None
) -> Clip:
    """Frames (T, H, W, 3) uint8 and their times as a batch of one."""
    images = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2)[None].float() / 255
    batched_times = torch.tensor([times], device=device)
    mask = torch.ones_like(batched_times, dtype=torch.bool)
    return Clip(images, batched_times, mask, left)


# -- scoring ---------------------------------------------------------------------------------------


def score(
    root: str | Path,
    candidates: dict[str, Candidate],
    split: str = "all",
    names: list[str] | None = None,
    progress: Callable[[list[ManifestClip]], Iterable[ManifestClip]] = iter,
) -> dict:
    """Score candidates on the clips of a folder.

    Args:
        root: folder with manifest.json and the clips.
        candidates: methods under test, by name.
        split: `train`, `val` or `all`.
        names: only these clips.
        progress: wraps the list of clips, for example with a progress bar.

    Returns:
        JSON-able: {"protocol", "description", "clips": {name: as `score_clip`},
        "mean": {split: {method: {"psnr", "ssim", "clips"}}}}; "mean" has an entry for each split
        that was scored, and `all`.

    Raises:
        LiftError: the manifest or a clip cannot be read, or a clip is too short.
    """
    clips = select_clips(read_manifest(root), split, names)
    results = {clip.name: score_clip(clip, candidates) for clip in progress(clips)}
    return {
        "protocol": NAME,
        "description": DESCRIPTION,
        "clips": results,
        "mean": means(results),
    }


def score_clip(clip: ManifestClip, candidates: dict[str, Candidate]) -> dict:
    """Score every candidate on a clip, which is decoded once.

    Returns:
        {"split", "size": [W, H], "targets": [k], "scores": {name: {"psnr", "ssim",
        "psnr_each": [...]}}}; PSNR in dB.

    Raises:
        LiftError: the clip cannot be read, is too short, or ends before its last frame.
    """
    clip = with_frame_count(clip)
    targets = targets_of(clip)
    frames = read_frames(clip, targets, max(each.context_frames for each in candidates.values()))
    scores = {
        name: _score_targets(candidate, frames, targets, clip)
        for name, candidate in candidates.items()
    }
    height, width = frames[targets[0]].shape[:2]
    return {"split": clip.split, "size": [width, height], "targets": targets, "scores": scores}


def read_frames(
    clip: ManifestClip, targets: list[int], context_frames: int
) -> dict[int, np.ndarray]:
    """The targets and their context frames by index, prepared: {k: (H, W, 3) uint8}.

    Raises:
        LiftError: the clip cannot be read, or ends before its last frame.
    """
    needed = set(targets)
    for k in targets:
        needed.update(context_indices(k, clip.frames, clip.cuts, context_frames)[0])
    frames = {}
    for i, frame in enumerate(open_frames(clip.path).frames()):
        if i in needed:
            frames[i] = prepare(frame)
    if missing := needed - frames.keys():
        raise LiftError(
            f"{clip.path} ends before frame {max(missing)}, although the manifest states "
            f"{clip.frames} frames; copy it again"
        )
    return frames


def _score_targets(
    candidate: Candidate, frames: dict[int, np.ndarray], targets: list[int], clip: ManifestClip
) -> dict:
    psnrs, ssims = [], []
    for target in targets:
        indices, times, left = context_indices(
            target, clip.frames, clip.cuts, candidate.context_frames
        )
        generated = candidate.interpolate(np.stack([frames[i] for i in indices]), times, left)
        psnrs.append(psnr(generated, frames[target]))
        ssims.append(ssim(generated, frames[target]))
    return _clip_scores(psnrs, ssims)


def _clip_scores(psnrs: list[float], ssims: list[float]) -> dict:
    return {
        "psnr": float(np.mean(psnrs)),
        "ssim": float(np.mean(ssims)),
        "psnr_each": [round(x, 3) for x in psnrs],
    }


def means(results: dict[str, dict]) -> dict:
    """Mean over the clips, for each split and for all of them together."""
    groups = {"all": list(results.values())}
    for entry in results.values():
        if entry["split"] is not None:
            groups.setdefault(entry["split"], []).append(entry)
    methods = list(next(iter(results.values()))["scores"])
    return {
        group: {method: _mean_scores(entries, method) for method in methods}
        for group, entries in groups.items()
    }


def _mean_scores(entries: list[dict], method: str) -> dict:
    scores = [entry["scores"][method] for entry in entries]
    return {
        "psnr": float(np.mean([score["psnr"] for score in scores])),
        "ssim": float(np.mean([score["ssim"] for score in scores])),
        "clips": len(entries),
    }


# -- as a test set ---------------------------------------------------------------------------------


def find(
    root: Path, count: int, split: str = "all", names: list[str] | None = None
) -> list[Sample]:
    """The targets of the clips of a split, or of those named; groups are the clips.

    Raises:
        LiftError: the manifest or a clip cannot be read, or a clip is too short.
    """
    samples = []
    for clip in select_clips(read_manifest(root), split, names):
        clip = with_frame_count(clip)
        files = FrameFolder(clip.path).files if clip.path.is_dir() else None
        for k in targets_of(clip):
            indices, times, left = context_indices(k, clip.frames, clip.cuts, count)
            frames = [Frame(files[i]) if files else Frame(clip.path, i) for i in (*indices, k)]
            samples.append(
                Sample(
                    name=f"{clip.name}/{k:06d}",
                    group=clip.name,
                    inputs=tuple(frames[:-1]),
                    times=tuple(times),
                    left=left,
                    truth=frames[-1],
                    split=clip.split or "",
                )
            )
    return samples


def _prepare_of_test_set(frame: np.ndarray) -> np.ndarray:
    try:
        return prepare(frame)
    except LiftError as error:
        raise LiftError(f"cannot be prepared: {error}") from None


REAL16 = TestSet(
    name=NAME,
    description=DESCRIPTION,
    find=find,
    prepare=_prepare_of_test_set,
    context_frames=None,
    layout='manifest.json, {"clips": [{"file": "a.mp4"}, ...]}, and its videos or frame folders',
)


def by_clip(samples: list[Sample], rows: dict[str, dict]) -> dict:
    """Scores by clip, as `score` returns them, from the rows of an evaluation.

    Args:
        samples: what `find` returns, or some of them.
        rows: by the name of the sample; see `lift.evaluation.scoring.score_sample`.
    """
    results = {}
    for name in dict.fromkeys(sample.group for sample in samples):
        members = [sample for sample in samples if sample.group == name]
        scored = [rows[sample.name] for sample in members]
        each = {method: [row["scores"][method] for row in scored] for method in scored[0]["scores"]}
        results[name] = {
            "split": members[0].split or None,
            "size": scored[0]["size"],
            "targets": [int(sample.name.rpartition("/")[2]) for sample in members],
            "scores": {
                method: _clip_scores([s["psnr"] for s in rows_], [s["ssim"] for s in rows_])
                for method, rows_ in each.items()
            },
        }
    return {"clips": results, "mean": means(results)}


# -- single frames ---------------------------------------------------------------------------------


def scored_frames(result: dict, method: str, baseline: str) -> list[ScoredFrame]:
    """The recorded PSNR of every target by a method and a baseline."""
    frames = []
    for name, entry in result["clips"].items():
        each = (entry["scores"][m]["psnr_each"] for m in (method, baseline))
        frames += [ScoredFrame(name, *row) for row in zip(entry["targets"], *each, strict=True)]
    return frames


def target(root: str | Path, name: str, k: int, context_frames: int = 15) -> Target:
    """Frame k of a clip with its input frames.

    Raises:
        LiftError: the manifest or the clip cannot be read.
    """
    clip = with_frame_count(select_clips(read_manifest(root), names=[name])[0])
    indices, times, left = context_indices(k, clip.frames, clip.cuts, context_frames)
    frames = read_frames(clip, [k], context_frames)
    return Target(np.stack([frames[i] for i in indices]), times, left, frames[k])
