"""Values of flags that commands share: whole numbers within limits, and lists of them."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

NAME = re.compile(r"\w[\w.+-]*")


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A type of argparse: a whole number of at least `low` and, unless None, at most `high`."""
    limits = f"of at least {low}" if high is None else f"from {low} to {high}"

    def parse(text: str) -> int:
        number = int(text) if text.removeprefix("-").isdecimal() else None
        if number is None or number < low or (high is not None and number > high):
            raise ArgumentTypeError(f"must be a whole number {limits}, got '{text}'")
        return number

    return parse


def whole_numbers(low: int) -> Callable[[str], list[int]]:
    """A type of argparse: whole numbers of at least `low`, separated by commas, each once."""
    one = whole_number(low)

    def parse(text: str) -> list[int]:
        try:
            return list(dict.fromkeys(map(one, text.split(","))))
        except ArgumentTypeError:
            raise ArgumentTypeError(
                f"must be whole numbers of at least {low}, separated by commas, got '{text}'"
            ) from None

    return parse


def names(text: str) -> list[str]:
    """Names separated by commas."""
    return [name for part in text.split(",") if (name := part.strip())]


def named_folder(text: str) -> tuple[str, Path]:
    """A name and a folder, from NAME=DIR.

    Raises:
        ArgumentTypeError: one of the two is missing, or the name could be a path.
    """
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise ArgumentTypeError(f"must be NAME=DIR, such as rife=saved/rife, got '{text}'")
    if not NAME.fullmatch(name):  # it also names a folder
        raise ArgumentTypeError(f"a NAME has letters, digits and . _ - + only, got '{name}'")
    return name, Path(folder)
