"""Protocol `small`: twenty frames of each real clip, made from the neighbours that dropping every
second frame leaves.

Frames are RGB, area-resized to cover 448 × 256 (256 × 448 if tall), never enlarged, then
centre-cropped to at most that size with both sides multiples of 32. Target k is made from k - 1 and
k + 1; a model with more context also sees k ± 3, k ± 5, ..., as far as the shot goes. Scores are
the PSNR and SSIM of `metrics`, the mean over the targets, then over the clips. The clips and what
is known about them (cuts, duplicate frames, split) are listed in `manifest.json` beside them.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lift.data.clip import Clip
from lift.errors import LiftError
from lift.evaluation import baselines
from lift.evaluation.metrics import psnr, ssim, to_uint8
from lift.evaluation.opencv import opencv
from lift.io.decode import open_frames

LONG, SHORT, MULTIPLE = 448, 256, 32
TARGETS = 20
LEFT_FRAMES, RIGHT_FRAMES = 8, 7  # of fifteen, counting the references
DESCRIPTION = (
    "20 targets a clip, frame k from k-1 and k+1 (context: k±3, k±5, ... within the shot); RGB area-resized to cover 448x256, "
    "centre-cropped to multiples of 32; PSNR of 8-bit frames with the MSE floored at 0.01; SSIM Gaussian sigma 1.5, "
    "population variance, channel mean"
)


# -- the clips -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RealClip:
    """A clip of the manifest. `cuts`: first frame of each new shot. `duplicates`: frames equal to
    the one before. Both 0-based.
    """

    name: str
    path: Path
    frames: int
    split: str
    cuts: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()


def read_manifest(root: str | Path) -> list[RealClip]:
    """The clips of a folder, in the manifest's order.

    Raises:
        LiftError: the folder has no manifest.json, or it is not the manifest of a set of clips.
    """
    path = Path(root) / "manifest.json"
    try:
        entries = json.loads(path.read_text())["clips"]
        return [
            RealClip(
                e["name"],
                path.parent / e["file"],
                e["frames"],
                e["split"],
                tuple(e["cuts"]),
                tuple(e["duplicate_frames"]),
            )
            for e in entries
        ]
    except FileNotFoundError:
        raise LiftError(
            f"{path} is missing: protocol small needs a folder of clips with their manifest"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise LiftError(
            f"{path} is not a manifest of clips ({type(error).__name__}: {error}); restore the original"
        ) from None


def select(
    clips: list[RealClip], split: str = "all", names: list[str] | None = None
) -> list[RealClip]:
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
        )
    return chosen


# -- the protocol's rules --------------------------------------------------------------------------


def prepare(frame: np.ndarray) -> np.ndarray:
    """Resize and crop a frame (H, W, 3) uint8 to the protocol's size, at most 448 × 256 or 256 ×
    448.

    Raises:
        LiftError: OpenCV is not installed, or a side is shorter than 32 pixels.
    """
    cv2 = opencv("protocol small")
    height, width = frame.shape[:2]
    cover_height, cover_width = (SHORT, LONG) if width >= height else (LONG, SHORT)
    scale = max(cover_width / width, cover_height / height)
    if scale < 1:
        height, width = round(height * scale), round(width * scale)
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    kept_height = min(height, cover_height) // MULTIPLE * MULTIPLE
    kept_width = min(width, cover_width) // MULTIPLE * MULTIPLE
    if not kept_height or not kept_width:
        raise LiftError(
            f"protocol small needs frames of at least {MULTIPLE} pixels a side, got {height}x{width}"
        )
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return np.ascontiguousarray(frame[top : top + kept_height, left : left + kept_width])


def choose_targets(
    frames: int, cuts: tuple[int, ...] = (), duplicates: tuple[int, ...] = (), count: int = TARGETS
) -> list[int]:
    """Targets spread evenly over the frames whose neighbourhood is whole.

    A frame k can be a target when k - 2 ... k + 2 lie in the clip and none of the steps between
    them is a cut or a repetition. Of these, the inner `count` of `count + 2` evenly spaced ones are
    taken.

    Raises:
        ValueError: fewer than `count` frames can be targets.
    """
    broken = set(cuts) | set(duplicates)
    valid = [k for k in range(2, frames - 2) if broken.isdisjoint(range(k - 1, k + 3))]
    if len(valid) < count:
        raise ValueError(
            f"choose_targets: {count} targets asked for, but only {len(valid)} of {frames} frames can be one"
        )
    places = np.linspace(0, len(valid) - 1, count + 2)[1:-1]
    return [valid[int(round(place))] for place in places]


def context_of(
    target: int, frames: int, cuts: tuple[int, ...] = (), context: int = 15
) -> tuple[list[int], list[float], int]:
    """The input frames for a target: its two neighbours and every second frame beyond, within the
    shot.

    Args:
        target: index of the frame to be made.
        frames: length of the clip.
        cuts: first frame of each new shot.
        context: input frames wanted, references included; 15 is eight on the left and seven on the
            right. Fewer come back near an end.

    Returns:
        indices (ascending), their times in the unit of the references' gap (the neighbours at 0 and
        1), and the left reference's place.

    Raises:
        ValueError: fewer than two frames wanted, or a neighbour is missing.
    """
    if context < 2:
        raise ValueError(f"context_of: context must be at least 2, got {context}")
    if not 1 <= target < frames - 1:
        raise ValueError(
            f"context_of: target {target} has no neighbour on one side of a clip of {frames} frames"
        )
    first = max((c for c in cuts if c < target), default=0)
    last = min((c for c in cuts if c > target), default=frames) - 1
    left = [k for k in range(target - 1, first - 1, -2)][: (context + 1) // 2] or [target - 1]
    right = [k for k in range(target + 1, last + 1, 2)][: context // 2] or [target + 1]
    indices = left[::-1] + right
    return indices, [(k - (target - 1)) / 2 for k in indices], len(left) - 1


# -- what is scored --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A method under test.

    Attributes:
        context: input frames it wants.
        make: (frames (T, H, W, 3) uint8, times, left) -> the frame at t = 0.5, (H, W, 3) uint8.
    """

    context: int
    make: Callable[[np.ndarray, list[float], int], np.ndarray]


