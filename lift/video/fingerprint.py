"""What decides about the frames of a job: parts are used again where all of it is equal."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lift import __version__
from lift.io.frame_folder import list_images
from lift.io.stdin import STDIN
from lift.video.cut_list import Cut
from lift.video.options import FileOptions

WITHOUT_EFFECT = ("resume", "overwrite", "report")  # options that change no frame


def fingerprint(
    interpolator,
    source: Path | tuple[Path, ...],
    target: Path,
    options: FileOptions,
    cuts: Iterable[Cut] | None = None,
) -> dict:
    """The versions, files and settings of a job, as JSON values.

    Args:
        interpolator, source, target, options: as of `interpolate_file`.
        cuts: the content of the list of cuts, where there is one.
    """
    paths = source if isinstance(source, tuple) else (source,)
    given = {k: str(v) for k, v in vars(options).items() if k not in WITHOUT_EFFECT}
    return {
        "version": __version__,
        "source": [_state(path) for path in paths if path != STDIN],
        "target": target.suffix.lower(),
        "options": given,
        "cuts": None if cuts is None else [str(cut) for cut in cuts],
        "model": interpolator.describe(),
    }


def _state(path: Path) -> list[str]:
    """A source as a later run would find it: its place, and the size and time of its files."""
    files = list_images(path) if path.is_dir() else [path]
    states = [(file.name, file.stat()) for file in files]
    seen = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    return [str(path.resolve()), hashlib.sha256(json.dumps(seen).encode()).hexdigest()]
