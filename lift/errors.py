"""How a command fails: one sentence on stderr and a non-zero exit code."""

import sys
from collections.abc import Callable


class LiftError(Exception):
    """An error that the user can fix; its text is one sentence with cause and remedy."""


def run(command: Callable[[list[str]], int | None], argv: list[str] | None = None) -> int:
    """Run a command and turn errors that the user can fix into one sentence and an exit code.

    Args:
        command: takes the arguments after the program's name; returns an exit code, or None for
            success.
        argv: arguments; those of the process when None.

    Returns:
        0 for success, 1 after an error, 130 after an interrupt. argparse itself exits with 2 on an
        unknown flag.
    """
    try:
        return command(sys.argv[1:] if argv is None else argv) or 0
    except KeyboardInterrupt:
        print("lift: interrupted", file=sys.stderr)
        return 130
    except LiftError as error:
        print(f"lift: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # full disk, missing file, no permission: the system names the cause
        place = f" ({error.filename})" if error.filename else ""
        print(f"lift: error: {error.strerror or error}{place}", file=sys.stderr)
        return 1
