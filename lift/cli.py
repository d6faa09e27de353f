"""The `lift` command: finds the named command's module and hands it the rest of the line.

A command is a row of COMMANDS and a `main(argv)` in its module, which is imported only when the
command runs.
"""

import sys
from collections.abc import Callable
from importlib import import_module

from lift import __version__
from lift.config.values import did_you_mean
from lift.errors import run

COMMANDS = {
    "demo": (
        "lift.commands.demo",
        "interpolate the bundled clip and score the result against the held-back frames",
    ),
    "interpolate": ("lift.commands.interpolate", "make a video, or a folder of frames, smoother"),
    "train": ("lift.commands.train", "train a model"),
    "evaluate": ("lift.commands.evaluate", "score weights on held-back frames"),
    "bench": (
        "lift.commands.bench",
        "time the kernels or the model on this machine, and tell two runs apart",
    ),
    "doctor": (
        "lift.commands.doctor",
        "show what serves on this machine, and why the others do not",
    ),
}


def usage() -> str:
    """What `lift --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    rows = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    return (
        f"usage: lift COMMAND [...]\n\nVideo frame interpolation from fifteen frames.\n\n{rows}\n\n"
        "  lift COMMAND --help  what a command takes\n  lift --version       the version"
    )


def command(name: str) -> Callable[[list[str]], int | None]:
    """The body of a command."""
    return import_module(COMMANDS[name][0]).main


def dispatch(argv: list[str]) -> int | None:
    """Run `argv[0]` with the rest of `argv`; 2 when it names no command."""
    name = argv[0] if argv else ""
    if name in COMMANDS:
        return command(name)(argv[1:])
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name in ("-V", "--version"):
        print(f"lift {__version__}")
        return 0
    if not name:
        print(usage(), file=sys.stderr)
    else:
        print(
            f"lift: error: unknown command '{name}'{did_you_mean(name, COMMANDS)} (lift --help lists the commands)",
            file=sys.stderr,
        )
    return 2


def main(argv: list[str] | None = None) -> int:
    """Entry point of `lift` and `python -m lift`; returns the exit code."""
    return run(dispatch, argv)
