"""Command-line flags: a parser with one-sentence errors, and flags for a dataclass's fields."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import Field, fields, replace
from typing import Any, NoReturn

from lift.config import old_names
from lift.config.values import did_you_mean, field_types


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose flags accept `-` and `_` alike and are never abbreviated.

    A mistake is one sentence on stderr instead of the whole usage, and exit code 2.

    Attributes:
        gathers: a positional of any number whose values may stand between flags, too.
        renamed_flags: former flag -> what to use now; such a flag is an error that says so.
        deprecated_flags: former flag -> flag now; such a flag is accepted with a warning.
    """

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.gathers: str | None = None
        self.renamed_flags: dict[str, str] = {}
        self.deprecated_flags: dict[str, str] = {}

    def parse_known_args(self, args=None, namespace=None):
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        words[:end] = map(self._current, words[:end])
        return super().parse_known_args(words, namespace)

    def parse_args(self, args=None, namespace=None):
        namespace, unknown = self.parse_known_args(args, namespace)
        if self.gathers is not None and not any(word.startswith("-") for word in unknown):
            getattr(namespace, self.gathers).extend(unknown)
            unknown = []
        if unknown:
            flag = next((word for word in unknown if word.startswith("-")), None)
            if flag is None:
                self.error(f"unexpected argument '{unknown[0]}'")
            flag = flag.split("=")[0]
            if advice := self.renamed_flags.get(_underscored(flag)):
                self.error(f"unknown flag '{flag}'; {advice}")
            self.error(f"unknown flag '{flag}'" + did_you_mean(flag, self._option_string_actions))
        return namespace

    def _current(self, word: str) -> str:
        """The word, with a flag in it spelled as it was added."""
        if not word.startswith("--"):  # a value, or the name of a file
            return word
        name, equals, value = word.partition("=")
        flag = _underscored(name)
        if flag in self.deprecated_flags and flag not in self._option_string_actions:
            now = self.deprecated_flags[flag]
            print(f"{self.prog}: warning: {name} is now {now}", file=sys.stderr)
            flag = now
        for spelling in (flag, "--" + flag[2:].replace("_", "-")):
            if spelling in self._option_string_actions:
                return spelling + equals + value
        return word

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _underscored(flag: str) -> str:
    return "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag


def add_fields(parser: argparse.ArgumentParser, cls: type, section: str = "") -> None:
    """Add a flag for each field of a dataclass.

    Examples are `--batch_size 4`, `--strides 2 2 4`, and the switches `--preload` and
    `--no_preload`. Only flags that are given appear in the namespace, as `section.field`, so they
    cannot be mistaken for a command's own arguments; `overrides` collects them.
    """
    group = parser.add_argument_group(section) if section else parser
    if isinstance(parser, Parser):
        parser.renamed_flags |= old_names.renamed_flags(section)
    for field, kind in zip(fields(cls), field_types(cls).values(), strict=True):
        dest = f"{section}.{field.name}" if section else field.name
        if kind is bool:
            _add_switch(group, field, dest)
        elif kind in (int, float, str, tuple[int, ...]):
            _add_value(group, field, dest, kind)


def _add_switch(group: Any, field: Field, dest: str) -> None:
    default = "on" if field.default else "off"
    text = f"{field.metadata['help']} (--no_{field.name} turns it off; default {default})"
    options = {"dest": dest, "default": argparse.SUPPRESS}
    group.add_argument(f"--{field.name}", action="store_true", help=_escaped(text), **options)
    group.add_argument(
        f"--no_{field.name}", action="store_false", help=argparse.SUPPRESS, **options
    )


def _add_value(group: Any, field: Field, dest: str, kind: Any) -> None:
    default, text = field.default, field.metadata["help"]
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    if shown != "":
        text += f" (default {shown})"
    group.add_argument(
        f"--{field.name}",
        dest=dest,
        default=argparse.SUPPRESS,
        type=int if kind == tuple[int, ...] else kind,
        nargs="+" if kind == tuple[int, ...] else None,
        metavar={float: "X", str: "TEXT"}.get(kind, "N"),
        help=_escaped(text),
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def overrides(base: Any, namespace: argparse.Namespace, section: str = "") -> Any:
    """A copy of the dataclass `base` with the fields whose flags were given."""
    prefix = f"{section}." if section else ""
    values = {}
    for field in fields(base):
        if hasattr(namespace, prefix + field.name):
            value = getattr(namespace, prefix + field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return replace(base, **values)


def to_flags(value: Any, base: Any) -> dict[str, str]:
    """The flags that turn the dataclass `base` into `value`, by field.

    For example `{"lr": "--lr 0.001", "preload": "--preload"}`.
    """
    found = {}
    for field in fields(base):
        new = getattr(value, field.name)
        if new == getattr(base, field.name) or not isinstance(new, int | float | str | tuple):
            continue
        if isinstance(new, bool):
            found[field.name] = f"--{field.name}" if new else f"--no_{field.name}"
        else:
            words = _words(new if isinstance(new, tuple) else (new,))
            found[field.name] = f"--{field.name} {words}"
    return found


def _words(values: Sequence[int | float | str]) -> str:
    return " ".join(shlex.quote(_word(value)) for value in values)


def _word(value: int | float | str) -> str:
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
