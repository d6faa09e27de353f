"""Typed values of dataclass fields: to and from plain data, and the limits that a field sets.

Knows dataclasses in general and none of the configuration's own fields.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, get_type_hints

from lift.errors import LiftError

_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple[int, ...]: "a list of whole numbers",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` when `word` is close to one of the known ones, else nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def field_types(cls: type) -> dict[str, Any]:
    """Type of each field of a dataclass, in the order of the fields."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


# -- to and from plain data ------------------------------------------------------------------------


def convert(value: Any, expected: Any, name: str) -> Any:
    """A value from a file as its field's type.

    A whole number is accepted as a number, and a list as a tuple.

    Raises:
        LiftError: the value has another type; the sentence names the key `name`.
    """
    if expected is float and _is_whole(value):
        return float(value)
    if expected is int and _is_whole(value):
        return value
    if expected in (float, str, bool) and isinstance(value, expected):
        return value
    is_list = expected == tuple[int, ...] and isinstance(value, list | tuple)
    if is_list and all(map(_is_whole, value)):
        return tuple(value)
    raise LiftError(f"{name} must be {_TYPE_NAMES[expected]}, got {value!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def merge(base: Any, data: Any, where: str = "") -> Any:
    """A copy of the dataclass `base` with the fields that the dictionary `data` names replaced.

    Nested dataclasses are merged in turn.

    Args:
        base: a dataclass.
        data: values by field name.
        where: the section, which error messages put before the key.

    Raises:
        LiftError: an unknown key, or a value of another type; names the key.
    """
    if not isinstance(data, dict):
        raise LiftError(
            f"{where or 'a configuration'} must be a section of keys and values, got {data!r}"
        )
    known, prefix, new = field_types(type(base)), f"{where}." if where else "", {}
    for key, value in data.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"; accepted are {', '.join(known)}"
            raise LiftError(f"unknown key '{prefix}{key}'{hint}")
        if is_dataclass(known[key]):
            new[key] = merge(getattr(base, key), value, prefix + key)
        else:
            new[key] = convert(value, known[key], prefix + key)
    return replace(base, **new)


def to_plain(value: Any) -> Any:
    """Dataclasses as dictionaries and tuples as lists: what TOML and JSON can hold."""
    if is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value


# -- limits ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """Which values a field accepts; of a tuple, which elements.

    Attributes:
        choices: the only values; anything when empty.
        low, high: smallest and largest value, themselves accepted.
        above, below: bounds that are not accepted themselves.
        hint: what else may have been meant, for messages.
    """

    choices: tuple = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    hint: str = ""

    def allow(self, value: Any) -> bool:
        """Whether the field accepts this value."""
        if self.choices:
            return value in self.choices
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.above is not None:
            return f"above {self.above}"
        upper = f"to {self.high}" if self.high is not None else None
        upper = f"to less than {self.below}" if self.below is not None else upper
        return f"from {self.low} {upper}" if upper else f"at least {self.low}"


def setting(default: Any, help: str, **limits: Any) -> Any:
    """A field of a configuration, with its help text and the arguments of its `Limits`."""
    return field(default=default, metadata={"help": help, "limits": Limits(**limits)})


def limits_of(cls: type) -> dict[str, Limits]:
    """Limits of each field of a dataclass that has some, in the order of the fields."""
    return {f.name: f.metadata["limits"] for f in fields(cls) if "limits" in f.metadata}


def check_limits(value: Any, name: str, limits: Limits) -> None:
    """Check one value against the limits of its field.

    Raises:
        LiftError: it is not accepted; names the key, what came and what is accepted.
    """
    if isinstance(value, float) and not math.isfinite(value):
        reject(name, "a finite number", value)
    if isinstance(value, tuple) and not value:
        reject(name, "a list of at least one number", value)
    elements = value if isinstance(value, tuple) else (value,)
    if not all(map(limits.allow, elements)):
        hint = did_you_mean(value, limits.choices) if isinstance(value, str) else limits.hint
        reject(name, str(limits), value, hint)


def reject(name: str, accepted: str, value: Any, hint: str = "") -> None:
    """Raise the LiftError of a value that its field does not accept."""
    given = list(value) if isinstance(value, tuple) else value
    raise LiftError(f"{name} must be {accepted}, got {given!r}{hint}")
