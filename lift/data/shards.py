"""Shards: a data set as a few tar files, for disks that are slow to open many small ones.

A shard is a tar of image files named <sequence>/<frame>.<suffix>, stored as they are; the frames of
a sequence follow one another, so that WebDataset and any other reader of tar can stream them.
`shards.json` beside the shards lists the sequences with their splits and where each frame begins,
so that a frame is read by one seek and samples come in the same order as from the folders.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lift.data.layouts import Entry, Layout, Stored
from lift.errors import LiftError
from lift.files import atomic
from lift.io.decode import open_frames
from lift.io.frame_folder import FrameFolder
from lift.io.image_headers import stored_orientation
from lift.io.images import check_complete, decode_8_bits, image_depth, image_size, read_image
from lift.io.optional import require
from lift.io.orientation import UPRIGHT

INDEX = "shards.json"
FORMAT = 1
AS_STORED = (".png", ".jpg", ".jpeg", ".webp")


class ShardSequence:
    """The frames of one sequence in a tar file, read by index.

    Args:
        entry: of the index.
    """

    def __init__(self, entry: Entry):
        self.path, self.name, self._frames = entry.path, entry.name, entry.stored.frames
        self.size = entry.stored.size
        self.cuts, self.duplicates = entry.cuts or (), entry.duplicates
        self.timestamps = None

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, indices: list[int]) -> np.ndarray:
        """These frames, (n, H, W, 3) uint8 RGB.

        Raises:
            LiftError: the tar cannot be read, or a frame is no image of the size.
        """
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        try:
            with open(self.path, "rb") as file:
                for k, i in enumerate(indices):
                    frames[k] = self._read(file, i)
        except OSError as error:
            raise LiftError(
                f"{self.path} cannot be read ({error.strerror}); copy the shards again"
            ) from None
        return frames

    def _read(self, file, i: int) -> np.ndarray:
        name, start, size = self._frames[i]
        file.seek(start)
        image = decode_8_bits(Path(f"{self.path}:{self.name}/{name}"), file.read(size))
        if image.shape[:2] != self.size:
            raise LiftError(f"{self.path}: {name} has another size; copy the shards again")
        return image


# -- read ------------------------------------------------------------------------------------------


def has_shards(root: Path) -> bool:
    """Whether a folder holds shards."""
    return (root / INDEX).is_file()


def find_shards(root: Path) -> Layout:
    """The sequences of a folder of shards.

    Raises:
        LiftError: the index is none.
    """
    path = root / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise ValueError(f"format {index['format']}")
        entries = [_entry(root, each) for each in index["sequences"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LiftError(
            f"{path} is not an index of shards ({type(error).__name__}: {error}); write the shards "
            "again with lift data shard"
        ) from None
    return Layout("shards", INDEX, root, entries, with_rest=True)


def _entry(root: Path, each: dict) -> Entry:
    frames = tuple((name, int(start), int(size)) for name, start, size in each["frames"])
    return Entry(
        each["name"],
        root / each["file"],
        each["split"],
        tuple(each["cuts"]),
        tuple(each["duplicates"]),
        Stored(tuple(each["size"]), frames),
    )


# -- write -----------------------------------------------------------------------------------------


def write_shards(layout: Layout, output: Path, megabytes: int, progress=iter) -> list[Path]:
    """Write all sequences of a data set as shards.

    Frames of folders are stored as they are, those of videos as PNG.

    Args:
        layout: of the data set.
        output: folder of the shards; must not hold an index already.
        megabytes: size of a shard, from which the next sequence begins a new one.
        progress: wraps the sequences, for example with a progress bar.

    Returns:
        The tar files.

    Raises:
        LiftError: the folder has shards already, or a sequence cannot be read.
    """
    if has_shards(output):
        raise LiftError(f"{output} has shards already; give another folder, or delete them")
    output.mkdir(parents=True, exist_ok=True)
    files, sequences = [], []
    entries = iter(progress(layout.entries))
    entry = next(entries, None)
    while entry is not None:
        path = output / f"shard-{len(files):06d}.tar"
        with atomic(path) as part, tarfile.open(part, "w") as tar:
            while entry is not None and (not tar.offset or tar.offset < megabytes * 1_000_000):
                sequences.append(_write(tar, entry, path.name))
                entry = next(entries, None)
        files.append(path)
    with atomic(output / INDEX) as part:
        text = json.dumps({"format": FORMAT, "sequences": sequences}, separators=(",", ":"))
        part.write_text(text + "\n", encoding="utf-8")
    return files


def _write(tar: tarfile.TarFile, entry: Entry, file: str) -> dict:
    """Add a sequence to a tar; returns its part of the index."""
    size, frames = None, []
    for name, content, shape in _stored(entry):
        size = size or shape
        if shape != size:
            raise LiftError(f"{entry.path}: {name} has another size than the frames before it")
        info = tarfile.TarInfo(f"{entry.name}/{name}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        frames.append((name, tar.offset - padded, len(content)))
    return {
        "name": entry.name,
        "split": entry.split,
        "file": file,
        "size": size,
        "cuts": entry.cuts or (),
        "duplicates": entry.duplicates,
        "frames": frames,
    }


def _stored(entry: Entry) -> Iterator[tuple[str, bytes, tuple[int, int]]]:
    """Name, content and (H, W) of the frames of a sequence."""
    if entry.path.is_dir():
        for file in FrameFolder(entry.path, name=entry.name).files:
            check_complete(file)
            plain = file.suffix.lower() in AS_STORED and image_depth(file)[0] == np.uint8
            if plain and stored_orientation(file) == UPRIGHT:
                yield file.name, file.read_bytes(), image_size(file)
            else:
                image = read_image(file)
                yield f"{file.stem}.png", _png(image), image.shape[:2]
        return
    for i, frame in enumerate(open_frames(entry.path).frames()):
        yield f"{i:06d}.png", _png(frame), frame.shape[:2]


def _png(image: np.ndarray) -> bytes:
    cv2 = require("cv2", "writing a shard")
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()
