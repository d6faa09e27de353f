"""manifest.json: the clips of a folder, and what is known about each."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from lift.errors import LiftError

NAME = "manifest.json"
FORM = (
    '{"clips": [{"file": ..., "name": ..., "split": ..., "frames": ..., "cuts": [...], '
    '"duplicate_frames": [...]}, ...]}, where only "file" is required'
)


@dataclass(frozen=True)
class ManifestClip:
    """A clip of the manifest.

    Attributes:
        name: unique; the file's name without its suffix where the manifest states none.
        file: video or folder of frames, relative to the manifest.
        path: the same, complete.
        frames: number of frames, or None where it is not stated.
        split: such as `train` or `val`, or None.
        cuts: the first frame of each new shot, from 0.
        duplicates: frames that repeat the one before them, from 0.
        source: what else the manifest states, such as the licence.
    """

    name: str
    file: str
    path: Path
    frames: int | None = None
    split: str | None = None
    cuts: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()
    source: dict = field(default_factory=dict, compare=False)


def has_manifest(root: str | Path) -> bool:
    """Whether the folder holds a manifest."""
    return (Path(root) / NAME).is_file()


def read_manifest(root: str | Path) -> list[ManifestClip]:
    """The clips of a folder, in the manifest's order.

    Raises:
        LiftError: the folder has no manifest.json, or it is not the manifest of a set of clips.
    """
    path = Path(root) / NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["clips"]
        return [_clip(path.parent, entry) for entry in entries]
    except FileNotFoundError:
        raise LiftError(
            f"{path} does not exist; give a folder of clips with their manifest"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LiftError(
            f"{path} is not a manifest of clips ({type(error).__name__}: {error}); "
            f"it must read {FORM}"
        ) from None


def _clip(root: Path, entry: dict) -> ManifestClip:
    file = entry["file"]
    frames = entry.get("frames")
    return ManifestClip(
        name=entry.get("name", Path(file).stem),
        file=file,
        path=root / file,
        frames=None if frames is None else int(frames),
        split=entry.get("split"),
        cuts=tuple(entry.get("cuts", ())),
        duplicates=tuple(entry.get("duplicate_frames", ())),
        source=entry,
    )
