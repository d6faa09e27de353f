"""Hooks that report which model stage is running, for profilers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import nn

STAGES = ("encoder", "transformer", "flow", "synthesis", "refine")


@contextmanager
def watched(model: nn.Module, context: Callable[[str], AbstractContextManager]) -> Iterator[None]:
    """Run every method of a stage that is called from outside the stage within `context(stage)`."""
    inside, changed = [], []

    def within(name: str, method: Callable) -> Callable:
        def call(*arguments, **keywords):
            if inside and inside[-1] == name:
                return method(*arguments, **keywords)
            inside.append(name)
            try:
                with context(name):
                    return method(*arguments, **keywords)
            finally:
                inside.pop()

        return call

    for name in STAGES:
        stage = getattr(model, name)
        for method, found in vars(type(stage)).items():
            if callable(found) and not method.startswith("__"):
                changed.append((stage, method))
                setattr(stage, method, within(name, getattr(stage, method)))
    try:
        yield
    finally:
        for stage, method in changed:
            delattr(stage, method)


class Tracer:
    """Tracks which stage of a model is running; outside of all stages it is the loss.

    Args:
        entered: called with the stage whenever it changes.
    """

    def __init__(self, entered: Callable[[str], None] = lambda stage: None):
        self.path, self.entered = ["loss"], entered

    @property
    def stage(self) -> str:
        return self.path[-1]

    def watch(self, model: nn.Module) -> AbstractContextManager:
        """Follow the calls of a model's stages."""
        return watched(model, self._within)

    @contextmanager
    def _within(self, stage: str) -> Iterator[None]:
        self.path.append(stage)
        self.entered(stage)
        try:
            yield
        finally:
            self.path.pop()
            self.entered(self.stage)
