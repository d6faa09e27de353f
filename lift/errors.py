"""The one way a command fails: a sentence on stderr and a non-zero exit."""

import sys
from collections.abc import Callable


class LiftError(Exception):
    """A mistake the user can mend; its text is one sentence with the cause and the remedy."""


def run(command: Callable[[list[str]], int | None], argv: list[str] | None = None) -> int:
    """Run a command's body and turn what a user can mend into one sentence and an exit code.

    Args:
        command: takes the arguments after the program's name; returns an exit code or None for
            success.
        argv: arguments; those of the process when None.

    Returns:
        0 for success, 1 for an error told in one sentence, 130 when interrupted. argparse itself
        exits with 2 on an unknown flag.
    """
    try:
        return command(sys.argv[1:] if argv is None else argv) or 0
    except KeyboardInterrupt:
        print("lift: interrupted", file=sys.stderr)
        return 130
    except LiftError as error:
        print(f"lift: error: {error}", file=sys.stderr)
        return 1
    except (
        OSError
    ) as error:  # full disk, missing file, no permission: the system's words name the cause
        place = f" ({error.filename})" if error.filename else ""
        print(f"lift: error: {error.strerror or error}{place}", file=sys.stderr)
        return 1
