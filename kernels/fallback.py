"""A warning, once, where a call falls back from the project's kernels or from a named backend."""

import os
import re
import sys
import warnings
from pathlib import Path

import torch

from lift.kernels.checks import ByDesign

_PACKAGE = str(Path(__file__).parent) + os.sep
_warned: set[tuple[str, ...]] = set()
MOST = 1000  # reasons may name sizes, without end


class FallbackWarning(UserWarning):
    """Plain PyTorch, or another backend than the flag names, computes a call."""


def warn(operation: str, selected, refused: list, missed, arguments: tuple) -> None:
    """Warn of each reason, once in a process, why kernels for this device do not support a call.

    Nothing is said of kernels for other devices, of limits that are by design, and of calls that
    compute nothing: those that are traced, and tensors without data.

    Args:
        selected: the `Backend` that computes the call.
        refused: the preferred `Backend`s and why each does not support the call.
        missed: the one of these that the flag names, or None; it is always worth a warning.
        arguments: of the call.
    """
    if torch.compiler.is_compiling():
        return
    tensor = next((x for x in arguments if isinstance(x, torch.Tensor)), None)
    if tensor is None or _has_no_data(tensor):
        return
    for backend, reason in refused:
        lost = backend.fused and not selected.fused and not isinstance(reason, ByDesign)
        if backend is not missed and not (lost and backend.device in (None, tensor.device.type)):
            continue
        verbatim = operation, backend.name, reason, "verbatim"
        if verbatim in _warned:
            continue  # at once
        if len(_warned) < MOST:
            _warned.add(verbatim)
        # Why nothing is supported on this machine is said once for all ops. Numbers are left out,
        # for they may be sizes, which change from call to call.
        everywhere = reason == backend.unsupported_reason()
        scope = () if everywhere else (operation,)
        key = (*scope, backend.name, re.sub(r"\d+", "", reason))
        if key in _warned:
            continue
        _warned.add(key)
        plain = "" if selected.fused else ", in plain PyTorch"
        which = "any call here" if everywhere else "this call"
        warnings.warn(
            f"{operation}: computed by {selected.name}{plain}, because {backend.name} does not "
            f"support {which} ({reason}). lift.kernels.unsupported_reasons({operation!r}, ...) has "
            "all reasons; a warnings filter of lift.kernels.FallbackWarning silences this.",
            FallbackWarning,
            stacklevel=_levels_to_caller(),
        )


def _levels_to_caller() -> int:
    """The `stacklevel` for `warn` to point at the code that called a function of this package."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, levels = frame.f_back, levels + 1
    return levels


def _has_no_data(tensor: torch.Tensor) -> bool:
    fakes = sys.modules.get("torch._subclasses.fake_tensor")
    return tensor.is_meta or (fakes is not None and isinstance(tensor, fakes.FakeTensor))
