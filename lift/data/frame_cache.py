"""Decoded frames kept in files, so that several runs share them and the next starts at once."""

import hashlib
import json
from pathlib import Path

import numpy as np

from lift.data.sequences import Sequence
from lift.errors import LiftError
from lift.files import atomic

CHUNK = 32  # frames that are decoded at a time


class CachedSequence:
    """A sequence whose frames are memory-mapped from a file, (n, H, W, 3) uint8.

    Processes that read one file share its pages, and the system drops them where memory is short.

    Args:
        sequence: decoded once, when no file of it is in the folder.
        folder: of the files; created. A file belongs to the sequence's source as it is now (its
            path, its size, the time of its last change) and to the size of the frames.

    Raises:
        LiftError: the file cannot be written.
    """

    def __init__(self, sequence: Sequence, folder: str | Path):
        self.name, self.size = sequence.name, sequence.size
        self.cuts, self.duplicates = sequence.cuts, sequence.duplicates
        self.timestamps = sequence.timestamps
        path = Path(folder) / f"{_key(sequence)}.npy"
        if not path.is_file():
            _decode(sequence, path)
        self._frames = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, indices: list[int]) -> np.ndarray:
        return self._frames[indices]


def _key(sequence: Sequence) -> str:
    """A name for the frames of a sequence: another one where they may differ."""
    inner = sequence
    while not hasattr(inner, "path"):
        inner = inner.sequence
    files = sorted(inner.path.iterdir()) if inner.path.is_dir() else [inner.path]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    identity = [str(inner.path.resolve()), stats, sequence.name, len(sequence), *sequence.size]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    return f"{Path(sequence.name).stem}-{digest[:16]}"


def _decode(sequence: Sequence, path: Path) -> None:
    try:
        with atomic(path) as part:
            shape = (len(sequence), *sequence.size, 3)
            frames = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            for start in range(0, len(sequence), CHUNK):
                stop = min(start + CHUNK, len(sequence))
                frames[start:stop] = sequence.read(list(range(start, stop)))
            frames.flush()
    except OSError as error:
        raise LiftError(
            f"{path.parent} cannot hold the decoded frames of {sequence.name} "
            f"({error.strerror or error}); choose another --frame_cache or free some space"
        ) from error
