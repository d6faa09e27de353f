"""Which images of a folder are frames, and their order, by the numbers in their names.

Frames begin alike and differ in one number, which rises by one from frame to frame, padded or not.
Left out with a note are images without a number, and single images that begin differently from all
others. A minus sign before the number counts: where the name begins with it, or where others begin
alike but for the sign.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lift.errors import LiftError

GAPS = ("error", "sort", "time")


@dataclass(frozen=True)
class NumberedFiles:
    """Files in order, their numbers where these are times, and notes on what was left out."""

    files: list[Path]
    numbers: list[int] | None
    notes: list[str]


def numbered_files(folder: Path, images: list[Path], gaps: str = "error") -> NumberedFiles:
    """The frames among the images of a folder.

    Args:
        folder: for messages.
        images: at least one.
        gaps: "error" refuses numbers that do not rise by one; "sort" takes the natural order of
            the names; "time" accepts missing numbers and returns the numbers as times.

    Raises:
        LiftError: no image has a number, a number is missing or there twice, names that begin
            differently.
        ValueError: gaps is none of these.
    """
    if gaps not in GAPS:
        raise ValueError(f"gaps must be one of {', '.join(GAPS)}, got {gaps!r}")
    frames = [file for file in images if re.search(r"\d", file.stem)]
    if gaps == "sort" and not frames:
        return NumberedFiles(sorted(images, key=_natural), None, [])
    if not frames:
        raise LiftError(
            f"{images[0]}: no number in the name of this frame; number the frames like 0001.png"
        )
    notes = _left_out([file for file in images if file not in set(frames)], "without a number")
    sequence = _Sequence(folder, frames, strict=gaps != "sort")
    notes += _left_out(sequence.strays, "named differently")
    if gaps == "sort":
        return NumberedFiles(sorted(sequence.files, key=_natural), None, notes)
    numbers = sequence.numbers()
    files = sorted(sequence.files, key=lambda file: numbers[file])
    for before, after in zip(files, files[1:], strict=False):
        _check_step(folder, before, after, numbers[before], numbers[after], gaps)
    in_order = [numbers[file] for file in files] if gaps == "time" else None
    return NumberedFiles(files, in_order, notes)


class _Sequence:
    """Files whose names agree up to the first number that is not the same in all.

    Args:
        strict: refuse files that begin differently, if they are more than single ones.

    Attributes:
        files: the sequence, in no order.
        strays: single files that begin differently.
    """

    def __init__(self, folder: Path, files: list[Path], strict: bool):
        self.folder, self.files, self.strays = folder, files, []
        self.negative: set[Path] = set()
        self._parts = {file: _split(file) for file in files}  # text, digits, text, ...
        self._varying = 0
        while True:
            self._keep_alike(strict)
            values = {self._parts[file][2 * self._varying + 1] for file in self.files}
            if len(set(map(int, values))) > 1 or self._varying + 1 == self._groups():
                return
            self._varying += 1

    def _groups(self) -> int:
        """How many numbers all names have."""
        return min(len(self._parts[file]) for file in self.files) // 2

    def _keep_alike(self, strict: bool) -> None:
        """Set single files aside whose text before the number differs from that of all others."""
        alike: dict[str, list[Path]] = {}
        for file in self.files:
            alike.setdefault(self._parts[file][2 * self._varying].casefold(), []).append(file)
        for text in [text for text in alike if text.endswith("-")]:
            if text[:-1] in alike or (text == "-" and self._varying == 0):
                self.negative.update(alike[text])
                alike.setdefault(text[:-1], []).extend(alike.pop(text))
        most = max(alike.values(), key=len)
        others = [files for files in alike.values() if files is not most]
        if len(most) >= 2 and all(len(files) == 1 for files in others):
            self.files = most
            self.strays += [file for files in others for file in files]
        elif others and strict:
            raise LiftError(
                f"{self.folder}: {most[0].name} and {others[0][0].name} are named differently; "
                "keep one numbered sequence in a folder"
            )

    def numbers(self) -> dict[Path, int]:
        """The number of each file.

        Raises:
            LiftError: more than one number varies.
        """
        found = [
            {file: int(self._parts[file][2 * group + 1]) for file in self.files}
            for group in range(self._varying, self._groups())
        ]
        if sum(len(set(values.values())) > 1 for values in found) > 1:
            raise LiftError(
                f"{self.folder}: more than one number varies in the names of its frames "
                f"({self.files[0].name} to {self.files[-1].name}); "
                "keep one numbered sequence in a folder, or interpolate with --gaps sort"
            )
        return {file: -n if file in self.negative else n for file, n in found[0].items()}


def _split(file: Path) -> list[str]:
    return re.split(r"(\d+)", file.stem)


def _natural(file: Path) -> tuple:
    """Sorts numbers in names by their value, and negative ones first."""
    parts = _split(file)
    if parts[0] == "-":
        parts[:2] = "", "-" + parts[1]
    key = [int(part) if k % 2 else part.casefold() for k, part in enumerate(parts)]
    return *key, file.name


def _left_out(files: Iterable[Path], why: str) -> list[str]:
    names = sorted(file.name for file in files)
    return [f"{len(names)} image(s) {why} left out ({names[0]})"] if names else []


def _check_step(folder: Path, before: Path, after: Path, a: int, b: int, gaps: str) -> None:
    if a == b:
        raise LiftError(
            f"{folder}: {before.name} and {after.name} have the same number {a}; keep one of them"
        )
    if gaps == "error" and b != a + 1:
        missing = f"frame {a + 1} is" if b == a + 2 else f"frames {a + 1} to {b - 1} are"
        raise LiftError(
            f"{folder}: {missing} missing between {before.name} and {after.name}; "
            "add what is missing, number the frames without gaps, or interpolate with --gaps sort "
            "(the order counts, not the numbers) or --gaps time (frame k is displayed at k / fps)"
        )
