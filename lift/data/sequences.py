"""Sequences of frames under one interface: frame folders, published layouts, video files."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lift.data.layouts import Entry, Layout, find_layout, in_words
from lift.data.scan import Scan, scan_all
from lift.data.shards import ShardSequence, find_shards, has_shards
from lift.errors import LiftError
from lift.io.frame_folder import FrameFolder, list_images
from lift.io.video_index import IndexedVideo

VAL_EVERY = 8  # without a split, every eighth sequence is for validation,
MAX_VAL = 128  # but of large data sets no more than these
MIN_FRAMES = 3  # frames of a sequence: two references and a target
CHECKED = 2000  # sequences up to which the header of every frame is read at the start

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


@dataclass
class OpenedSplit:
    """The sequences of a split, and how they were found.

    Attributes:
        layout: of the folder.
        split: what was asked for; None for all.
        sequences: in a fixed order.
        notes: sentences on what a reader should know.
        left_out: names of what is not used, by reason.
        scans: cuts and damaged frames that were found, by name; only where there are any.
    """

    layout: Layout
    split: str | None
    sequences: list[Sequence]
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    scans: dict[str, Scan] = field(default_factory=dict)


def open_sequences(
    root: str | Path,
    split: str | None = None,
    resize_short_side: int = 0,
    val_split: str = "val",
    train_split: str = "train",
) -> list[Sequence]:
    """As `open_split`, the sequences alone."""
    return open_split(root, split, resize_short_side, val_split, train_split).sequences


def open_split(
    root: str | Path,
    split: str | None = None,
    resize_short_side: int = 0,
    val_split: str = "val",
    train_split: str = "train",
    *,
    skip_bad: bool = False,
    scan_videos: bool = False,
    cache: str = "",
    workers: int = 1,
) -> OpenedSplit:
    """The sequences of a split under `root`, in a fixed order.

    Layouts are those of `lift.data.layouts`; docs/data.md lists them.

    Args:
        root: a folder, or one video file.
        split: which split; all sequences when None. Where there is no split named `val_split`,
            every eighth sequence of the training split (at most 128) belongs to it and no longer
            to the training split. Of two sequences one belongs to it, of a single one its last
            eighth. Other splits, such as `test`, are left alone.
        resize_short_side: area-resize frames so that their short side is at most this many pixels;
            0 keeps their size.
        val_split: name of the validation split.
        train_split: name of the training split.
        skip_bad: leave sequences out that cannot be opened, instead of raising.
        scan_videos: look for cuts and damaged frames in videos whose cuts no manifest states.
        cache: folder of what was found; see `lift.data.scan`.
        workers: videos that are decoded at a time.

    Raises:
        LiftError: `root` holds no sequence, the split does not exist, or a sequence is damaged.
    """
    root = Path(root)
    layout = layout_of(root, (val_split, train_split, *([split] if split else ())))
    opened = OpenedSplit(layout, split, [], left_out=dict(layout.left_out))
    entries, part = _choose(opened, val_split, train_split)
    entries = _open_all(entries, opened, skip_bad)
    if scan_videos:
        pairs = zip(entries, opened.sequences, strict=True)
        unknown = [s for e, s in pairs if e.cuts is None and isinstance(s, IndexedVideo)]
        _scan(unknown, opened, cache, workers)
    if part is not None:
        opened.sequences = [_part_of(opened.sequences[0], part, opened.notes)]
    if not opened.sequences:
        wanted = f" for the split {split!r}" if split else ""
        raise LiftError(f"{root} holds no sequences{wanted}; accepted is {ACCEPTED}")
    if resize_short_side > 0:
        opened.sequences = [
            ResizedSequence(each, resize_short_side) if resize_short_side < min(each.size) else each
            for each in opened.sequences
        ]
    return opened


def layout_of(root: Path, split_names: Iterable[str] = ()) -> Layout:
    """The sequences of a folder, or of one video file, and their splits.

    Raises:
        LiftError: there is no such folder or file, or as `find_layout`.
    """
    if not root.exists():
        raise LiftError(f"{root} does not exist; accepted is {ACCEPTED}")
    if root.is_file():
        return Layout("one video", "", root, [Entry(root.name, root)])
    return find_shards(root) if has_shards(root) else find_layout(root, split_names)


def _choose(
    opened: OpenedSplit, val_split: str, train_split: str
) -> tuple[list[Entry], str | None]:
    """The entries of a split; and `start` or `end` where only that part of a single one counts."""
    layout, split, notes = opened.layout, opened.split, opened.notes
    entries, splits = layout.entries, layout.splits
    if split is None or not entries:
        return entries, None
    if not splits and split not in (val_split, train_split):
        raise LiftError(
            f"{layout.root} has no split {split!r}, and no splits at all; leave the name out"
        )
    pool = _pool(layout, train_split, val_split, notes)
    if val_split in splits and split == val_split:
        return [entry for entry in entries if entry.split == split], None
    if split not in (val_split, train_split):
        _check_split(layout, split)
        return [entry for entry in entries if entry.split == split], None
    if val_split in splits:
        return pool, None
    pool, short = _without_short(pool)
    if short:
        opened.left_out[f"fewer than {MIN_FRAMES} frames"] = [entry.name for entry in short]
    if len(pool) == 1:
        return pool, "end" if split == val_split else "start"
    held_out = _held_out(len(pool))
    notes.append(
        f"no split {val_split!r}: {len(held_out)} of the {len(pool)} sequences for training are "
        "held out for validation"
    )
    chosen = [e for i, e in enumerate(pool) if (i in held_out) == (split == val_split)]
    return chosen, None


def _without_short(pool: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Entries to hold some out of, and folders that have too few frames to be either of the two."""
    if len(pool) > CHECKED:
        return pool, []
    folders = [entry for entry in pool if entry.stored is None and entry.path.is_dir()]
    short = [entry for entry in folders if len(list_images(entry.path)) < MIN_FRAMES]
    if len(short) == len(pool):
        return pool, []
    names = {entry.name for entry in short}
    return [entry for entry in pool if entry.name not in names], short


