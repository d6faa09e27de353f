"""A setting with a value inside a `with` block, of the thread and asyncio task that set it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Scoped(Generic[T]):
    """A setting that blocks may enter and leave in any order, as suspended generators do.

    Each block adds a value and at its end removes its own, so the value that another block set
    stays. torch.compile cannot trace a ContextVar, and guards on a threading.local: there the same
    values are kept by thread, for compiled code to read. Threads that Python did not start, such as
    those in which autograd computes on GPUs, and runs checkpoints again, have the main thread's.

    Args:
        name: of the ContextVar.
    """

    def __init__(self, name: str) -> None:
        self._blocks: ContextVar[tuple] = ContextVar(name, default=())
        # Not a subclass: torch.compile does not guard on attributes of one.
        self._thread = threading.local()
        self._main: T | None = None

    def get(self) -> T | None:
        """The value of the innermost block, None outside of blocks."""
        if torch.compiler.is_dynamo_compiling():
            return getattr(self._thread, "value", None)
        blocks = self._blocks.get()
        if blocks:
            return blocks[-1][0]
        if self._main is not None and isinstance(
            threading.current_thread(), threading._DummyThread
        ):
            return self._main
        return None

    @contextmanager
    def set(self, value: T) -> Iterator[None]:
        """Set the value inside the block."""
        if torch.compiler.is_dynamo_compiling():  # the block is within the compiled function
            before = getattr(self._thread, "value", None)
            self._thread.value = value
            try:
                yield
            finally:
                self._thread.value = before
            return
        block = [value]  # a list is like no other, whatever its value
        self._store((*self._blocks.get(), block))
        try:
            yield
        finally:
            self._store(tuple([other for other in self._blocks.get() if other is not block]))

    def _store(self, blocks: tuple) -> None:
        self._blocks.set(blocks)
        value = blocks[-1][0] if blocks else None
        self._thread.value = value
        if threading.current_thread() is threading.main_thread():
            self._main = value
