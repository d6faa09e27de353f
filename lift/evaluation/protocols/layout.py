"""What the readers of published test sets share: lists, folders, frames in order, context."""

import re
from collections.abc import Sequence
from pathlib import Path

from lift.data.clip import frames_around
from lift.errors import LiftError
from lift.evaluation.samples import Frame, Sample


def root_of(root: Path, places: Sequence[str], needed: str, protocol: str, layout: str) -> Path:
    """The first of `places` below `root` that has `needed`, a file, a folder or a pattern.

    Args:
        root: what the user gave.
        places: relative folders, "." for the root itself.
        needed: relative to the place.
        protocol, layout: for the message.

    Raises:
        LiftError: none has it; the message names a folder nearby that does.
    """
    if not root.is_dir():
        raise LiftError(f"{root} is not a folder; protocol {protocol} reads {layout}")
    if (found := _first(root, places, needed)) is not None:
        return found
    what = "the files of the test set" if "*" in needed else needed
    nearby = [*root.resolve().parents[:2], *folders_of(root)[:100]]
    other = next((each for each in nearby if _first(each, places, needed) is not None), None)
    hint = "" if other is None else f"; {other} does: give that folder"
    raise LiftError(f"{root} does not hold {what}; protocol {protocol} reads {layout}{hint}")


def _first(root: Path, places: Sequence[str], needed: str) -> Path | None:
    return next((root / place for place in places if any((root / place).glob(needed))), None)


def listed(path: Path) -> list[str]:
    """The lines of a list, without blank ones.

    Raises:
        LiftError: it cannot be read, or is empty.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "it is no text"
        raise LiftError(f"{path} cannot be read ({cause}); copy the test set again") from None
    if not any(lines):
        raise LiftError(f"{path} is empty; copy the test set again")
    return [line for line in lines if line]


def existing(path: Path) -> Frame:
    """An image that is there.

    Raises:
        LiftError: it is not.
    """
    if not path.is_file():
        raise LiftError(f"{path} does not exist; copy the test set again")
    return Frame(path)


def folders_of(folder: Path) -> list[Path]:
    """The folders in a folder, numbers in their names by value; hidden ones are left out."""
    inside = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    return sorted(inside, key=_by_number)


def _by_number(path: Path) -> list:
    parts = re.split(r"(\d+)", path.name)  # text, digits, text, ...
    return [int(part) if k % 2 else part for k, part in enumerate(parts)]


def context(
    left: int, right: int, stride: int, count: int, first: int = 0, stop: int | None = None
) -> tuple[list[int], list[float], int]:
    """Indices of input frames: two references, and every `stride`-th frame beyond them.

    Args:
        left, right: of the references.
        stride: between the other frames.
        count: at most so many, the references included; see `frames_around`.
        first, stop: the frames that are there; None: without end.

    Returns:
        indices in the order of time, their times (the references at 0 and 1), and the position of
        the left reference.
    """
    before, after = frames_around(count)
    stop = right + after * stride if stop is None else stop
    earlier = list(range(left, first - 1, -stride))[:before][::-1]
    later = list(range(right, stop, stride))[:after]
    indices = earlier + later
    return indices, [(k - left) / (right - left) for k in indices], len(earlier) - 1


def sample_of(
    name: str,
    group: str,
    frames: Sequence[Path | Frame],
    target: int,
    inputs: tuple[list[int], list[float], int],
    split: str = "",
    seconds: Sequence[float] | None = None,
) -> Sample:
    """A sample whose frames are numbered.

    Args:
        name, group, split: see `Sample`.
        frames: all frames of the sequence.
        target: index of the true frame.
        inputs: what `context` returns.
        seconds: times of all frames; None where they are evenly spaced.
    """
    indices, times, left = inputs
    at = range(len(frames)) if seconds is None else seconds
    start, end = at[indices[left]], at[indices[left + 1]]
    if seconds is not None:
        times = [float((at[k] - start) / (end - start)) for k in indices]
    shown = [f if isinstance(f, Frame) else Frame(f) for f in (frames[i] for i in indices)]
    truth = frames[target]
    return Sample(
        name=name,
        group=group,
        inputs=tuple(shown),
        times=tuple(times),
        left=left,
        truth=truth if isinstance(truth, Frame) else Frame(truth),
        t=float((at[target] - start) / (end - start)),
        split=split,
    )
