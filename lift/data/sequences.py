"""Sequences of frames under one interface: frame folders, published layouts, video files."""

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
VAL_EVERY = 8  # without a split, every eighth sequence is for validation

ACCEPTED = (
    "a folder of numbered frames, a folder of such folders, video files, "
    "sequences/<split>/<name>/im00.png, <split>/<a>/<b>/0000.png, "
    "or a manifest.json that lists videos or folders"
)


class Sequence(Protocol):
    """Frames in the order in which they are displayed.

    Attributes:
        name: for messages and reports.
        size: (H, W) of the frames, pixels.
        cuts: the first frame of each new shot but the first.
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


class ResizedSequence:
    """A sequence with area-resized frames, whose short side is at most `short_side` pixels."""

    def __init__(self, sequence: Sequence, short_side: int):
        self.sequence = sequence
        scale = min(1.0, short_side / min(sequence.size))
        self.size = (round(sequence.size[0] * scale), round(sequence.size[1] * scale))
        self.name, self.cuts, self.duplicates = sequence.name, sequence.cuts, sequence.duplicates
        self.timestamps = sequence.timestamps

    def __len__(self) -> int:
        return len(self.sequence)

    def read(self, indices: list[int]) -> np.ndarray:
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        # ascending, one by one: only one frame is in memory at full size
        for k in np.argsort(indices, kind="stable"):
            frame = self.sequence.read([indices[k]])[0]
            cv2.resize(frame, self.size[::-1], frames[k], interpolation=cv2.INTER_AREA)
        return frames


class SubSequence:
    """Frames start..stop - 1 of a sequence, with indices from 0."""

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


class InMemorySequence:
    """A sequence with all frames in memory, (n, H, W, 3) uint8; forked workers share the pages."""

    def __init__(self, sequence: Sequence, chunk: int = 32):
        self.name, self.size = sequence.name, sequence.size
        self.cuts, self.duplicates = sequence.cuts, sequence.duplicates
        self.timestamps = sequence.timestamps
        self.frames = np.empty((len(sequence), *sequence.size, 3), np.uint8)
        for start in range(0, len(sequence), chunk):
            stop = min(start + chunk, len(sequence))
            self.frames[start:stop] = sequence.read(list(range(start, stop)))

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, indices: list[int]) -> np.ndarray:
        return self.frames[indices]


# -- the sequences of a folder ---------------------------------------------------------------------


def open_sequences(
    root: str | Path,
    split: str | None = None,
    resize_short_side: int = 0,
    val_split: str = "val",
) -> list[Sequence]:
    """All sequences under `root`, in a fixed order.

    Accepted are sequences/<split>/<name>/im00.png .., <split>/<a>/<b>/0000.png .. (X-TRAIN), a
    folder of numbered frames, folders of such folders, video files, and a manifest.json beside its
    files.

    Args:
        root: a folder, or one video file.
        split: which split; all sequences when None. Where `root` has no split named `val_split`,
            every eighth sequence belongs to it and the others to every other split. Of two
            sequences one belongs to it, of a single one its last eighth.
        resize_short_side: area-resize frames so that their short side is at most this many pixels;
            0 keeps their size.
        val_split: name of the validation split.

    Raises:
        LiftError: `root` holds no sequence, the split does not exist, or a sequence is damaged.
    """
    root = Path(root)
    if not root.exists():
        raise LiftError(f"{root} does not exist; accepted is {ACCEPTED}")
    if root.is_file():
        sequences = _split_off_val([_open(root, root.name)], split, val_split)
    elif has_manifest(root):
        sequences = _from_manifest(root, split, val_split)
    else:
        sequences = _from_folders(root, split, val_split)
    if not sequences:
        raise LiftError(
            f"{root} holds no sequences"
            + (f" for the split {split!r}" if split else "")
            + f"; accepted is {ACCEPTED}"
        )
    short_side = resize_short_side
    return [
        ResizedSequence(each, short_side) if 0 < short_side < min(each.size) else each
        for each in sequences
    ]


def _from_manifest(root: Path, split: str | None, val_split: str) -> list[Sequence]:
    clips = read_manifest(root)
    splits = {clip.split for clip in clips} - {None}

    def opened(chosen: list[ManifestClip]) -> list[Sequence]:
        return [_open(clip.path, clip.file, clip.cuts, clip.duplicates) for clip in chosen]

    if split is None:
        return opened(clips)
    if val_split in splits:
        _check_split(root / MANIFEST, split, splits)
        return opened([clip for clip in clips if clip.split == split])
    pool = [clip for clip in clips if clip.split in (None, "train")] if "train" in splits else clips
    return _split_off_val(opened(pool), split, val_split)


def _from_folders(root: Path, split: str | None, val_split: str) -> list[Sequence]:
    base = root / "sequences" if (root / "sequences").is_dir() else root
    splits = {
        p.name for p in base.iterdir() if p.is_dir() and p.name in SPLITS | {split, val_split}
    }
    if split is not None and val_split in splits:
        _check_split(base, split, splits)
        return _collect(base / split, base, check=False)
    if split in splits - {"train"}:
        return _collect(base / split, base, check=False)
    if split is None:
        return _collect(base, base)
    pool = (
        _collect(base / "train", base, check=False) if "train" in splits else _collect(base, base)
    )
    return _split_off_val(pool, split, val_split)


def _check_split(place: Path, split: str, splits: Iterable[str]) -> None:
    if split not in splits:
        raise LiftError(f"{place} has no split {split!r}; it has {', '.join(sorted(splits))}")


def _collect(folder: Path, base: Path, check: bool = True) -> list[Sequence]:
    """Every frame folder and video file at or below `folder`, sorted by path.

    With `check` the sizes of all frames of a folder are compared; large published sets go without.
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


def _split_off_val(sequences: list[Sequence], split: str | None, val_split: str) -> list[Sequence]:
    """The sequences of `split` where the layout has no validation split."""
    if split is None or not sequences:
        return sequences
    if len(sequences) == 1:
        only = sequences[0]
        edge = len(only) - max(3, len(only) // VAL_EVERY)
        if edge < 3:
            raise LiftError(
                f"{only.name} is the only sequence and its {len(only)} frames are too few "
                "for a validation split; add sequences"
            )
        if split == val_split:
            return [SubSequence(only, edge, len(only))]
        return [SubSequence(only, 0, edge)]
    chosen = set(range(VAL_EVERY - 1, len(sequences), VAL_EVERY)) or {len(sequences) - 1}
    return [s for i, s in enumerate(sequences) if (i in chosen) == (split == val_split)]
