"""The flag: which implementation of an operation serves a call, and why another does not.

An operation is a list of implementations in order of preference; the last one, the reference, is
its definition and serves everything.
The flag has three values: `auto` (the first that can serve), `fused` (the first fused one, or an
error that says why none can), and `reference`. The most specific place that states one decides:
`backend=` of the call, then `use`, then LIFT_KERNELS in the environment.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

FLAGS = ("auto", "fused", "reference")


# -- the flag --------------------------------------------------------------------------------------

# Plain module globals: torch.compile guards on them and recompiles when they change. It does not
# guard on os.environ or on threading.local, and cannot trace a ContextVar. So, like torch.backends'
# flags, this one belongs to the process, not to a thread.
_environment: str = os.environ.get("LIFT_KERNELS", "").strip().lower()
_used: str | None = None


@contextmanager
def use(name: str) -> Iterator[None]:
    """Set the flag for the calls inside the `with` block.

    Args:
        name: "auto", "fused" or "reference". "auto" also ends what an outer `use` or LIFT_KERNELS
            states.

    The flag is the process's: another thread sees it too. Threads that want different ones pass
    `backend=`.

    Raises:
        ValueError: no such flag.
    """
    global _used
    if name not in FLAGS:
        raise ValueError(f"use: name must be one of {', '.join(FLAGS)}, got {name!r}")
    before, _used = _used, name
    try:
        yield
    finally:
        _used = before


def flag(backend: str | None = None) -> str:
    """The flag in force for a call that passes `backend`: "auto", "fused", "reference", or the
    implementation that `backend` names.
    """
    if (
        backend is not None and backend != "auto"
    ):  # "auto" of a call is no opinion, so a model's default bends to `use`
        return backend
    if _used is not None:
        return _used
    if _environment == "":
        return "auto"
    if _environment not in FLAGS:
        raise ValueError(f"LIFT_KERNELS must be one of {', '.join(FLAGS)}, got {_environment!r}")
    return _environment


def origin(backend: str | None = None) -> str:
    """Where the flag in force was stated: "the call", "use", "LIFT_KERNELS" or "the default"."""
    if backend is not None and backend != "auto":
        return "the call"
    if _used is not None:
        return "use"
    return "LIFT_KERNELS" if _environment else "the default"


# -- the register ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operation.

    Attributes:
        name: what `backend=` may call it, such as "triton", "cpp", "cuda", "eager" or "reference".
        call: takes the operation's arguments in the order of its reference.
        reason: takes the same arguments and says in a clause why it cannot serve them, or None when
            it can; without arguments, why it cannot serve anything on this machine.
        fused: true for the project's own kernels, false for plain PyTorch.
        automatic: false for what `auto` passes over and `fused` takes last, such as a kernel under
            Triton's interpreter: right, but slow.
    """

    name: str
    call: Callable
    reason: Callable[..., str | None]
    fused: bool = True
    automatic: bool = True


def always(*arguments) -> None:
    """The reason of an implementation that serves everything."""
    return None


def of_triton(
    package: str, *calls: str, file: str = "triton"
) -> tuple[ModuleType | None, list[Implementation]]:
    """The module of Triton's launches in an operation's package, None where Triton has no build for
    this machine, and its functions as implementations.

    `auto` passes over them where they run under Triton's interpreter.
    """
    try:
        module = importlib.import_module(f".{file}", package)
    except ImportError as error:
        why = f"Triton cannot be imported ({error})"
        return None, [Implementation("triton", None, lambda *arguments: why) for _ in calls]
    return module, [
        Implementation(
            "triton", getattr(module, call), module.reason, automatic=not module.INTERPRETED
        )
        for call in calls
    ]


_operations: dict[str, tuple[Implementation, ...]] = {}


def register(operation: str, *implementations: Implementation) -> None:
    """State the implementations of an operation, the preferred first, the reference last."""
    if not implementations or implementations[-1].name != "reference":
        raise ValueError(f"register: the last implementation of {operation} must be its reference")
    _operations[operation] = implementations


def operations() -> dict[str, tuple[Implementation, ...]]:
    """Every operation with its implementations in order of preference."""
    return dict(_operations)


def _implementations(operation: str) -> tuple[Implementation, ...]:
    if operation not in _operations:
        raise ValueError(f"no operation {operation!r}; there are {', '.join(sorted(_operations))}")
    return _operations[operation]


_planned = False


@contextmanager
def planned() -> Iterator[None]:
    """Inside, calls are served as on a machine where every implementation runs, so that what a GPU
    would keep is counted without one.

    For tensors without data (FakeTensorMode): the first fused implementation serves, unless the
    flag names another one.
    """
    global _planned
    before, _planned = _planned, True
    try:
        yield
    finally:
        _planned = before


# -- choosing --------------------------------------------------------------------------------------


def _eligible(operation: str, chosen: str) -> tuple[Implementation, ...]:
    """The implementations that the flag leaves to choose from."""
    implementations = _implementations(operation)
    if chosen == "auto":
        return tuple([i for i in implementations if i.automatic])
    if chosen == "fused":
        return tuple(
            [i for i in implementations if i.fused and i.automatic]
            + [i for i in implementations if i.fused and not i.automatic]
        )
    named = tuple([i for i in implementations if i.name == chosen])
    if not named:
        names = FLAGS + tuple([i.name for i in implementations if i.name not in FLAGS])
        raise ValueError(f"{operation}: backend must be one of {', '.join(names)}, got {chosen!r}")
    return named


def _refusal(
    operation: str, chosen: str, eligible: tuple[Implementation, ...], arguments: tuple
) -> str:
    if not eligible:
        return f"{operation}: no fused implementation is part of this build; use kernels='auto' or 'reference'"
    whys = "; ".join([f"{i.name}: {i.reason(*arguments)}" for i in eligible])
    return f"{operation}: backend {chosen!r} cannot serve this call ({whys}); use kernels='auto' or 'reference'"


def choose(operation: str, backend: str | None, *arguments) -> Implementation:
    """The implementation that serves these arguments.

    Raises:
        RuntimeError: the flag asks for fused or for one implementation, and it cannot serve; the
            message says why.
        ValueError: no such operation, flag or implementation.
    """
    chosen = flag(backend)
    if _planned and chosen in ("auto", "fused"):
        return next(i for i in _implementations(operation) if i.fused)
    eligible = _eligible(operation, chosen)
    for implementation in eligible:
        if implementation.reason(*arguments) is None:
            return implementation
    raise RuntimeError(_refusal(operation, chosen, eligible, arguments))


def call(operation: str, backend: str | None, *arguments):
    """Compute the operation with the implementation that serves these arguments."""
    return choose(operation, backend, *arguments).call(*arguments)


def serving(operation: str, *arguments, backend: str | None = None) -> str:
    """The name of the implementation that serves these arguments under the flag in force; without
    arguments, on this machine.

    Raises:
        RuntimeError, ValueError: as `choose`.
    """
    return choose(operation, backend, *arguments).name


def reasons(operation: str, *arguments) -> dict[str, str | None]:
    """Why each implementation cannot serve, whatever the flag.

    Args:
        operation: "warp", "warp_blend", "temporal_attention", "correlation" or "grid_sample".
        arguments: those of the operation, in the order of its public function; none to ask about
            the machine alone.

    Returns:
        {implementation: why it cannot serve, or None when it can}, in order of preference.
    """
    return {i.name: i.reason(*arguments) for i in _implementations(operation)}
