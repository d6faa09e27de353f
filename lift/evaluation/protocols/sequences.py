"""Protocols for any frames: `seed`, windows of sixteen frames, and `frames`, every second frame.

They find no published test set, so their scores compare methods on one set of clips only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lift.data.layouts import Entry
from lift.data.scan import scan_all
from lift.data.sequences import layout_of, open_entry, splits_in_training
from lift.errors import LiftError
from lift.evaluation.protocols.layout import context, folders_of, root_of, sample_of
from lift.evaluation.samples import Frame, Sample, TestSet
from lift.io.frame_folder import FrameFolder, is_frame_folder
from lift.io.manifest import has_manifest, read_manifest

WINDOW, TARGET = 16, 8  # of protocol seed
SEED_LAYOUT = "sequences/val/scene/im00.png, im01.png, ..., or the folder sequences itself"
FRAMES_LAYOUT = (
    "a video, a folder of numbered frames, a folder with manifest.json, or a folder of videos and "
    "frame folders at any depth"
)


@dataclass(frozen=True)
class _Sequence:
    """A sequence of frames.

    Attributes:
        name: unique, a relative path.
        frames: in the order of time.
        split: or empty.
        cuts: frames that open a shot.
        duplicates: frames that repeat the one before.
        seconds: times of the frames; None where they are evenly spaced.
    """

    name: str
    frames: Sequence[Frame]
    split: str = ""
    cuts: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()
    seconds: Sequence[float] | None = None


# -- seed ------------------------------------------------------------------------------------------


def find_seed(root: Path, count: int) -> list[Sample]:
    """Frame 8 of every sixteen from 7 and 9; groups are the sequences."""
    places = ("sequences", ".")
    root = root_of(root, places, "*/*/*0.*", "seed", SEED_LAYOUT)
    samples = []
    for split in folders_of(root):
        for folder in folders_of(split):
            if not is_frame_folder(folder):
                continue
            files = FrameFolder(folder).files
            for first in range(0, len(files) - WINDOW + 1, WINDOW):
                target = first + TARGET
                inputs = context(target - 1, target + 1, 1, count, first, first + WINDOW)
                name = f"{split.name}/{folder.name}"
                sample = f"{name}/{files[target].stem}"
                samples.append(sample_of(sample, name, files, target, inputs, split.name))
    if not samples:
        raise LiftError(f"{root} has no sequence of {WINDOW} frames; protocol seed reads them")
    return samples


SEED = TestSet(
    name="seed",
    description=f"frame {TARGET} of every {WINDOW} consecutive frames 0 to {WINDOW - 1} from "
    "frames 7 and 9 at t = 0.5, context the other thirteen",
    find=find_seed,
    context_frames=15,
    layout=SEED_LAYOUT,
)


# -- frames ----------------------------------------------------------------------------------------


def find_frames(root: Path, count: int) -> list[Sample]:
    """Frames 1, 3, 5, ... of every sequence from the even ones; groups are the sequences.

    A target whose step to either neighbour is a cut or a duplicate is left out.

    Raises:
        LiftError: there is no sequence, or one cannot be read or has fewer than three frames.
    """
    samples = []
    for sequence in _sequences(root):
        length = len(sequence.frames)
        if length < 3:
            raise LiftError(
                f"{sequence.name} of {root} has {length} frames; protocol frames needs three or "
                "more, leave it out"
            )
        broken = {*sequence.cuts, *sequence.duplicates}
        for target in range(1, length - 1, 2):
            if not broken.isdisjoint((target, target + 1)):
                continue
            first = max((cut for cut in sequence.cuts if cut < target), default=0)
            stop = min((cut for cut in sequence.cuts if cut > target), default=length)
            inputs = context(target - 1, target + 1, 2, count, first, stop)
            name = f"{sequence.name}/{target:06d}"
            place = (name, sequence.name, sequence.frames, target, inputs)
            samples.append(sample_of(*place, sequence.split, sequence.seconds))
    if not samples:
        raise LiftError(f"{root}: every target lies beside a cut or a duplicate frame")
    return samples


def _sequences(root: Path) -> list[_Sequence]:
    names: list[str] = []
    if root.is_dir() and has_manifest(root):
        names = [clip.name for clip in read_manifest(root)]
        if not names:
            raise LiftError(f"{root / 'manifest.json'} lists no clip")
    if not root.exists():
        raise LiftError(f"{root} does not exist; protocol frames reads {FRAMES_LAYOUT}")
    layout = layout_of(root)  # as in training: the same sequences and splits
    if not layout.entries:
        raise LiftError(f"{root} has no frames; protocol frames reads {FRAMES_LAYOUT}")
    if not names:
        names = _short_names(layout.entries)
    splits = splits_in_training(layout)
    opened = zip(layout.entries, names, splits, strict=True)
    return [_open(entry, name, split) for entry, name, split in opened]


def _short_names(entries: list[Entry]) -> list[str]:
    """Names without the suffix of a video, where that leaves them unique."""
    short = [
        entry.name if entry.path.is_dir() else Path(entry.name).with_suffix("").as_posix()
        for entry in entries
    ]
    return [
        brief if short.count(brief) == 1 else entry.name
        for entry, brief in zip(entries, short, strict=True)
    ]


def _open(entry: Entry, name: str, split: str) -> _Sequence:
    """The frames of a video or a folder; cuts of videos are found where they are not known.

    Raises:
        LiftError: it does not exist or cannot be read, or is in a tar file.
    """
    if entry.stored is not None:
        raise LiftError(
            f"{entry.path} is a shard, which only training reads; give the folder that it was "
            "written from"
        )
    sequence = open_entry(entry, check_files=True)
    if isinstance(sequence, FrameFolder):
        frames, cuts = [Frame(file) for file in sequence.files], entry.cuts or ()
        return _Sequence(name, frames, split, cuts, entry.duplicates)
    cuts = scan_all([sequence])[0].edges if entry.cuts is None else entry.cuts
    frames = [Frame(entry.path, k) for k in range(len(sequence))]
    return _Sequence(name, frames, split, cuts, entry.duplicates, sequence.timestamps)


FRAMES = TestSet(
    name="frames",
    description="frame k = 1, 3, 5, ... of every clip from k-1 and k+1, context k±3, k±5, ... "
    "within the shot, at their times in the file and at its size",
    find=find_frames,
    context_frames=None,
    layout=FRAMES_LAYOUT,
)
