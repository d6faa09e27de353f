"""Scores per target frame, kept in a file so that nothing is scored twice.

A file holds {"data": ..., "weights": ..., "psnr": {method: {clip: {target: dB}}}}. It is started
anew when the clips or the weights are others.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lift.data.frame_cache import CachedSequence
from lift.errors import LiftError
from lift.evaluation.metrics import psnr
from lift.evaluation.motion_classes import MotionStatistics, motion_statistics
from lift.evaluation.prepared import prepared_frames
from lift.evaluation.protocols import real16
from lift.files import atomic
from lift.io.manifest import ManifestClip, read_manifest

DIGITS = 4  # of a PSNR in dB


@dataclass
class ScoringSet:
    """The target frames that every method is scored on.

    Attributes:
        clips: with their numbers of frames.
        targets: indices of the target frames of each clip, by name.
        frame_cache: folder of the prepared frames.
        fingerprint: of the clips; scores of one set hold for any other with the same.
    """

    clips: list[ManifestClip]
    targets: dict[str, list[int]]
    frame_cache: Path
    fingerprint: str
    _opened: dict[str, CachedSequence] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, root: str | Path, split: str, targets: int, frame_cache: str | Path
    ) -> "ScoringSet":
        """The targets of protocol `real16` in a folder of clips.

        Args:
            root: folder with manifest.json and the clips.
            split: the clips of this split.
            targets: per clip, evenly spaced ones of the protocol's twenty.
            frame_cache: folder of the prepared frames; created.

        Raises:
            LiftError: the manifest cannot be read, or a clip is too short.
        """
        clips = real16.select_clips(read_manifest(root), split)
        clips = [real16.with_frame_count(clip) for clip in clips]
        picks = ((np.arange(targets) + 0.5) * real16.TARGETS / targets).astype(int)
        chosen, identity = {}, []
        for clip in clips:
            try:
                every = real16.choose_targets(clip.frames, clip.cuts, clip.duplicates)
            except ValueError as error:
                raise LiftError(
                    f"{clip.path} is too short for protocol {real16.NAME} ({error}); "
                    "take it off the manifest or put it into another split"
                ) from None
            chosen[clip.name] = [every[i] for i in picks]
            identity.append([clip.name, clip.frames, clip.cuts, clip.duplicates, _size(clip.path)])
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        return cls(clips, chosen, Path(frame_cache), digest)

    def frames(self, clip: ManifestClip) -> CachedSequence:
        """The prepared frames of a clip, decoded once."""
        if clip.name not in self._opened:
            self._opened[clip.name] = prepared_frames(clip, self.frame_cache)
        return self._opened[clip.name]

    def __len__(self) -> int:
        return sum(map(len, self.targets.values()))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))


# -- a file of scores ------------------------------------------------------------------------------


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
        self.path, self.content = path, {"data": data, "weights": weights, "psnr": {}, "motion": {}}
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

    def missing(self, method: str, clip: str, targets: list[int]) -> list[int]:
        """The targets of a clip that have no score."""
        known = self.content["psnr"].get(method, {}).get(clip, {})
        return [k for k in targets if str(k) not in known]

    def complete(self, method: str, targets: dict[str, list[int]]) -> bool:
        """Whether a method has a score for every target."""
        return not any(self.missing(method, clip, each) for clip, each in targets.items())

    def values(self, method: str, targets: dict[str, list[int]]) -> list[float]:
        """The scores of a method in the order of the clips and targets, dB."""
        known = self.content["psnr"][method]
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
        candidates: methods by name.
        scoring_set: the targets.
        stopped: called before every clip; scoring ends if it returns True.

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
                entry = scores.content["psnr"].setdefault(method, {}).setdefault(clip.name, {})
                entry[str(k)] = _score(candidates[method], scoring_set.frames(clip), clip, k)
        finally:
            if missing:
                scores.save()
    return True


def _score(
    candidate: real16.Candidate, frames: CachedSequence, clip: ManifestClip, target: int
) -> float:
    indices, times, left = real16.context_indices(
        target, clip.frames, clip.cuts, candidate.context_frames
    )
    generated = candidate.interpolate(frames.read(indices), times, left)
    return round(psnr(generated, frames.read([target])[0]), DIGITS)


def measure_motion(scores: Scores, scoring_set: ScoringSet, stopped: Callable[[], bool]) -> bool:
    """The motion statistics of all targets that have none yet; as `score`."""
    for clip in scoring_set.clips:
        entry = scores.content["motion"].setdefault(clip.name, {})
        missing = [k for k in scoring_set.targets[clip.name] if str(k) not in entry]
        try:
            for k in missing:
                if stopped():
                    return False
                entry[str(k)] = asdict(_motion(scoring_set.frames(clip), clip, k))
        finally:
            if missing:
                scores.save()
    return True


def _motion(frames: CachedSequence, clip: ManifestClip, target: int) -> MotionStatistics:
    """Of one target, with the input frames beside its references where the shot has them."""
    indices, _, left = real16.context_indices(target, clip.frames, clip.cuts, context_frames=4)
    images = dict(zip(indices, frames.read(indices), strict=True))
    return motion_statistics(
        images[target - 1],
        images[target + 1],
        images.get(indices[left - 1]) if left else None,
        images.get(indices[left + 2]) if len(indices) > left + 2 else None,
    )
