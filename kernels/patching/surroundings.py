"""What a function reads and keeps besides its arguments: caches, settings, the functions it calls.

A function is recognized by calling it. Its caches have to be afterwards as before, and a setting
that changes later may make it another function.
"""

import contextlib
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from itertools import product

import torch

FOREIGN = sys.stdlib_module_names - {"__main__"} | {"torch", "lift", "numpy"}
SIMPLE = (bool, int, float, str)  # types of settings


def top(space: dict) -> str:
    """The package that a namespace belongs to."""
    return str(space.get("__name__", "")).partition(".")[0]


def code_names(code: types.CodeType) -> set[str]:
    """Global names and attributes that code mentions, its inner functions included."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*(code_names(one) for one in inner))


def _below(function: object) -> object:
    """The function below decorators of PyTorch, patches, partials and methods."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType | staticmethod | classmethod):
            function = function.__func__
        elif isinstance(function, types.FunctionType) and top(function.__globals__) in FOREIGN:
            below = inspect.unwrap(function)
            if below is function:
                return None
            function = below
        else:
            return function if isinstance(function, types.FunctionType) else None


def _values(function: types.FunctionType) -> dict:
    """Values that a function reaches by name: globals, what it encloses, and defaults."""
    values: dict = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            values[name] = cell.cell_contents
    for name in code_names(function.__code__):
        if name in function.__globals__:
            values[name] = function.__globals__[name]
    values.update(enumerate(function.__defaults__ or ()))
    values.update(function.__kwdefaults__ or {})
    return values


def _reached(function: Callable) -> Iterator[tuple[types.FunctionType, dict]]:
    """A function and those that it calls, without libraries, each with the values it reaches."""
    found: set[int] = set()
    queue: list[object] = [function]
    while queue:
        one = _below(queue.pop())
        if one is None or id(one) in found:
            continue
        found.add(id(one))
        values = _values(one)
        queue += values.values()
        yield one, values


def _attributes(value: object) -> dict | None:
    """The attributes of an object that may hold settings or caches of a project."""
    if isinstance(value, torch.Tensor | types.FunctionType | functools.partial):
        return None
    owner = value if isinstance(value, types.ModuleType) else type(value)
    if isinstance(value, types.ModuleType) and top(vars(owner)) in FOREIGN:
        return None
    return getattr(value, "__dict__", None)


def settings_of(function: Callable) -> list[tuple[dict, str, object]]:
    """(namespace, name, value) of the numbers, strings and booleans that a function reads."""
    found = {}
    for one, values in _reached(function):
        spaces = [one.__globals__, *(_attributes(value) or {} for value in values.values())]
        for space, name in product(spaces, code_names(one.__code__)):
            if type(space.get(name)) in SIMPLE:
                found[id(space), name] = space, name, space[name]
    return list(found.values())


def unchanged(settings: list[tuple[dict, str, object]]) -> bool:
    """Whether settings have the values that they had."""
    now = ((space.get(name), value) for space, name, value in settings)
    return all(type(one) is type(value) and one == value for one, value in now)


@contextlib.contextmanager
def caches_restored(function: Callable) -> Iterator[None]:
    """What a function keeps between calls, in which a key may be a shape alone, stays as it is.

    Such as dicts, lists and objects that it reaches, its own attributes, and global names that it
    assigns.
    """
    kept: dict[int, tuple[dict | list, dict | list]] = {}
    assigned = []
    for one, values in _reached(function):
        for value in (*values.values(), vars(one), *vars(one).values()):
            if not isinstance(value, types.ModuleType | type | dict | list):
                value = _attributes(value)
            if isinstance(value, dict | list):
                kept[id(value)] = value, value.copy()
        space = one.__globals__
        stored = code_names(one.__code__) & space.keys()
        assigned += [(space, n, space[n]) for n in stored if not callable(space[n])]
    try:
        yield
    finally:
        for value, before in kept.values():
            value.clear()
            value.update(before) if isinstance(value, dict) else value.extend(before)
        for space, name, before in assigned:
            space[name] = before
