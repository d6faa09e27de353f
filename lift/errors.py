"""How a command fails: one sentence on stderr and a non-zero exit code."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class LiftError(Exception):
    """An error that the user can fix; its text is one sentence with cause and remedy."""


class Terminated(BaseException):
    """A signal asked the process to end; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def cleanup_on_signals() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM and SIGHUP, so that what the block has begun is cleaned up.

    Further signals are ignored from then on. Only the main thread receives signals; elsewhere this
    does nothing.
    """

    def stop(number: int, _frame) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    names = ("SIGTERM", "SIGHUP")
    handled = [getattr(signal, name) for name in names if hasattr(signal, name)]
    former = {}
    try:
        for each in handled:
            if signal.getsignal(each) == signal.SIG_DFL:  # nohup ignores SIGHUP: leave it so
                former[each] = signal.signal(each, stop)
    except ValueError:  # not the main thread
        former = {}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def say(*lines: str) -> None:
    """Print to stdout, which may have been closed by the program that reads it."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except (BrokenPipeError, ValueError, AttributeError):
        with open(os.devnull, "w") as nowhere:  # Python flushes stdout once more when it ends
            try:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            except (OSError, ValueError, AttributeError):
                pass


def run(command: Callable[[list[str]], int | None], argv: list[str] | None = None) -> int:
    """Run a command and turn errors that the user can fix into one sentence and an exit code.

    Args:
        command: takes the arguments after the program's name; returns an exit code, or None for
            success.
        argv: arguments; those of the process when None.

    Returns:
        0 for success, 1 after an error, 130 after an interrupt, 128 + its number after another
        signal. argparse itself exits with 2 on an unknown flag.
    """
    try:
        return command(sys.argv[1:] if argv is None else argv) or 0
    except Terminated as signalled:
        print(f"lift: stopped by {signalled}", file=sys.stderr)
        return 128 + signalled.number
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
