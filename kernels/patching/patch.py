"""`patch`: put LIFT's kernels into a model of another project, and take them out again.

Functions are replaced where the model's code looks them up: as global names of its modules, as
methods of its classes and as attributes. `grid_sample` is replaced in the same way: a module that
calls `F.grid_sample` gets a copy of `torch.nn.functional` under its name F. The alternative, a
mode that sees every call of PyTorch during a forward pass, would slow down every operation, would
miss activation checkpointing, and stands in the way of torch.compile.
"""

import types
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lift.kernels.patching.probe import Unrecognized
from lift.kernels.patching.replacement import (
    State,
    grid_sample_replacement,
    module_copies,
    unwrapped,
    warp_replacement,
)
from lift.kernels.patching.scope import candidates, names_in, namespaces


@dataclass(frozen=True)
class Replaced:
    """Something that a patch replaced.

    Attributes:
        name: module and name of the function, or of the module that calls `grid_sample`.
        op: the op of `lift.kernels` that computes it.
        convention: in words.
        difference: largest difference of results on the probes; None for `grid_sample`, which is
            not probed.
        places: names that led to it.
    """

    name: str
    op: str
    convention: str
    difference: float | None
    places: tuple[str, ...]

    def __str__(self) -> str:
        bound = ", ".join(self.places)
        known = "" if self.difference is None else f"; differs by {self.difference:.0e}"
        return f"{self.name} -> {self.op} ({self.convention}{known}; bound as {bound})"


class Patched:
    """What `patch` replaced, and the way back: `undo()`, or the end of a with block.

    Attributes:
        replaced: a `Replaced` for every function.
        left: {name: reason} of functions with the name of a warp that were left alone.
    """

    def __init__(self) -> None:
        self.replaced: list[Replaced] = []
        self.left: dict[str, str] = {}
        self._state = State()
        self._bindings: list[tuple[object, str, object, object]] = []

    @property
    def active(self) -> bool:
        """Whether the replacements are in force."""
        return self._state.active

    def undo(self) -> None:
        """Put everything back. Calling it again does nothing.

        Patches may be undone in any order. A replacement that was copied elsewhere, as by
        `copy.deepcopy` of the model, calls the original from now on.
        """
        self._state.active = False
        while self._bindings:
            place, name, before, ours = self._bindings.pop()
            if _read(place, name) is ours:  # else someone put another function on top
                _write(place, name, _without_undone(before))

    def __enter__(self) -> "Patched":
        return self

    def __exit__(self, *error) -> None:
        self.undo()

    def __str__(self) -> str:
        lines = [f"replaced: {len(self.replaced)}", *(f"  {one}" for one in self.replaced)]
        if self.left:
            lines += ["left alone:", *(f"  {name}: {why}" for name, why in self.left.items())]
        return "\n".join(lines)

    __repr__ = __str__

    def _bind(self, place: object, name: str, value: object) -> None:
        before = _read(place, name)
        if isinstance(before, staticmethod):
            value = staticmethod(value)
        _write(place, name, value)
        self._bindings.append((place, name, before, value))


def _read(place: object, name: str) -> object:
    return (place if isinstance(place, dict) else vars(place)).get(name)


def _write(place: object, name: str, value: object) -> None:
    if isinstance(place, dict):
        place[name] = value
    else:
        setattr(place, name, value)


def _without_undone(value: object) -> object:
    """A value without the replacements of patches that were undone meanwhile."""
    if isinstance(value, staticmethod):
        below = unwrapped(value.__func__, only_inactive=True)
        return value if below is value.__func__ else staticmethod(below)
    return unwrapped(value, only_inactive=True)


def patch(model: nn.Module | types.ModuleType, *, names: Iterable[str] = ()) -> Patched:
    """Replace the backward warps and `grid_sample` in a model's code by LIFT's kernels.

    A function is called on small inputs on the CPU and replaced only if its results agree with a
    known convention to 1e-5 and its gradients to 1e-4 relative. Calls that the kernels do not take
    (half precision, five dimensions, bicubic, a flow of another size) go to the original.

    The model's parameters, state_dict and hooks are not touched. The patch acts on code, so on
    every model of the same classes and on every thread. Patch before `torch.compile` traces.

    Args:
        model: a model, or a Python module that defines or imports warps.
        names: further names of functions, or one, to try; by default those with warp, resample,
            remap or bilinear_sampler in their name.

    Returns:
        What was replaced and what was left alone, with reasons; print it. It undoes the patch with
        `undo()`, or as a context manager at the end of the block.

    Raises:
        TypeError: model is neither an nn.Module nor a Python module.
    """
    patched = Patched()
    names = (names,) if isinstance(names, str) else tuple(names)
    spaces = namespaces(model)
    found, patched.left = candidates(spaces, model, names)
    try:
        for candidate in found:
            try:
                function, convention, difference = warp_replacement(
                    candidate.function, patched._state, candidate.method
                )
            except Unrecognized as reason:
                patched.left[candidate.label] = str(reason)
                continue
            places = []
            for place, name, _ in candidate.bindings:
                patched._bind(place, name, function)
                places.append(_place_name(place, name))
            patched.replaced.append(
                Replaced(candidate.label, convention.op, str(convention), difference, tuple(places))
            )
        _replace_grid_sample(patched, spaces)
    except BaseException:
        patched.undo()
        raise
    return patched


def _place_name(place: object, name: str) -> str:
    if isinstance(place, dict):
        return f"{place.get('__name__', '?')}.{name}"
    owner = place if isinstance(place, type) else type(place)
    return f"{owner.__qualname__}.{name}"


def _replace_grid_sample(patched: Patched, spaces: list[dict]) -> None:
    copies = module_copies(patched._state)
    direct = grid_sample_replacement(patched._state)
    for space in spaces:
        mentioned = names_in(space)
        through = [F, nn, torch] if {"grid_sample", "functional"} <= mentioned else [F]
        places = []
        for name, value in list(space.items()):
            original = unwrapped(value)
            if original is F.grid_sample:
                patched._bind(space, name, direct)
            elif "grid_sample" in mentioned and any(original is m for m in through):
                patched._bind(space, name, copies[id(original)])
            else:
                continue
            places.append(name)
        if places:
            module = space.get("__name__", "?")
            convention = "as PyTorch's, 4-D, bilinear and nearest"
            patched.replaced.append(
                Replaced(f"{module}.grid_sample", "grid_sample", convention, None, tuple(places))
            )
