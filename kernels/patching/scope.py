"""The code of a model: namespaces of modules, warps in them, and uses of `grid_sample`.

The code of a model is the modules of its classes, and the modules that these import from, except
installed packages that none of its classes comes from. Other code of the process is left alone,
except that a function of a Python module is also replaced where other modules imported it.
"""

import dis
import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from lift.kernels.patching.replacement import unwrapped
from lift.kernels.patching.surroundings import FOREIGN, code_names, top

NAMES = re.compile(r"warp|resampl|remap|bilinear_sampl", re.IGNORECASE)
# A function is recognized by calling it, which these may not be prepared for.
ACTIONS = re.compile(r"_*(save|write|load|read|show|plot|draw|vis|print|test|train|run|main)")
SCRIPTED = "it is compiled by TorchScript"
BOUND = "it is a functools.partial or a classmethod, which keep their function"
INSTALLED = ("site-packages", "dist-packages")


@dataclass
class Candidate:
    """A function that may be a warp, and where it is bound.

    Attributes:
        function: as found; may be a patch's.
        label: its module and name.
        method: whether it takes self.
        bindings: (namespace, class or instance; name; how it is bound) of every place.
    """

    function: Callable
    label: str
    method: bool = False
    bindings: list[tuple[object, str, str]] = field(default_factory=list)


# -- namespaces ------------------------------------------------------------------------------------


def namespaces(target: object) -> list[dict]:
    """Global names of every module that the code of a model is in.

    Raises:
        TypeError: the target is neither a model nor a module of Python.
    """
    if isinstance(target, types.ModuleType):
        start = [vars(target)]
    elif isinstance(target, nn.Module):
        start = list(_of_classes(target))
    else:
        raise TypeError(
            f"patch: expected an nn.Module or a Python module, got {type(target).__name__}; "
            "pass the model or the module that defines its warp"
        )
    tops = {top(space) for space in start}
    found = {id(space): space for space in start}
    queue = list(found.values())
    while queue:
        for space in _imported(queue.pop()):
            if id(space) not in found and _is_own(space, tops):
                found[id(space)] = space
                queue.append(space)
    return list(found.values())


def _of_classes(model: nn.Module) -> Iterator[dict]:
    """Namespaces of the classes of a model and of their methods, without PyTorch's."""
    classes = {cls for module in model.modules() for cls in type(module).__mro__}
    for cls in sorted(classes, key=lambda cls: f"{cls.__module__}.{cls.__qualname__}"):
        spaces = [function.__globals__ for _, function in functions_of(cls)]
        if cls.__module__ in sys.modules:
            spaces.append(vars(sys.modules[cls.__module__]))
        # A class that exec made has methods with globals, but no module.
        yield from (space for space in spaces if top(space) not in FOREIGN)


def _imported(space: dict) -> Iterator[dict]:
    """Namespaces that the values of a namespace come from."""
    for value in list(space.values()):
        if isinstance(value, types.ModuleType):
            yield vars(value)
        elif isinstance(value, types.FunctionType):
            yield unwrapped(value).__globals__
        elif isinstance(value, type) and value.__module__ in sys.modules:
            yield vars(sys.modules[value.__module__])


def _is_own(space: dict, tops: set[str]) -> bool:
    if top(space) in FOREIGN:
        return False
    installed = any(part in str(space.get("__file__") or "") for part in INSTALLED)
    return not installed or top(space) in tops


# -- warps -----------------------------------------------------------------------------------------


