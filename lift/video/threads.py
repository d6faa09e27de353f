"""Threads that decode and encode while the model computes.

Both queues are bounded and preserve the order. An error in a thread is raised in the caller's
thread, and no thread outlives the block or the loop that uses it.
"""

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

POLL = 0.05  # seconds between checks for the end

Item = TypeVar("Item")


class _Queue:
    """A bounded queue between two threads that either side can end."""

    def __init__(self, depth: int):
        self._queue: Queue = Queue(depth)
        self.ended = Event()

    def put(self, item) -> bool:
        """Wait for space; False where the other side has ended."""
        while not self.ended.is_set():
            try:
                self._queue.put(item, timeout=POLL)
                return True
            except Full:
                continue
        return False

    def get(self):
        """The next item; None once the other side has ended and nothing is left."""
        while True:
            try:
                return self._queue.get(timeout=POLL)
            except Empty:
                if self.ended.is_set() and self._queue.empty():
                    return None


def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The items, produced by a thread up to `depth` items ahead.

    Where the loop over them ends early, the source iterator is closed in its thread.
    """
    queue, source = _Queue(depth), iter(items)

    def work() -> None:
        try:
            for item in source:
                if not queue.put((item, None)):
                    break
            else:
                queue.put((None, StopIteration()))
        except BaseException as error:  # whatever it is, it belongs to the reader
            queue.put((None, error))
        finally:
            if hasattr(source, "close"):
                source.close()

    thread = Thread(target=work, name="lift reader", daemon=True)
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        queue.ended.set()
        thread.join()


class WriteBehind:
    """Calls a function in a thread, in order, up to `depth` calls behind; a context manager.

    The block ends when all calls are done. After an exception, calls that have not begun are
    dropped. An exception of a call is raised by the next call, or at the end of the block.
    """

    def __init__(self, function: Callable[..., None], depth: int):
        self._function, self._queue = function, _Queue(depth)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = Thread(target=self._work, name="lift writer", daemon=True)

    def __enter__(self) -> "WriteBehind":
        self._thread.start()
        return self

    def __call__(self, *arguments) -> None:
        if not self._queue.put(arguments):
            raise self._error

    def _work(self) -> None:
        while (arguments := self._queue.get()) is not None:
            if self._dropped:
                return
            try:
                self._function(*arguments)
            except BaseException as error:  # whatever it is, it belongs to the caller
                self._error = error
                self._queue.ended.set()
                return

    def __exit__(self, kind, error, trace) -> None:
        self._dropped = kind is not None
        self._queue.ended.set()
        try:
            self._thread.join()
        except BaseException:  # a signal: what is cleaned up next must not be written any more
            self._dropped = True
            self._thread.join()
            raise
        if self._error is not None and kind is None:
            raise self._error