def _held_out(count: int) -> set[int]:
    """Which of several training sequences are for validation where there is no split for it."""
    every = max(VAL_EVERY, -(-count // MAX_VAL))
    return set(range(every - 1, count, every)) or {count - 1}


def splits_in_training(layout: Layout) -> list[str]:
    """The split of every entry as a training with the default names has it; empty for none."""
    entries = layout.entries
    try:
        found = _without_short(_pool(layout, "train", "val", []))[0]
        pool = {id(entry): i for i, entry in enumerate(found)}
    except LiftError:  # without training data nothing is held out
        pool = {}
    if "val" in layout.splits or len(pool) < 2:
        return [entry.split or "" for entry in entries]
    held_out = _held_out(len(pool))
    return [
        (entry.split or "")
        if id(entry) not in pool
        else "val"
        if pool[id(entry)] in held_out
        else "train"
        for entry in entries
    ]


def _pool(layout: Layout, train_split: str, val_split: str, notes: list[str]) -> list[Entry]:
    """The entries for training, those for validation included where they have no split."""
    entries, splits = layout.entries, layout.splits
    if not splits:
        return entries
    unused = sorted(splits - {train_split, val_split})
    if layout.with_rest and any(entry.split is None for entry in entries):
        entries = [entry for entry in entries if entry.split in (None, train_split)]
    elif splits == {"test"} and train_split == "train":
        notes.append(
            "there is a test split alone, which is used for training: scores on it afterwards mean "
            "nothing"
        )
        return entries
    else:
        _check_split(layout, train_split)
        entries = [entry for entry in entries if entry.split == train_split]
    for name in unused:
        count = sum(entry.split == name for entry in layout.entries)
        notes.append(f"the split {name!r} ({in_words(count)}) is not used")
    return entries


def _check_split(layout: Layout, split: str) -> None:
    if split not in layout.splits:
        known = ", ".join(sorted(layout.splits))
        raise LiftError(f"{layout.root} has no split {split!r}; it has {known}")


def _open_all(entries: list[Entry], opened: OpenedSplit, skip_bad: bool) -> list[Entry]:
    """Open the sequences; returns the entries of those that could be opened."""
    kept = []
    for entry in entries:
        try:
            opened.sequences.append(open_entry(entry, len(entries) <= CHECKED and not skip_bad))
            kept.append(entry)
        except LiftError as error:
            if not skip_bad:
                raise
            opened.left_out.setdefault("damaged", []).append(entry.name)
            opened.notes.append(f"left out: {error}")
    return kept


def open_entry(entry: Entry, check_files: bool = False) -> Sequence:
    """A sequence of a layout.

    Args:
        entry: of the layout.
        check_files: look at the header and the end of every file of a folder.

    Raises:
        LiftError: it does not exist or is damaged.
    """
    if not entry.path.exists():
        raise LiftError(
            f"{entry.path} is listed beside it and does not exist; "
            "add the file or take it off the list"
        )
    if entry.stored is not None:
        return ShardSequence(entry)
    if entry.path.is_dir():
        sequence = FrameFolder(entry.path, name=entry.name, check_files=check_files)
    else:
        sequence = IndexedVideo(entry.path, entry.name)
    sequence.cuts, sequence.duplicates = entry.cuts or (), entry.duplicates
    return sequence


def _scan(videos: list[IndexedVideo], opened: OpenedSplit, cache: str, workers: int) -> None:
    """Look for cuts and damaged frames; clips will not reach across them."""
    for video, found in zip(videos, scan_all(videos, cache, workers), strict=True):
        video.cuts = found.edges
        if found.edges:
            opened.scans[video.name] = found
    for what in ("cuts", "damaged"):
        counts = {name: len(getattr(found, what)) for name, found in opened.scans.items()}
        counts = {name: count for name, count in counts.items() if count}
        if counts:
            names = {"cuts": "cuts", "damaged": "damaged frames"}[what]
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            opened.notes.append(f"{names} found, which no clip contains: {listed}")


def _part_of(only: Sequence, part: str, notes: list[str]) -> SubSequence:
    """The first frames of the only sequence, for training, or its last ones, for validation."""
    edge = len(only) - max(3, len(only) // VAL_EVERY)
    if edge < 3:
        raise LiftError(
            f"{only.name} is the only sequence and its {len(only)} frames are too few "
            "for a validation split; add sequences"
        )
    notes.append(f"one sequence: frames {edge} to {len(only) - 1} are held out for validation")
    return SubSequence(only, *((edge, len(only)) if part == "end" else (0, edge)))