def candidates(
    spaces: list[dict], target: object, names: Iterable[str] = ()
) -> tuple[list[Candidate], dict[str, str]]:
    """Functions whose name is that of a warp, and {label: reason} of what cannot be one.

    Args:
        spaces: namespaces of the model's code.
        target: the model or module; attributes of a model's submodules are searched too.
        names: further names of functions.
    """
    found: dict[int, Candidate] = {}
    left: dict[str, str] = {}
    wanted, met = set(names), set()

    def add(place: object, name: str, value: object, kind: str, label: str) -> None:
        function = unwrapped(value)
        called = getattr(function, "__name__", "")
        named = name in wanted or called in wanted
        met.update({name, called} & wanted)
        if not named and not ACTIONS.match(called):
            named = NAMES.search(f"{name} {called}")
        if not named and kind != "forward":  # which is named by its class
            return
        method = kind in ("method", "forward")
        origin = inspect.unwrap(function) if isinstance(function, types.FunctionType) else None
        if isinstance(function, torch.jit.ScriptFunction):
            left[label] = SCRIPTED
        elif origin is None or top(origin.__globals__) in FOREIGN:
            return
        elif "_torchdynamo_orig_callable" in vars(function):
            left[label] = "it is compiled by torch.compile, or excluded from it"
        elif method and reads_self(function):
            left[label] = "it reads self, so its result depends on the object"
        else:
            candidate = found.setdefault(id(value), Candidate(value, label, method))
            candidate.bindings.append((place, name, kind))

    for space in spaces:
        where = space.get("__name__", "?")
        for name, value in list(space.items()):
            if isinstance(value, types.FunctionType):
                function = unwrapped(value)
                label = f"{function.__module__ or where}.{function.__name__}"
                add(space, name, value, "name", label)
            elif isinstance(value, torch.jit.ScriptFunction):
                add(space, name, value, "name", f"{where}.{name}")
            elif isinstance(value, functools.partial) and NAMES.search(name):
                left[f"{where}.{name}"] = BOUND
        for cls in _classes(space):
            for name, value in list(vars(cls).items()):
                label = f"{cls.__module__}.{cls.__qualname__}.{name}"
                if isinstance(value, staticmethod):
                    add(cls, name, value.__func__, "static", label)
                elif isinstance(value, classmethod) and NAMES.search(name):
                    left[label] = BOUND
                elif isinstance(value, types.FunctionType):
                    forward = name == "forward" and NAMES.search(cls.__name__)
                    add(cls, name, value, "forward" if forward else "method", label)
    if isinstance(target, nn.Module):
        for path, module in target.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                left[path or type(module).__name__] = SCRIPTED
            for name, value in list(vars(module).items()):
                if isinstance(value, types.FunctionType):
                    add(module, name, value, "attribute", ".".join(filter(None, (path, name))))
                elif isinstance(value, functools.partial) and NAMES.search(name):
                    left[".".join(filter(None, (path, name)))] = BOUND
    else:
        _add_importers(found, spaces)
    left.update({name: "the model's code has no such function" for name in sorted(wanted - met)})
    return list(found.values()), left


def _add_importers(found: dict[int, Candidate], spaces: list[dict]) -> None:
    """Add the names that other loaded modules have imported candidates under."""
    searched = {id(space) for space in spaces}
    for module in list(sys.modules.values()):
        space = getattr(module, "__dict__", None)
        if not isinstance(space, dict) or id(space) in searched or top(space) in FOREIGN:
            continue
        for name, value in list(space.items()):
            if isinstance(value, types.FunctionType) and id(value) in found:
                found[id(value)].bindings.append((space, name, "name"))


def _classes(space: dict) -> list[type]:
    """Classes that a namespace defines."""
    where = space.get("__name__", "builtins")
    values = {id(v): v for v in list(space.values()) if isinstance(v, type)}
    return [cls for cls in values.values() if cls.__module__ == where]


def reads_self(function: types.FunctionType) -> bool:
    """Whether a method uses its first argument, or calls super()."""
    code = inspect.unwrap(function).__code__
    if not code.co_argcount:
        return True
    first = code.co_varnames[0]
    if first in code.co_cellvars or "__class__" in code.co_freevars:
        return True
    # One instruction may load two variables, whose names are then a tuple.
    arguments = (step.argval for step in dis.get_instructions(code))
    return any(a == first or isinstance(a, tuple) and first in a for a in arguments)


# -- grid_sample -----------------------------------------------------------------------------------


def functions_of(cls: type) -> list[tuple[str, types.FunctionType]]:
    """Names and functions of the methods that a class itself defines."""
    found = []
    for name, value in list(vars(cls).items()):
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        while not isinstance(value, types.FunctionType) and hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        if isinstance(value, types.FunctionType):
            found.append((name, value))
    return found


def names_in(space: dict) -> set[str]:
    """Global names and attributes that the code of a namespace mentions."""
    functions = [v for v in list(space.values()) if isinstance(v, types.FunctionType)]
    for cls in _classes(space):
        functions += [function for _, function in functions_of(cls)]
    mentioned: set[str] = set()
    for function in functions:
        while function.__globals__ is not space and hasattr(function, "__wrapped__"):
            function = function.__wrapped__  # below a decorator or a patch
        if function.__globals__ is space:
            mentioned |= code_names(function.__code__)
    return mentioned
