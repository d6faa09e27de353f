"""Backends of an operation as variants of its suite."""

from collections.abc import Callable

from benchmarks.harness.registry import DETERMINISTIC
from lift.kernels import dispatch


def supported(
    operation: str, arguments: tuple, *, toy: bool = False, fused: bool = True
) -> list[str]:
    """Names of the backends that can compute a call, in order of preference.

    Args:
        operation: name of the operation.
        arguments: of the call, as the backends take them.
        toy: include those that `auto` never selects, such as Triton's interpreter.
        fused: leave out those that are plain PyTorch.
    """
    return [
        backend.name
        for backend in dispatch.operations()[operation]
        if (backend.fused or not fused)
        and (backend.automatic or toy)
        and backend.unsupported_reason(*arguments) is None
    ]


def call_of(operation: str, variant: str) -> Callable:
    """The function of a backend.

    Raises:
        KeyError: the operation has no backend of that name.
    """
    return _named(operation, variant).call


def is_fused(operation: str, variant: str) -> bool:
    """Whether a variant is one of the project's kernels rather than what it is compared with."""
    try:
        return _named(operation, variant).fused
    except KeyError:
        return False


def _named(operation: str, variant: str):
    named = {backend.name: backend for backend in dispatch.operations()[operation]}
    return named[variant.removesuffix(DETERMINISTIC)]
