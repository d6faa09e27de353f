"""Scores per target frame, kept in a file so that nothing is scored twice.

A file holds {"data": ..., "weights": ..., "psnr": {method: {clip: {target: dB}}}, "ssim": ...}. It
is started anew when the clips or the weights are others.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from lift.ablation.clips import ScoringClip
from lift.ablation.scoring_set import ScoringSet
from lift.evaluation.metrics import psnr, ssim
from lift.evaluation.motion_classes import MotionStatistics, motion_statistics
from lift.evaluation.protocols import real16
from lift.files import atomic

METRICS = {"psnr": psnr, "ssim": ssim}
DIGITS = {"psnr": 4, "ssim": 6}
SHUFFLED = "_shuffled"  # end of the name of a method that sees another clip's context


class Scores:
    """Values per target in a JSON file.

    Args:
        path: the file; need not exist.
        data: fingerprint of the clips.
        weights: SHA-256 of what was scored; empty for none.

    Attributes:
        content: what the file holds.
    """

    def __init__(self, path: Path, data: str, weights: str = ""):
        self.path = path
        self.content = {"data": data, "weights": weights, "psnr": {}, "ssim": {}, "motion": {}}
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # there is none yet, or it cannot be read: it is written again
        if isinstance(stored, dict) and (stored.get("data"), stored.get("weights")) == (
            data,
            weights,
        ):
            self.content |= stored

    def save(self) -> None:
        with atomic(self.path) as part:
            part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")

    def put(self, method: str, clip: str, target: int, values: dict[str, float]) -> None:
        """Store the values of a target by metric."""
        for metric, value in values.items():
            entry = self.content[metric].setdefault(method, {}).setdefault(clip, {})
            entry[str(target)] = round(value, DIGITS[metric])

    def missing(self, method: str, clip: str, targets: list[int]) -> list[int]:
        """The targets of a clip that lack a score."""
        known = [self.content[metric].get(method, {}).get(clip, {}) for metric in METRICS]
        return [k for k in targets if not all(str(k) in each for each in known)]

    def complete(self, method: str, targets: dict[str, list[int]]) -> bool:
        """Whether a method has a score for every target."""
        return not any(self.missing(method, clip, each) for clip, each in targets.items())

    def values(
        self, method: str, targets: dict[str, list[int]], metric: str = "psnr"
    ) -> list[float]:
        """The scores of a method in the order of the clips and targets, PSNR in dB."""
        known = self.content[metric][method]
        return [known[clip][str(k)] for clip, each in targets.items() for k in each]

    def motion(self, targets: dict[str, list[int]]) -> list[MotionStatistics]:
        """The motion statistics in the order of the clips and targets."""
        known = self.content["motion"]
        return [
            MotionStatistics(**known[clip][str(k)]) for clip, each in targets.items() for k in each
        ]


def score(
    scores: Scores,
    candidates: dict[str, real16.Candidate],
    scoring_set: ScoringSet,
    stopped: Callable[[], bool],
) -> bool:
    """Score methods on the targets that have no score yet, one clip after another.

    Args:
        scores: filled in, and saved after every clip.
        candidates: methods by name; one whose name ends with SHUFFLED sees another clip's context.
        scoring_set: the targets.
        stopped: called before every target; scoring ends if it returns True.

    Returns:
        Whether all targets have scores.

    Raises:
        LiftError: a clip cannot be read.
    """
    for clip in scoring_set.clips:
        targets = scoring_set.targets[clip.name]
        missing = [(m, k) for m in candidates for k in scores.missing(m, clip.name, targets)]
        try:
            for method, k in missing:
                if stopped():
                    return False
                candidate = candidates[method]
                is_shuffled = method.endswith(SHUFFLED)
                read = scoring_set.shuffled_target if is_shuffled else scoring_set.target
                target = read(clip, k, candidate.context_frames)
                generated = candidate.interpolate(target.frames, target.times, target.left)
                values = {name: each(generated, target.truth) for name, each in METRICS.items()}
                scores.put(method, clip.name, k, values)
        finally:
            if missing:
                scores.save()
    return True


def measure_motion(scores: Scores, scoring_set: ScoringSet, stopped: Callable[[], bool]) -> bool:
    """The motion statistics of all targets that have none yet; as `score`."""
    for clip in scoring_set.clips:
        entry = scores.content["motion"].setdefault(clip.name, {})
        missing = [k for k in scoring_set.targets[clip.name] if str(k) not in entry]
        try:
            for k in missing:
                if stopped():
                    return False
                entry[str(k)] = asdict(_motion(scoring_set, clip, k))
        finally:
            if missing:
                scores.save()
    return True


def _motion(scoring_set: ScoringSet, clip: ScoringClip, k: int) -> MotionStatistics:
    """Of one target, with the input frames beside its references where the shot has them."""
    target = scoring_set.target(clip, k, context_frames=4)
    frames, left = target.frames, target.left
    return motion_statistics(
        frames[left],
        frames[left + 1],
        frames[left - 1] if left else None,
        frames[left + 2] if len(frames) > left + 2 else None,
    )