def pair_candidate(method: baselines.Method) -> Candidate:
    """A method that looks at the two references only."""
    return Candidate(2, lambda frames, times, left: method(frames[left], frames[left + 1], 0.5))


def candidate(method: str) -> Candidate:
    """A baseline by name: one of `baselines.METHODS`, or `dis_cubic`."""
    return (
        Candidate(4, baselines.dis_cubic)
        if method == "dis_cubic"
        else pair_candidate(baselines.METHODS[method])
    )


BASELINES = (*baselines.METHODS, "dis_cubic")


def clip_of(
    frames: np.ndarray, times: list[float], left: int, device: torch.device | None = None
) -> Clip:
    """Frames (T, H, W, 3) uint8 and their times as a batch of one."""
    images = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2)[None].float() / 255
    when = torch.tensor([times], device=device)
    return Clip(images, when, torch.ones_like(when, dtype=torch.bool), left)


def model_candidate(model: torch.nn.Module, context: int = 15) -> Candidate:
    """A LIFT model (or anything called like one) with up to `context` input frames, on the device
    of its parameters.
    """
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def make(frames: np.ndarray, times: list[float], left: int) -> np.ndarray:
        return to_uint8(
            model(clip_of(frames, times, left, device), torch.tensor([0.5], device=device)).frame[0]
        )

    return Candidate(context, make)


# -- scoring ---------------------------------------------------------------------------------------


def score_clip(clip: RealClip, candidates: dict[str, Candidate]) -> dict:
    """Score every candidate on a clip, which is decoded once.

    Returns:
        {"split", "size": [W, H], "targets": [k], "scores": {name: {"psnr", "ssim", "psnr_each":
        [...]}}}; PSNR in dB.

    Raises:
        LiftError: the clip cannot be read, or ends before its last frame.
    """
    targets = choose_targets(clip.frames, clip.cuts, clip.duplicates)
    frames = read_frames(clip, targets, max(candidate.context for candidate in candidates.values()))
    scores = {
        name: _score_targets(candidate, frames, targets, clip)
        for name, candidate in candidates.items()
    }
    height, width = frames[targets[0]].shape[:2]
    return {"split": clip.split, "size": [width, height], "targets": targets, "scores": scores}


def read_frames(clip: RealClip, targets: list[int], context: int) -> dict[int, np.ndarray]:
    """The targets and the context frames of each, by index, prepared: {k: (H, W, 3) uint8}.

    Raises:
        LiftError: the clip cannot be read, or ends before its last frame.
    """
    needed = set(targets).union(
        *(context_of(k, clip.frames, clip.cuts, context)[0] for k in targets)
    )
    frames = {
        i: prepare(frame) for i, frame in enumerate(open_frames(clip.path).frames()) if i in needed
    }
    if missing := needed - frames.keys():
        raise LiftError(
            f"{clip.path} ends before frame {max(missing)}, although the manifest gives it {clip.frames}; copy it again"
        )
    return frames


def _score_targets(
    candidate: Candidate, frames: dict[int, np.ndarray], targets: list[int], clip: RealClip
) -> dict:
    each = []
    for target in targets:
        indices, times, left = context_of(target, clip.frames, clip.cuts, candidate.context)
        made = candidate.make(np.stack([frames[i] for i in indices]), times, left)
        each.append((psnr(made, frames[target]), ssim(made, frames[target])))
    decibels, similarities = zip(*each, strict=True)
    return {
        "psnr": float(np.mean(decibels)),
        "ssim": float(np.mean(similarities)),
        "psnr_each": [round(x, 3) for x in decibels],
    }


def score(
    root: str | Path,
    candidates: dict[str, Candidate],
    split: str = "all",
    names: list[str] | None = None,
    progress: Callable[[list[RealClip]], Iterable[RealClip]] = iter,
) -> dict:
    """Score candidates on the clips of a folder.

    Args:
        root: folder with manifest.json and the clips.
        candidates: what to score, by name.
        split: `train`, `val` or `all`.
        names: only these clips.
        progress: wraps the list of clips, e.g. with a bar.

    Returns:
        JSON-able: {"protocol", "description", "clips": {name: as `score_clip`}, "mean": {split:
            {method: {"psnr", "ssim", "clips"}}}};
        "mean" has an entry for each split that was scored, and `all`.
    """
    results = {
        clip.name: score_clip(clip, candidates)
        for clip in progress(select(read_manifest(root), split, names))
    }
    return {
        "protocol": "small",
        "description": DESCRIPTION,
        "clips": results,
        "mean": means(results),
    }


def means(results: dict[str, dict]) -> dict:
    """Mean over the clips, for each split present and for all of them together."""
    groups = {"all": list(results.values())}
    for entry in results.values():
        groups.setdefault(entry["split"], []).append(entry)
    methods = list(next(iter(results.values()))["scores"])
    return {
        group: {
            m: {
                "psnr": float(np.mean([e["scores"][m]["psnr"] for e in entries])),
                "ssim": float(np.mean([e["scores"][m]["ssim"] for e in entries])),
                "clips": len(entries),
            }
            for m in methods
        }
        for group, entries in groups.items()
    }
