"""Sequences of frames behind one protocol, whatever lies on the disk: folders of numbered frames,
published layouts, video files.
"""

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lift.data.video_sequence import VIDEO_SUFFIXES, VideoSequence
from lift.errors import LiftError

IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .bmp .tif .tiff .webp".split())
END = {
    ".png": b"IEND",
    ".jpg": b"\xff\xd9",
    ".jpeg": b"\xff\xd9",
}  # what a whole file of this kind ends with
SPLITS = frozenset(("train", "val", "test"))
HELD_BACK = 8  # without a split, every eighth sequence is for validation

ACCEPTED = (
    "a folder of numbered frames, a folder of such folders, video files, sequences/<split>/<name>/im00.png, "
    "<split>/<a>/<b>/0000.png, or a manifest.json that lists video files"
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


# -- a folder of numbered frames -------------------------------------------------------------------


class FrameFolder:
    """Image files whose names end in a number, in the order of their numbers.

    Args:
        path: the folder.
        name: for messages; the folder's own when None.
        check: read every file's header, to find frames of two sizes before any is used; else that
            is found when a frame is read.

    Raises:
        LiftError: a number is missing or there twice, a file is no image, or two files are of two
            sizes.
    """

    cuts: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()
    timestamps = None

    def __init__(self, path: str | Path, name: str | None = None, check: bool = True):
        self.path = Path(path)
        self.name = name or self.path.name
        self.files = _numbered(self.path)
        self.size = image_size(self.files[0])
        for file in self.files[1:] if check else ():
            self._check_size(file, image_size(file))

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: list[int]) -> np.ndarray:
        """As `Sequence.read`.

        Raises:
            LiftError: a file cannot be decoded or has another size than the first one.
        """
        frames = [_read_image(self.files[i]) for i in indices]
        for i, frame in zip(indices, frames, strict=True):
            self._check_size(self.files[i], frame.shape[:2])
        return np.stack(frames)

    def _check_size(self, file: Path, size: tuple[int, int]) -> None:
        if size != self.size:
            raise LiftError(
                f"frames of two sizes in one sequence: {self.files[0]} is {self.size[1]}x{self.size[0]} and {file} is "
                f"{size[1]}x{size[0]} (width x height); make them one size or put them in two folders"
            )


def is_frame_folder(path: Path) -> bool:
    """Whether a folder directly holds at least two image files with a number."""
    return sum(1 for p in path.iterdir() if _number(p) is not None) >= 2


def _number(path: Path) -> int | None:
    if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
        return None
    digits = re.search(r"(\d+)\D*$", path.stem)
    return int(digits.group(1)) if digits else None


def _numbered(folder: Path) -> list[Path]:
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        number = _number(path)
        if number is None:
            continue
        if number in files:
            raise LiftError(
                f"{folder}: {files[number].name} and {path.name} have one number; keep one of them or put them in two folders"
            )
        files[number] = path
    if not files:
        raise LiftError(
            f"{folder} holds no numbered frames such as 0000.png; accepted are {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    numbers = sorted(files)
    for a, b in zip(numbers, numbers[1:], strict=False):
        if b != a + 1:
            raise LiftError(
                f"{folder}: frame number {a + 1} is missing between {files[a].name} and {files[b].name}; "
                "add it, or split the folder there"
            )
    return [files[n] for n in numbers]


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of an image file in pixels; PNG and JPEG are not decoded for it."""
    with open(path, "rb") as file:
        head = file.read(24)
        if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24:
            return struct.unpack(">II", head[16:])[::-1]
        if head[:2] == b"\xff\xd8":
            file.seek(2)
            while len(segment := file.read(9)) == 9 and segment[0] == 0xFF:
                if 0xC0 <= segment[1] <= 0xCF and segment[1] not in (
                    0xC4,
                    0xC8,
                    0xCC,
                ):  # start of frame
                    return struct.unpack(">HH", segment[5:])
                file.seek(int.from_bytes(segment[2:4], "big") - 7, 1)
    return _read_image(path).shape[:2]


def _read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LiftError(f"{path} cannot be read ({error.strerror})") from None
    whole = (
        END.get(path.suffix.lower(), b"") in data
    )  # OpenCV fills the rest of a truncated file with grey
    image = (
        cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
        if whole and data
        else None
    )
    if image is None:
        raise LiftError(
            f"{path} is truncated or is not an image; write it again, or leave its sequence out"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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
    elif (root / "manifest.json").is_file():
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
    path = root / "manifest.json"
    try:
        clips = json.loads(path.read_text(encoding="utf-8"))["clips"]
        rows = [
            (
                c["file"],
                c.get("split"),
                tuple(c.get("cuts", ())),
                tuple(c.get("duplicate_frames", ())),
            )
            for c in clips
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LiftError(
            f'{path} is not a manifest; it must read {{"clips": [{{"file": ..., "split": ..., "cuts": [...], '
            '"duplicate_frames": [...]}, ...]}'
        ) from None
    splits = {row[1] for row in rows} - {None}

    def opened(chosen):
        return [_open(root / file, file, cuts, duplicates) for file, _, cuts, duplicates in chosen]

    if split is None:
        return opened(rows)
    if held_back in splits:
        _check_split(path, split, splits)
        return opened([r for r in rows if r[1] == split])
    pool = [r for r in rows if r[1] in (None, "train")] if "train" in splits else rows
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
        return [FrameFolder(folder, _relative(folder, base), check)]
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
            f"{path} is listed in the manifest beside it and does not exist; add the file or take it off the list"
        )
    if path.is_dir():
        sequence = FrameFolder(path, name)
        sequence.cuts, sequence.duplicates = cuts, duplicates
        return sequence
    sequence = VideoSequence(path, cuts, duplicates)
    sequence.name = name
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
