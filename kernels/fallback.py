"""A warning, once, where plain PyTorch computes a call instead of the project's kernels."""

import os
import re
import sys
import warnings
from pathlib import Path

import torch

from lift.kernels.checks import ByDesign

_PACKAGE = str(Path(__file__).parent) + os.sep
_warned: set[tuple[str, ...]] = set()


class FallbackWarning(UserWarning):
    """Plain PyTorch computes a call, slower than the project's kernels for this device would."""


def warn(operation: str, selected, refused: list, arguments: tuple) -> None:
    """Warn of each reason, once in a process, why kernels for this device do not support a call.

    Nothing is said of kernels for other devices, of limits that are by design, and of calls that
    compute nothing: those that are traced, and tensors without data.

    Args:
        selected: the `Backend` that computes the call.
        refused: the preferred `Backend`s and why each does not support the call.
        arguments: of the call.
    """
    if torch.compiler.is_compiling():
        return
    tensor = next((x for x in arguments if isinstance(x, torch.Tensor)), None)
    if tensor is None or _has_no_data(tensor):
        return
    for backend, reason in refused:
        if not backend.fused or backend.device not in (None, tensor.device.type):
            continue
        if isinstance(reason, ByDesign):
            continue
        # Why nothing is supported on this machine is said once for all ops. Numbers are left out,
        # for they may be sizes, which change from call to call.
        everywhere = reason == backend.unsupported_reason()
        scope = () if everywhere else (operation,)
        key = (*scope, backend.name, re.sub(r"\d+", "", reason))
        if key in _warned:
            continue
        _warned.add(key)
        warnings.warn(
            f"{operation}: computed by {selected.name}, in plain PyTorch, because {backend.name} "
            f"does not support {'any call here' if everywhere else 'this call'} ({reason}). "
            f"lift.kernels.unsupported_reasons({operation!r}, ...) has all reasons; "
            f"LIFT_KERNELS=reference or a filter of FallbackWarning silences this.",
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
