"""Command-line flags: a parser that answers a mistake in one sentence, and a flag for each field of
a dataclass.
"""

import argparse
import shlex
from dataclasses import fields, replace
from typing import Any, NoReturn

from lift.config import old_names
from lift.config.values import did_you_mean, kinds


class Parser(argparse.ArgumentParser):
    """argparse with one sentence instead of the whole usage on a mistake (exit code 2), and no
    abbreviated flags.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(
            *args,
            **{
                "allow_abbrev": False,
                "formatter_class": argparse.RawDescriptionHelpFormatter,
                **kwargs,
            },
        )
        self.renamed_flags: dict[str, str] = {}  # former flags, and what to use today

    def parse_args(self, args=None, namespace=None):
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = next((word for word in unknown if word.startswith("-")), None)
            if flag is None:
                self.error(f"unexpected argument '{unknown[0]}'")
            flag = flag.split("=")[0]
            if advice := self.renamed_flags.get(flag.replace("-", "_").replace("__", "--", 1)):
                self.error(f"unknown flag '{flag}'; {advice}")
            self.error(f"unknown flag '{flag}'" + did_you_mean(flag, self._option_string_actions))
        return namespace

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help lists what it takes)\n")


def add_fields(parser: argparse.ArgumentParser, cls: type, section: str = "") -> None:
    """Add a flag for each field of a dataclass: `--batch_size 4`, `--strides 2 2 4`, `--preload`
    and `--no_preload`.

    Hyphens serve as well as underscores. Only flags that were given appear in the namespace, as
    `section.field`, so they cannot be mistaken for a command's own arguments; `given` collects
    them.
    """
    group = parser.add_argument_group(section) if section else parser
    if isinstance(parser, Parser):
        parser.renamed_flags |= old_names.renamed_flags(section)
    for field, kind in zip(fields(cls), kinds(cls).values(), strict=True):
        if kind not in (int, float, str, bool, tuple[int, ...]):
            continue
        options: dict[str, Any] = {
            "dest": f"{section}.{field.name}" if section else field.name,
            "default": argparse.SUPPRESS,
        }
        default = field.default
        if kind is bool:
            forms = [
                (field.name, {"action": "store_true"}),
                (f"no_{field.name}", {"action": "store_false"}),
            ]
            text = f"{field.metadata['help']} (--no_{field.name} turns it off; default {'on' if default else 'off'})"
        else:
            shape = {"type": int, "nargs": "+"} if kind == tuple[int, ...] else {"type": kind}
            forms = [
                (
                    field.name,
                    {**shape, "metavar": {int: "N", float: "X", str: "TEXT"}.get(kind, "N")},
                )
            ]
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            text = (
                f"{field.metadata['help']} (default {shown})"
                if shown != ""
                else field.metadata["help"]
            )
        text = text.replace("%", "%%")
        for name, how in forms:
            group.add_argument(f"--{name}", **options, **how, help=text)
            if "_" in name:
                group.add_argument(
                    f"--{name.replace('_', '-')}", **options, **how, help=argparse.SUPPRESS
                )
            text = argparse.SUPPRESS


def given(base: Any, namespace: argparse.Namespace, section: str = "") -> Any:
    """A copy of the dataclass `base` with the fields whose flags were given."""
    prefix = f"{section}." if section else ""
    values = {
        f.name: getattr(namespace, prefix + f.name)
        for f in fields(base)
        if hasattr(namespace, prefix + f.name)
    }
    return replace(
        base, **{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    )


def spelled(value: Any, base: Any) -> dict[str, str]:
    """The flags that make the dataclass `value` out of `base`, by field: {"lr": "--lr 0.001",
    "preload": "--preload"}.
    """
    found = {}
    for field in fields(base):
        new = getattr(value, field.name)
        if new == getattr(base, field.name) or not isinstance(new, int | float | str | tuple):
            continue
        if isinstance(new, bool):
            found[field.name] = f"--{field.name}" if new else f"--no_{field.name}"
        else:
            words = new if isinstance(new, tuple) else (new,)
            found[field.name] = " ".join(
                [f"--{field.name}", *(shlex.quote(_word(word)) for word in words)]
            )
    return found


def _word(value: int | float | str) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
