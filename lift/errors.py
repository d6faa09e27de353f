"""How a command fails: one sentence on stderr and a non-zero exit code."""

import _thread
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import TextIO, TypeVar

PATIENCE = 10.0  # seconds for which further signals are ignored after one
RETRY = 0.02  # seconds after which a signal that came in a callback raises
F = TypeVar("F", bound=Callable)
_callbacks: set[CodeType] = set()


class LiftError(Exception):
    """An error that the user can fix; its text is one sentence with cause and remedy."""


class Terminated(BaseException):
    """A signal asked the process to end; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def callback(function: F) -> F:
    """Mark a function that C code calls, such as the `read` of a file that PyAV was given.

    C code prints an exception of such a function and goes on, so a signal raises after it.
    """
    _callbacks.add(function.__code__)
    return function


def _send_to_main(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # which ends a wait of the main thread
        signal.pthread_kill(threading.main_thread().ident, number)
    else:
        _thread.interrupt_main(number)


def _in_callback(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in _callbacks:
            return True
        frame = frame.f_back
    return False


@contextmanager
def cleanup_on_signals() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM and SIGHUP, so that what the block has begun is cleaned up.

    A signal that comes while the block is cleaned up after another, as of Ctrl-C pressed twice, is
    ignored. Only the main thread receives signals; elsewhere this does nothing.
    """
    last = float("-inf")

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if _in_callback(frame):
            retry = threading.Timer(RETRY, _send_to_main, (number,))
            retry.daemon = True
            retry.start()
            return
        now = time.monotonic()
        if now - last < PATIENCE:
            return
        last = now
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    usual = (signal.SIG_DFL, signal.default_int_handler)  # nohup ignores SIGHUP: leave it so
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    handled = [getattr(signal, name) for name in names if hasattr(signal, name)]
    former = {}
    try:
        for each in handled:
            if signal.getsignal(each) in usual:
                former[each] = signal.signal(each, stop)
    except ValueError:  # not the main thread
        former = {}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def say(*lines: str, stream: TextIO | None = None) -> None:
    """Print to stdout or another stream, whose reader may have ended."""
    stream = stream or sys.stdout
    try:
        for line in lines:
            print(line, file=stream, flush=True)
    except (BrokenPipeError, ValueError):
        discard(stream)


def discard(stream) -> None:
    """Let what is still written to a standard stream go nowhere: its reader has ended.

    Python writes what is left of it once more when the process ends, which would fail again.
    """
    with open(os.devnull, "w") as nowhere:
        try:
            os.dup2(nowhere.fileno(), stream.fileno())
        except (OSError, ValueError, AttributeError):
            pass


def open_standard_streams() -> None:
    """Give a process whose parent closed stdin, stdout or stderr an empty one.

    Else the next file that is opened, such as a video, takes its number, and messages of libraries
    end in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                nowhere = os.open(os.devnull, os.O_RDWR)
                if nowhere != number:
                    os.dup2(nowhere, number)
                    os.close(nowhere)
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115  it stays


def report_error(error: LiftError | OSError) -> None:
    """Print an error that the user can fix as one sentence on stderr."""
    text = str(error)
    if isinstance(error, OSError):  # full disk, missing file, no permission: the system names it
        place = f" ({error.filename})" if error.filename else ""
        text = f"{error.strerror or error}{place}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text += "; free some space or choose another disk"
    say(f"lift: error: {text}", stream=sys.stderr)


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
    open_standard_streams()
    try:
        return command(sys.argv[1:] if argv is None else argv) or 0
    except Terminated as signalled:
        say(f"lift: stopped by {signalled}", stream=sys.stderr)
        return 128 + signalled.number
    except KeyboardInterrupt:
        say("lift: interrupted", stream=sys.stderr)
        return 130
    except (LiftError, OSError) as error:
        report_error(error)
        return 1
    except RuntimeError as error:
        kernels = sys.modules.get("lift.kernels")  # imported by what raised the error
        if not isinstance(error, getattr(kernels, "UnsupportedError", ())):
            raise
        report_error(LiftError(f"--kernels: {error}"))
        return 1
