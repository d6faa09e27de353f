"""The kernel flag: which backend computes an op, and why another one does not.

An op has backends in order of preference; the last one, "reference", is its definition and
supports everything. The flag is `auto` (the first backend that supports the call), `fused` (the
first of the project's own kernels, or an error), `reference`, or the name of a backend. `backend=`
of a call overrides `use`, which overrides LIFT_KERNELS in the environment. A backend that a call
names must support the call; one named by `use` or LIFT_KERNELS computes the ops that have it and
the calls that it supports, and `auto` selects for the others.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch

from lift.kernels import autograd, extension, fallback
from lift.kernels.checks import ByDesign, unsupported_kind
from lift.kernels.deferred import import_kernels
from lift.kernels.scoped import Scoped

FLAGS = ("auto", "fused", "reference")


# -- the flag --------------------------------------------------------------------------------------

# torch.compile guards on a module global, not on os.environ.
_environment: str = os.environ.get("LIFT_KERNELS", "").strip().lower()
_used: Scoped[str] = Scoped("lift.kernels.use")


@contextmanager
def use(name: str) -> Iterator[None]:
    """Set the flag inside the `with` block.

    Args:
        name: "auto", "fused", "reference" or the name of a backend, such as "cpp". "auto" also
            overrides an outer `use` or LIFT_KERNELS.

    The flag belongs to the thread, and to the asyncio task, that sets it. As with `torch.no_grad`,
    a thread that is started inside the block does not inherit it; a task does. A graph of
    torch.compile is compiled again where the thread's flag changed.

    Raises:
        ValueError: no such flag.
    """
    _check_flag("use: name", name)
    with _used.set(name):
        yield


def flag(backend: str | None = None) -> str:
    """The flag for a call with this `backend=`: "auto", "fused", "reference" or a backend."""
    # "auto" in a call is no choice, so that `use` overrides a model's default.
    if backend is not None and backend != "auto":
        return backend
    used = _used.get()
    if used is not None:
        return used
    if _environment == "":
        return "auto"
    _check_flag("LIFT_KERNELS", _environment)
    return _environment


def flag_source(backend: str | None = None) -> str:
    """Where the flag was set: "the call", "use", "LIFT_KERNELS" or "the default"."""
    if backend is not None and backend != "auto":
        return "the call"
    if _used.get() is not None:
        return "use"
    return "LIFT_KERNELS" if _environment else "the default"


def _check_flag(what: str, name: str) -> None:
    if name in FLAGS:
        return
    backends = {backend.name: None for registered in _operations.values() for backend in registered}
    if name not in backends:
        names = ", ".join([*FLAGS, *[other for other in backends if other not in FLAGS]])
        raise ValueError(f"{what} must be one of {names}, got {name!r}")


# -- the registry ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backend:
    """One way to compute an op.

    Attributes:
        name: "triton", "cuda", "cpp", "eager" or "reference"; a value for `backend=`.
        call: takes the op's arguments in the order of its reference.
        unsupported_reason: takes the same arguments and returns why they are not supported, or
            None; without arguments, why nothing is supported on this machine.
        fused: true for the project's own kernels, false for plain PyTorch.
        automatic: false for what `auto` skips and `fused` takes last, such as interpreted kernels:
            right, but slow.
        device: the only type of device that it supports, such as "cuda"; None for several.
    """

    name: str
    call: Callable
    unsupported_reason: Callable[..., str | None]
    fused: bool = True
    automatic: bool = True
    device: str | None = None


def always_supported(*arguments) -> None:
    """The `unsupported_reason` of a backend that supports everything."""
    return None


def triton_backends(module_name: str, *ops: autograd.Op) -> tuple[ModuleType | None, list[Backend]]:
    """The Triton backend of some ops, defined in `torch.ops.lift_triton`.

    Args:
        module_name: the module with `<op>_forward`, `<op>_backward` where the op has one, and
            `unsupported_reason`.

    Returns:
        The module, None where Triton has no build for this machine, and a backend for each op.
    """
    try:
        module = import_kernels(module_name)
    except ImportError as error:
        reason = f"Triton cannot be imported ({error})"
        return None, [
            Backend("triton", None, lambda *arguments: reason, device="cuda") for _ in ops
        ]
    for op in ops:
        forward = getattr(module, f"{op.name}_forward")
        backward = getattr(module, f"{op.name}_backward", None)
        autograd.define_op("lift_triton", op, forward, backward, module.DISPATCH_KEYS)
    automatic, device = not module.INTERPRETED, None if module.INTERPRETED else "cuda"
    return module, [
        Backend(
            "triton",
            op.bind("lift_triton"),
            module.unsupported_reason,
            automatic=automatic,
            device=device,
        )
        for op in ops
    ]


def cpp_backend(
    op: autograd.Op,
    unsupported_reason: Callable[..., str | None] = extension.unsupported_reason,
    forward_only: bool = False,
) -> Backend:
    """The backend of an op that the C++ extension defines in `torch.ops.lift_cpp`.

    Args:
        unsupported_reason: as in `Backend`.
        forward_only: the extension has no backward of the op; the backend does not support calls
            that need a gradient.
    """
    if extension.module is not None and not forward_only:
        autograd.register_autograd("lift_cpp", op)
    if not forward_only:
        return Backend("cpp", op.bind("lift_cpp"), unsupported_reason, device="cpu")
    if extension.module is not None:
        autograd.register_fake_forward("lift_cpp", op)

    def reason(*arguments) -> str | None:
        if autograd.needs_gradient(arguments):
            return ByDesign("C++ has no gradient of it")
        return unsupported_reason(*arguments)

    return Backend("cpp", op.bind("lift_cpp"), reason, device="cpu")


_operations: dict[str, tuple[Backend, ...]] = {}
_samples: dict[str, Callable[[torch.Generator, torch.dtype], tuple]] = {}


def register(
    operation: str,
    *backends: Backend,
    sample: Callable[[torch.Generator, torch.dtype], tuple] | None = None,
) -> None:
    """Set the backends of an op, the preferred first, the reference last.

    Args:
        sample: makes arguments for the self-check on the CPU, features in the dtype that it takes.
    """
    if not backends or backends[-1].name != "reference":
        raise ValueError(f"register: the last backend of {operation} must be its reference")
    _operations[operation] = backends
    if sample is not None:
        _samples[operation] = sample


_exported: dict[str, tuple[Backend, Backend]] = {}


def register_exported(operation: str, program: Backend, onnx: Backend) -> None:
    """Set what `auto` selects for an op while `torch.export` and `torch.onnx.export` trace it."""
    _exported[operation] = program, onnx


def exported(operation: str, onnx: bool = False) -> Backend:
    """What `auto` selects for an op while `torch.export`, or `torch.onnx.export`, traces it."""
    return _exported[operation][onnx]


def operations() -> dict[str, tuple[Backend, ...]]:
    """Every op with its backends in order of preference."""
    return dict(_operations)


def samplers() -> dict[str, Callable[[torch.Generator, torch.dtype], tuple]]:
    """For each op with a self-check, the function that makes its arguments."""
    return dict(_samples)


def _backends(operation: str) -> tuple[Backend, ...]:
    if operation not in _operations:
        raise ValueError(f"no operation {operation!r}; there are {', '.join(sorted(_operations))}")
    return _operations[operation]


_assume_available: Scoped[bool] = Scoped("lift.kernels.assume_available")


@contextmanager
def assume_available() -> Iterator[None]:
    """Select backends as if this machine could run all of them, for estimates without a GPU.

    Meant for tensors without data (FakeTensorMode): the first fused backend is selected, unless the
    flag names another one. It belongs to a thread and task, as `use` does.
    """
    with _assume_available.set(True):
        yield


# -- selection -------------------------------------------------------------------------------------


def _eligible(operation: str, wanted: str) -> tuple[Backend, ...]:
    """The backends that the flag allows, in order of preference."""
    backends = _backends(operation)
    if wanted == "auto":
        return tuple([b for b in backends if b.automatic])
    if wanted == "fused":
        fused = [b for b in backends if b.fused]
        return tuple(sorted(fused, key=lambda b: not b.automatic))
    named = tuple([b for b in backends if b.name == wanted])
    if not named:
        names = FLAGS + tuple([b.name for b in backends if b.name not in FLAGS])
        raise ValueError(f"{operation}: backend must be one of {', '.join(names)}, got {wanted!r}")
    return named


class UnsupportedError(RuntimeError):
    """No backend that the flag allows supports a call; the message says why."""


def _unsupported_message(
    operation: str, wanted: str, eligible: tuple[Backend, ...], arguments: tuple
) -> str:
    remedy = "use kernels='auto' or 'reference'"
    if not eligible:
        return f"{operation}: this build has no fused backend; {remedy}"
    reasons = "; ".join([f"{b.name}: {b.unsupported_reason(*arguments)}" for b in eligible])
    which = "no fused backend supports" if wanted == "fused" else f"{wanted} does not support"
    return f"{operation}: {which} this call ({reasons}); {remedy}"


def select(operation: str, backend: str | None, *arguments) -> Backend:
    """The backend that computes the op for these arguments.

    Raises:
        UnsupportedError: the flag asks for fused, or the call names a backend, which does not
            support the arguments; the message says why.
        ValueError: no such op, flag or backend.
    """
    return _select(operation, backend, arguments)[0]


def _select(
    operation: str, backend: str | None, arguments: tuple
) -> tuple[Backend, list[tuple[Backend, str]], Backend | None]:
    """The selected backend, the preferred ones that do not support the call, with reasons, and
    which of these `use` or LIFT_KERNELS named."""
    wanted = flag(backend)
    backends = _backends(operation)
    if wanted in ("auto", "fused") and _assume_available.get():
        return next((b for b in backends if b.fused), backends[-1]), [], None
    if wanted == "auto" and torch.compiler.is_exporting():
        return exported(operation, torch.onnx.is_in_onnx_export()), [], None
    refused, missed = [], None
    if wanted not in FLAGS and wanted != backend:  # named by `use` or LIFT_KERNELS
        for named in backends:
            if named.name == wanted:
                reason = named.unsupported_reason(*arguments)
                if reason is None:
                    return named, [], None
                missed = named
                refused.append((named, reason))
        wanted = "auto"
    if wanted == "auto":  # the usual call, at once
        for candidate in backends:
            if candidate.automatic and candidate is not missed:
                reason = candidate.unsupported_reason(*arguments)
                if reason is None:
                    return candidate, refused, missed
                refused.append((candidate, reason))
    eligible = _eligible(operation, wanted)
    for candidate in eligible:
        if candidate.unsupported_reason(*arguments) is None:
            return candidate, [], None
    raise UnsupportedError(_unsupported_message(operation, wanted, eligible, arguments))


def call(operation: str, backend: str | None, *arguments):
    """Compute an op with the backend selected for these arguments.

    Warns:
        FallbackWarning: once, where plain PyTorch computes what the project's kernels for this
            device do not support, or the backend that `use` or LIFT_KERNELS names does not support
            the call; the message says why.
    """
    selected, refused, missed = _select(operation, backend, arguments)
    if refused and (missed is not None or not selected.fused):
        fallback.warn(operation, selected, refused, missed, arguments)
    return selected.call(*arguments)


def selected_backend(operation: str, *arguments, backend: str | None = None) -> str:
    """The name of the backend selected for these arguments; without any, on this machine.

    Raises:
        RuntimeError, ValueError: as `select`; and for tensors that no backend supports.
    """
    selected = select(operation, backend, *arguments)
    if reason := unsupported_kind(*arguments):  # the op itself raises TypeError
        raise UnsupportedError(f"{operation}: no backend supports this call ({reason})")
    return selected.name


def unsupported_reasons(operation: str, *arguments) -> dict[str, str | None]:
    """Why each backend does not support a call, whatever the flag.

    Args:
        operation: name of an op, such as "warp"; `operations` has them all.
        arguments: those of the op, in the order of its public function; none for what holds on
            this machine whatever the arguments.

    Returns:
        {backend: the reason, or None where it is supported}, in order of preference.
    """
    kind = unsupported_kind(*arguments)
    return {b.name: b.unsupported_reason(*arguments) or kind for b in _backends(operation)}
