"""The `lift` command: finds the named command's module and passes it the other arguments.

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
        "drop every second frame of a bundled clip, re-create it and score the result",
    ),
    "interpolate": (
        "lift.commands.interpolate",
        "raise the frame rate of a video or a folder of frames",
    ),
    "train": ("lift.commands.train", "train a model or resume a run"),
    "ablate": (
        "lift.commands.ablate",
        "train variants under the same conditions and compare them by class of motion",
    ),
    "evaluate": ("lift.commands.evaluate", "score weights and baselines on real clips"),
    "visualize": (
        "lift.commands.visualize",
        "draw attention, motion, errors and worst cases of a model, and curves of runs",
    ),
    "bench": (
        "lift.commands.bench",
        "benchmark the kernels or the model on this machine, or compare two runs",
    ),
    "doctor": (
        "lift.commands.doctor",
        "show which backend each op uses on this machine and verify it numerically",
    ),
}


def usage() -> str:
    """The text of `lift --help`."""
    width = max(map(len, COMMANDS)) + 2
    rows = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: lift COMMAND [...]\n\nVideo frame interpolation from fifteen frames.\n\n"
        f"{rows}\n\n"
        "  lift COMMAND --help  the flags of a command\n"
        "  lift --version       the version"
    )


def command(name: str) -> Callable[[list[str]], int | None]:
    """The `main` of a command."""
    return import_module(COMMANDS[name][0]).main


def dispatch(argv: list[str]) -> int | None:
    """Run `argv[0]` with the rest of `argv`; 2 if there is no such command."""
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
        return 2
    hint = did_you_mean(name, COMMANDS)
    print(f"lift: error: unknown command '{name}'{hint} (see lift --help)", file=sys.stderr)
    return 2


def main(argv: list[str] | None = None) -> int:
    """Entry point of `lift` and `python -m lift`; returns the exit code."""
    return run(dispatch, argv)
