"""The clips that an ablation is scored on: of a manifest, or any videos and folders of frames."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lift.data.frame_cache import CachedSequence
from lift.data.sequences import Sequence, open_sequences
from lift.evaluation.prepared import prepared_frames
from lift.evaluation.protocols import real16
from lift.io.manifest import ManifestClip, has_manifest, read_manifest

ALL = "all"


@dataclass(frozen=True)
class ScoringClip:
    """A clip with what the protocol needs to know of it.

    Attributes:
        name: unique.
        path: video or folder of frames.
        frames: their number.
        cuts: the first frame of each new shot.
        duplicates: frames that repeat the one before them.
        prepared: (folder of the frame cache) -> the frames as the protocol prepares them.
    """

    name: str
    path: Path
    frames: int
    cuts: tuple[int, ...]
    duplicates: tuple[int, ...]
    prepared: Callable[[str | Path], CachedSequence]


def choose_split(root: str | Path, val_split: str, trained_on: bool) -> str:
    """The split to score where none is asked for.

    Args:
        root: see `scoring_clips`.
        val_split: name of the split that training leaves out.
        trained_on: whether training reads these clips too.

    Returns:
        `val_split` where there is one, or training would make one; else ALL.
    """
    root = Path(root)
    if root.is_dir() and has_manifest(root):
        is_split = val_split in {clip.split for clip in read_manifest(root)}
    else:
        is_split = any((folder / val_split).is_dir() for folder in (root, root / "sequences"))
    return val_split if is_split or trained_on else ALL


def scoring_clips(root: str | Path, split: str, val_split: str) -> list[ScoringClip]:
    """The clips of a folder, or a single video.

    Args:
        root: a folder with a manifest.json, in a layout that training reads, or of videos and
            folders of frames; or one video.
        split: the clips of this split, or ALL.
        val_split: name of the split that training leaves out.

    Raises:
        LiftError: there are no clips, or one cannot be read.
    """
    root = Path(root)
    if root.is_dir() and has_manifest(root):
        clips = read_manifest(root)
        if split in (ALL, *(clip.split for clip in clips)):
            return [_of_manifest(clip) for clip in real16.select_clips(clips, split)]
    wanted = None if split == ALL else split
    return [_of_sequence(each) for each in open_sequences(root, wanted, val_split=val_split)]


def _of_manifest(clip: ManifestClip) -> ScoringClip:
    clip = real16.with_frame_count(clip)
    facts = clip.name, clip.path, clip.frames, clip.cuts, clip.duplicates
    return ScoringClip(*facts, partial(prepared_frames, clip))


def _of_sequence(sequence: Sequence) -> ScoringClip:
    inner = sequence
    while not hasattr(inner, "path"):
        inner = inner.sequence
    facts = sequence.name, Path(inner.path), len(sequence), sequence.cuts, sequence.duplicates
    return ScoringClip(*facts, lambda folder: CachedSequence(PreparedSequence(sequence), folder))


class PreparedSequence:
    """A sequence with frames as protocol `real16` prepares them."""

    def __init__(self, sequence: Sequence):
        self.sequence, self.name = sequence, f"{real16.NAME}/{sequence.name}"
        self.cuts, self.duplicates = sequence.cuts, sequence.duplicates
        self.timestamps = sequence.timestamps
        self.size = real16.prepare(np.zeros((*sequence.size, 3), np.uint8)).shape[:2]

    def __len__(self) -> int:
        return len(self.sequence)

    def read(self, indices: list[int]) -> np.ndarray:
        """Frames (n, H, W, 3) uint8."""
        return np.stack([real16.prepare(frame) for frame in self.sequence.read(indices)])
