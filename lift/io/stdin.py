"""A video from stdin, which is opened twice: for its properties and for its frames."""

import sys
from pathlib import Path

from lift.errors import LiftError, callback

STDIN = Path("-")


class Replayed:
    """A stream that cannot seek and is read twice: what the first reading took comes again.

    Args:
        stream: binary, such as sys.stdin.buffer.
    """

    def __init__(self, stream):
        self._stream = stream
        self._head = bytearray()  # what the first reading took
        self._position: int | None = None  # in the head, once it is replayed

    def replay(self) -> None:
        """Begin again at the first byte; from then on nothing more is kept."""
        self._position = 0

    @callback
    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        if self._position is None:
            data = self._stream.read(size)
            self._head += data
            return data
        data = bytes(self._head[self._position : self._position + size])
        self._position += len(data)
        if data:
            return data
        self._head.clear()
        self._position = 0
        return self._stream.read(size)


_stdin: Replayed | None = None


def open_stdin() -> Replayed:
    """Stdin, from its first byte where it is opened for the second time.

    Raises:
        LiftError: stdin is a terminal, so that nothing would ever come.
    """
    global _stdin
    if _stdin is None:
        if sys.stdin.isatty():
            raise LiftError("-: nothing comes through a pipe; give a file, or pipe a video here")
        _stdin = Replayed(sys.stdin.buffer)
    else:
        _stdin.replay()
    return _stdin
