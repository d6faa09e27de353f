"""Protocol `long_context`: targets that only frames beyond the nearest four can know.

Synthetic clips of four kinds (`lift.evaluation.protocols.long_context_scenes`) need no files. The
real ones are frames of the clips of protocol `real16`, prepared as there, whose list is in the
package (`lift.evaluation.protocols.long_context_select` made it).

Control: a candidate in `shuffled` gets its context beyond the references from another clip of the
same group, at the same times. Another order of the clip's own frames would not do as a control: a
hidden point is still in view in them, and noise averages as well. Context that helps for what it
shows, and not for being there, scores less with it.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np

from lift.data.clip import frames_around
from lift.errors import LiftError
from lift.evaluation.metrics import psnr, ssim
from lift.evaluation.protocols import real16
from lift.evaluation.protocols.real16 import Candidate
from lift.evaluation.target import Target
from lift.io.manifest import ManifestClip, read_manifest
from lift.io.optional import require

NAME = "long_context"
TARGETS_FILE = Path(__file__).with_name("long_context_targets.json")
SYNTHETIC = "synthetic"
FRAMES = 15
CONTEXT_FRAMES = (2, 4, 7, 15)  # of the curve
DESCRIPTION = (
    "synthetic 256x256 clips (occluder, nonlinear, noise, ambiguous), 15 frames at times -7..7, "
    "target at 0.5; real frames as in real16, chosen where an oracle gains most from 15 frames "
    "over 4; shuffled: context beyond the references from another clip; PSNR and SSIM as in real16"
)


# -- input frames ----------------------------------------------------------------------------------


def nearest_frames(target: Target, count: int) -> tuple[np.ndarray, list[float], int]:
    """The nearest `count` input frames, their times, and the position of the left reference."""
    before, after = frames_around(count)
    first, last = max(0, target.left + 1 - before), target.left + 1 + after
    return target.frames[first:last], list(target.times[first:last]), target.left - first


def with_context_of(target: Target, donor: Target) -> Target:
    """The target between its own references, with the donor's other frames, resized, at its times.

    Raises:
        LiftError: OpenCV is not installed.
    """
    cv2 = require("cv2", f"protocol {NAME}")
    height, width = target.truth.shape[:2]
    frames = target.frames.copy()
    for i in range(len(frames)):
        if i not in (target.left, target.left + 1):
            k = min(max(donor.left + i - target.left, 0), len(donor.frames) - 1)
            frames[i] = cv2.resize(donor.frames[k], (width, height), interpolation=cv2.INTER_AREA)
    return Target(frames, target.times, target.left, target.truth)


# -- scoring ---------------------------------------------------------------------------------------


def score(
    root: str | Path | None,
    candidates: dict[str, Candidate],
    split: str = "all",
    names: list[str] | None = None,
    progress: Callable[[list], Iterable] = iter,
    shuffled: dict[str, Candidate] | None = None,
) -> dict:
    """Score candidates on the synthetic clips, and on the listed frames of real ones.

    Args:
        root: folder with manifest.json and the clips of `real16`; None: no real clips.
        candidates: methods under test, by name.
        split: of the real clips, `train`, `val` or `all`.
        names: only these kinds and real clips.
        progress: wraps the list of groups, for example with a progress bar.
        shuffled: methods that see another clip's context.

    Returns:
        JSON-able: {"protocol", "description", "clips": {kind or clip: {"split", "targets",
        "scores": {method: {"psnr", "ssim", "psnr_each"}}}}, "mean": {split: {method: {"psnr",
        "ssim", "clips"}}}}; the split of a kind is `synthetic`. Means are over targets, then over
        kinds or clips.

    Raises:
        LiftError: a clip cannot be read, or a listed clip or a name is not there.
    """
    groups = select_groups(root, split, names)
    real = [group for group in groups if group.split != SYNTHETIC]
    results: dict[str, dict] = {}
    previous: list[Target] = []
    for group in progress(groups):
        targets = group.load()
        scores = {method: _score(each, targets) for method, each in candidates.items()}
        if shuffled:
            if group.split == SYNTHETIC:
                donors = targets[1:] + targets[:1]
            elif group is real[0]:
                donors = _first_donors(real)
            else:
                donors = previous
            pairs = zip(targets, cycle(donors), strict=False)
            mixed = [with_context_of(target, donor) for target, donor in pairs]
            scores |= {method: _score(each, mixed) for method, each in shuffled.items()}
        previous = targets
        results[group.name] = {"split": group.split, "targets": len(targets), "scores": scores}
    means = real16.means(results)
    del means["all"]  # over synthetic and real targets together it would mean nothing
    return {"protocol": NAME, "description": DESCRIPTION, "clips": results, "mean": means}


def _score(candidate: Candidate, targets: list[Target]) -> dict:
    generated = [
        candidate.interpolate(*nearest_frames(target, candidate.context_frames))
        for target in targets
    ]
    pairs = list(zip(generated, (target.truth for target in targets), strict=True))
    psnrs = [psnr(*pair) for pair in pairs]
    return {
        "psnr": float(np.mean(psnrs)),
        "ssim": float(np.mean([ssim(*pair) for pair in pairs])),
        "psnr_each": [round(x, 3) for x in psnrs],
    }


# -- groups of targets: a kind of synthetic clips, or a real clip ----------------------------------


@dataclass(frozen=True)
class Group:
    """Targets that are scored together.

    Attributes:
        name: of the kind or the clip.
        split: SYNTHETIC, `train` or `val`.
        load: renders or decodes the targets.
    """

    name: str
    split: str
    load: Callable[[], list[Target]]


def select_groups(
    root: str | Path | None, split: str = "all", names: list[str] | None = None
) -> list[Group]:
    """The kinds, and the clips of a folder that have listed targets; see `score`.

    Raises:
        LiftError: the folder lacks a listed clip, or a name is neither a kind nor a listed clip.
    """
    require("cv2", f"protocol {NAME}")
    from lift.evaluation.protocols import long_context_scenes as scenes  # OpenCV is optional

    groups = [Group(kind, SYNTHETIC, partial(_render, kind)) for kind in scenes.KINDS]
    if root is not None:
        clips = {clip.name: clip for clip in read_manifest(root)}
        for each in ("train", "val") if split == "all" else (split,):
            for name, targets in listed_targets(each).items():
                if name not in clips:
                    raise LiftError(
                        f"{root} has no clip named {name}, which protocol {NAME} needs; "
                        "restore it, or name the clips to score with --clips"
                    )
                groups.append(Group(name, each, partial(_decode, clips[name], targets)))
    known = [group.name for group in groups]
    if unknown := [name for name in names or () if name not in known]:
        raise LiftError(f"protocol {NAME} has no clip {unknown[0]}; it has {', '.join(known)}")
    return [group for group in groups if names is None or group.name in names]


def listed_targets(split: str) -> dict[str, list[int]]:
    """The listed targets of a split, {clip: [k]}."""
    listed: dict[str, list[int]] = {}
    for entry in json.loads(TARGETS_FILE.read_text())[split]["targets"]:
        listed.setdefault(entry["clip"], []).append(entry["target"])
    return listed


def _render(kind: str) -> list[Target]:
    from lift.evaluation.protocols import long_context_scenes as scenes

    clips = [scenes.synthetic_clip(kind, number) for number in range(scenes.PER_KIND)]
    return [Target(clip.frames, list(scenes.TIMES), scenes.LEFT, clip.target) for clip in clips]


def _decode(clip: ManifestClip, targets: list[int]) -> list[Target]:
    clip = real16.with_frame_count(clip)
    frames = real16.read_frames(clip, targets, FRAMES)
    loaded = []
    for k in targets:
        indices, times, left = real16.context_indices(k, clip.frames, clip.cuts, FRAMES)
        loaded.append(Target(np.stack([frames[i] for i in indices]), times, left, frames[k]))
    return loaded


def _first_donors(real: list[Group]) -> list[Target]:
    """Context for the control of the first real clip; the others take that of the clip before."""
    return real[-1].load() if len(real) > 1 else _render("noise")
