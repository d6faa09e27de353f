"""The target frames of an ablation, and their input frames."""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lift.ablation.clips import ScoringClip, scoring_clips
from lift.data.frame_cache import CachedSequence
from lift.errors import LiftError
from lift.evaluation.protocols import real16
from lift.evaluation.protocols.long_context import with_context_of
from lift.evaluation.target import Target


@dataclass(frozen=True)
class Source:
    """Where the clips come from.

    Attributes:
        root, split, val_split: see `scoring_clips`.
        targets: frames per clip, evenly spaced ones of the protocol's.
        frame_cache: folder of the prepared frames; created.
    """

    root: str
    split: str
    val_split: str
    targets: int
    frame_cache: str


@dataclass
class ScoringSet:
    """The target frames that every method is scored on.

    Attributes:
        clips: with their numbers of frames.
        targets: indices of the target frames of each clip, by name.
        all_targets: those of the whole protocol, of which `targets` may be a part.
        left_out: names of clips that are too short for a single target.
        frame_cache: folder of the prepared frames.
        fingerprint: of the clips; scores of one set hold for any other with the same.
    """

    clips: list[ScoringClip]
    targets: dict[str, list[int]]
    all_targets: dict[str, list[int]]
    left_out: list[str]
    frame_cache: Path
    fingerprint: str
    _opened: dict[str, CachedSequence] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, source: Source) -> "ScoringSet":
        """The targets of protocol `real16`; of a clip too short for twenty, as many as it has.

        Raises:
            LiftError: a clip cannot be read, or none has a target.
        """
        clips, every, left_out, identity = [], {}, [], []
        for clip in scoring_clips(source.root, source.split, source.val_split):
            found = protocol_targets(clip)
            if not found:
                left_out.append(clip.name)
                continue
            clips.append(clip)
            every[clip.name] = found
            identity.append([clip.name, clip.frames, clip.cuts, clip.duplicates, _size(clip.path)])
        if not clips:
            raise LiftError(
                f"{source.root} has no clip of five consecutive frames, which protocol "
                f"{real16.NAME} needs for a target; give longer clips"
            )
        chosen = {name: _evenly_spaced(each, source.targets) for name, each in every.items()}
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        return cls(clips, chosen, every, left_out, Path(source.frame_cache), digest)

    def frames(self, clip: ScoringClip) -> CachedSequence:
        """The prepared frames of a clip, decoded once."""
        if clip.name not in self._opened:
            self._opened[clip.name] = clip.prepared(self.frame_cache)
        return self._opened[clip.name]

    def target(self, clip: ScoringClip, k: int, context_frames: int) -> Target:
        """Frame k of a clip with its input frames."""
        indices, times, left = real16.context_indices(k, clip.frames, clip.cuts, context_frames)
        frames = self.frames(clip)
        return Target(frames.read(indices), times, left, frames.read([k])[0])

    def shuffled_target(self, clip: ScoringClip, k: int, context_frames: int) -> Target:
        """The same with the frames beyond the references of the clip before, at the same times."""
        donor = self.clips[self.clips.index(clip) - 1]
        theirs = self.all_targets[donor.name]
        other = theirs[self.all_targets[clip.name].index(k) % len(theirs)]
        target = self.target(clip, k, context_frames)
        return with_context_of(target, self.target(donor, other, context_frames))

    @property
    def can_shuffle(self) -> bool:
        """Whether there is another clip that context can come from."""
        return len(self.clips) > 1

    def __len__(self) -> int:
        return sum(map(len, self.targets.values()))


def protocol_targets(clip: ScoringClip) -> list[int]:
    """The protocol's twenty targets of a clip; all that there are where they are fewer."""
    known = clip.frames, clip.cuts, clip.duplicates
    valid = real16.valid_targets(*known)
    return valid if len(valid) < real16.TARGETS else real16.choose_targets(*known)


def _evenly_spaced(targets: list[int], count: int) -> list[int]:
    count = min(count, len(targets))
    picks = ((np.arange(count) + 0.5) * len(targets) / count).astype(int)
    return [targets[i] for i in picks]


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.iterdir()
    return sum(file.stat().st_size for file in files if file.is_file())


def announce(scoring_set: ScoringSet, source: Source) -> None:
    """What is scored and what is not, on stderr."""
    print(
        f"scoring {len(scoring_set)} frames of {len(scoring_set.clips)} clips of {source.root}, "
        f"split {source.split}",
        file=sys.stderr,
    )
    if names := scoring_set.left_out:
        print(
            f"not scored, less than five frames without a cut: {', '.join(names)}", file=sys.stderr
        )
