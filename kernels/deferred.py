"""Importing Triton kernels where they can run, and elsewhere at their first use.

The kernels take a tenth of a second to import, and Triton another. A PyTorch that is built for the
CPU runs them in Triton's interpreter only; otherwise they are compiled or counted, never launched.
"""

import importlib.util
import os
from functools import partial
from types import ModuleType

import torch


def triton_can_run() -> bool:
    """Whether Triton kernels may run in this process, on a GPU or in the interpreter."""
    interpreted = os.environ.get("TRITON_INTERPRET", "").strip().lower() not in ("", "0", "false")
    return interpreted or torch.version.cuda is not None or torch.version.hip is not None


def import_kernels(name: str) -> ModuleType:
    """A module of launches, `triton_launch` of an op, which may be imported later.

    Raises:
        ImportError: Triton is not installed, or has no build for this machine.
    """
    if triton_can_run():
        return importlib.import_module(name)
    if importlib.util.find_spec("triton") is None:
        raise ImportError("No module named 'triton'")
    return DeferredModule(name)


class DeferredModule(ModuleType):
    """A module of launches that cannot run here, imported when something else in it is used.

    Unlike those of `importlib.util.LazyLoader` it is not in sys.modules, where `inspect`, and so
    PyTorch, reads attributes of all modules.
    """

    INTERPRETED = False
    DISPATCH_KEYS = ("CUDA",)

    @staticmethod
    def unsupported_reason(*arguments) -> str:
        return "no CUDA device"

    def __getattr__(self, name: str):
        if name.endswith(("_forward", "_backward")):  # the ops, which are registered at once
            return partial(self._call, name)
        return getattr(importlib.import_module(self.__name__), name)

    def __setattr__(self, name: str, value) -> None:
        setattr(importlib.import_module(self.__name__), name, value)

    def _call(self, name: str, *arguments):
        return getattr(importlib.import_module(self.__name__), name)(*arguments)
