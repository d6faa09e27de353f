"""Sequences of frames behind one protocol, whatever lies on the disk: folders of numbered frames,
published layouts, video files.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lift.errors import LiftError
from lift.io.decode import VIDEO_SUFFIXES
from lift.io.frame_folder import FrameFolder, is_frame_folder
from lift.io.manifest import NAME as MANIFEST
from lift.io.manifest import ManifestClip, has_manifest, read_manifest
from lift.io.video_index import IndexedVideo

SPLITS = frozenset(("train", "val", "test"))
HELD_BACK = 8  # without a split, every eighth sequence is for validation

ACCEPTED = (
    "a folder of numbered frames, a folder of such folders, video files, "
    "sequences/<split>/<name>/im00.png, <split>/<a>/<b>/0000.png, "
    "or a manifest.json that lists videos or folders"
)


class Sequence(Protocol):
    """Frames in the order in which they are shown.

    Attributes:
        name: for messages and reports.
        size: (H, W) of what `read` returns, pixels.
        cuts: the first frame of each new shot, frame 0 left out.
        duplicates: frames that repeat the one before them.
        timestamps: seconds of every frame where the rate varies, else None.
    """

    name: str
    size: tuple[int, int]
    cuts: tuple[int, ...]
    duplicates: tuple[int, ...]
    timestamps: np.ndarray | None

    def __len__(self) -> int: ...

    def read(self, indices: list[int]) -> np.ndarray:
        """These frames, (n, H, W, 3) uint8 RGB."""


# -- sequences made from sequences -----------------------------------------------------------------


class Resized:
    """A sequence whose frames are area-resized so that their short side is at most `cover` pixels;
    never enlarged.
    """

    def __init__(self, sequence: Sequence, cover: int):
        self.sequence = sequence
        scale = min(1.0, cover / min(sequence.size))
        self.size = (round(sequence.size[0] * scale), round(sequence.size[1] * scale))
        self.name, self.cuts, self.duplicates = sequence.name, sequence.cuts, sequence.duplicates
        self.timestamps = sequence.timestamps

    def __len__(self) -> int:
        return len(self.sequence)

    def read(self, indices: list[int]) -> np.ndarray:
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        for k in np.argsort(
            indices, kind="stable"
        ):  # forwards, one by one: full-size frames are never held together
            cv2.resize(
                self.sequence.read([indices[k]])[0],
                self.size[::-1],
                frames[k],
                interpolation=cv2.INTER_AREA,
            )
        return frames


class Part:
    """Frames start..stop - 1 of a sequence, numbered from 0."""

    def __init__(self, sequence: Sequence, start: int, stop: int):
        self.sequence, self.start, self.stop = sequence, start, stop
        self.name, self.size = f"{sequence.name}[{start}:{stop}]", sequence.size
        self.cuts = tuple(c - start for c in sequence.cuts if start < c < stop)
        self.duplicates = tuple(d - start for d in sequence.duplicates if start < d < stop)
        stamps = sequence.timestamps
        self.timestamps = None if stamps is None else stamps[start:stop]

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, indices: list[int]) -> np.ndarray:
        return self.sequence.read([self.start + i for i in indices])


class Preloaded:
    """A sequence whose frames are all in memory, (n, H, W, 3) uint8; forked workers share the
    pages.
    """

    def __init__(self, sequence: Sequence, chunk: int = 32):
        self.name, self.size, self.cuts, self.duplicates = (
            sequence.name,
            sequence.size,
            sequence.cuts,
            sequence.duplicates,
        )
        self.timestamps = sequence.timestamps
        self.frames = np.empty((len(sequence), *sequence.size, 3), np.uint8)
        for start in range(
            0, len(sequence), chunk
        ):  # in chunks: full-size frames never lie in memory all at once
            stop = min(start + chunk, len(sequence))
            self.frames[start:stop] = sequence.read(list(range(start, stop)))

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, indices: list[int]) -> np.ndarray:
        return self.frames[indices]


# -- what lies under a root ------------------------------------------------------------------------


def open_sequences(
    root: str | Path, split: str | None = None, cover: int = 0, held_back: str = "val"
) -> list[Sequence]:
    """All sequences under `root`, in a fixed order.

    Accepted: sequences/<split>/<name>/im00.png .., <split>/<a>/<b>/0000.png .. (X-TRAIN), a folder
    of numbered frames, folders of such folders, video files, and a manifest.json {"clips":
    [{"file", "split", "cuts", "duplicate_frames"}]} beside its files.

    Args:
        root: a folder, or one video file.
        split: which part; all of it when None. Where `root` has no split of the name `held_back`,
            every eighth sequence belongs to that split (at least one of two; of a single one its
            last eighth) and the others to every other split.
        cover: area-resize frames so that their short side is at most this many pixels; 0 keeps
            their size.
        held_back: the name of the split for validation.

    Raises:
        LiftError: nothing that can be read lies there, the split does not exist, or a sequence is
            damaged.
    """
    root = Path(root)
    if not root.exists():
        raise LiftError(f"{root} does not exist; accepted is {ACCEPTED}")
    if root.is_file():
        sequences = _hold_back([_open(root, root.name)], split, held_back)
    elif has_manifest(root):
        sequences = _from_manifest(root, split, held_back)
    else:
        sequences = _from_folders(root, split, held_back)
    if not sequences:
        raise LiftError(
            f"{root} holds no sequences"
            + (f" for the split {split!r}" if split else "")
            + f"; accepted is {ACCEPTED}"
        )
    return [Resized(s, cover) if 0 < cover < min(s.size) else s for s in sequences]


def _from_manifest(root: Path, split: str | None, held_back: str) -> list[Sequence]:
    clips = read_manifest(root)
    splits = {clip.split for clip in clips} - {None}

    def opened(chosen: list[ManifestClip]) -> list[Sequence]:
        return [_open(clip.path, clip.file, clip.cuts, clip.duplicates) for clip in chosen]

    if split is None:
        return opened(clips)
    if held_back in splits:
        _check_split(root / MANIFEST, split, splits)
        return opened([clip for clip in clips if clip.split == split])
    pool = [clip for clip in clips if clip.split in (None, "train")] if "train" in splits else clips
    return _hold_back(opened(pool), split, held_back)


def _from_folders(root: Path, split: str | None, held_back: str) -> list[Sequence]:
    base = root / "sequences" if (root / "sequences").is_dir() else root
    splits = {
        p.name for p in base.iterdir() if p.is_dir() and p.name in SPLITS | {split, held_back}
    }
    if split is not None and held_back in splits:
        _check_split(base, split, splits)
        return _collect(base / split, base, check=False)
    if split in splits - {"train"}:
        return _collect(base / split, base, check=False)
    if split is None:
        return _collect(base, base)
    pool = (
        _collect(base / "train", base, check=False) if "train" in splits else _collect(base, base)
    )
    return _hold_back(pool, split, held_back)


def _check_split(place: Path, split: str, splits: Iterable[str]) -> None:
    if split not in splits:
        raise LiftError(f"{place} has no split {split!r}; it has {', '.join(sorted(splits))}")


def _collect(folder: Path, base: Path, check: bool = True) -> list[Sequence]:
    """Every frame folder and video file at or below `folder`, sorted by path; headers go unchecked
    in large published sets.
    """
    if is_frame_folder(folder):
        return [FrameFolder(folder, name=_relative(folder, base), check_sizes=check)]
    sequences: list[Sequence] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            sequences += _collect(path, base, check)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            sequences.append(_open(path, _relative(path, base)))
    return sequences


def _relative(path: Path, base: Path) -> str:
    name = path.relative_to(base).as_posix()
    return path.name if name == "." else name


def _open(
    path: Path, name: str, cuts: tuple[int, ...] = (), duplicates: tuple[int, ...] = ()
) -> Sequence:
    if not path.exists():
        raise LiftError(
            f"{path} is listed in the manifest beside it and does not exist; "
            "add the file or take it off the list"
        )
    if path.is_dir():
        sequence = FrameFolder(path, name=name, check_sizes=True)
    else:
        sequence = IndexedVideo(path, name)
    sequence.cuts, sequence.duplicates = cuts, duplicates
    return sequence


def _hold_back(sequences: list[Sequence], split: str | None, held_back: str) -> list[Sequence]:
    """The part of `sequences` that belongs to `split` when the layout has no split of its own for
    validation.
    """
    if split is None or not sequences:
        return sequences
    if len(sequences) == 1:
        only = sequences[0]
        edge = len(only) - max(3, len(only) // HELD_BACK)
        if edge < 3:
            raise LiftError(
                f"{only.name} is the only sequence and its {len(only)} frames are too few to hold some back for validation; "
                "add sequences"
            )
        return [Part(only, edge, len(only)) if split == held_back else Part(only, 0, edge)]
    chosen = set(range(HELD_BACK - 1, len(sequences), HELD_BACK)) or {len(sequences) - 1}
    return [s for i, s in enumerate(sequences) if (i in chosen) == (split == held_back)]
