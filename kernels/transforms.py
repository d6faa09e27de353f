"""Custom ops under autograd, forward-mode AD and the transforms of `torch.func`.

`torch.library.register_autograd` has neither forward mode, where it drops tangents without a word,
nor `torch.func`. What is registered here is an autograd kernel as those of PyTorch's own ops: it
records one node at whatever level of transforms the op is called.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import _C
from torch.autograd import forward_ad
from torch.library import Library
from torch.library import register_vmap as torch_register_vmap

# -- autograd --------------------------------------------------------------------------------------


def register_kernel(
    library: Library,
    name: str,
    save: Callable | None,
    gradients: Callable | None,
    differentiable: Callable,
    by_reference: tuple[int, ...] = (),
) -> None:
    """Register the gradients and tangents of an op that is defined.

    Args:
        library: of the op's namespace.
        name: namespace::name of the op; its schema has no default values.
        save: (ctx, inputs, output), the `setup_context` of `torch.library.register_autograd`; None
            for an op without a backward.
        gradients: its `backward`: takes ctx and the gradients of the outputs and returns those of
            the inputs.
        differentiable: takes the op without derivatives and its arguments, and computes it in ops
            of PyTorch: for tangents, and for gradients that the op has not.
        by_reference: positions of arguments of which the backward has no gradient.
    """
    op = functools.reduce(getattr, name.split("::"), torch.ops).default

    def compute(keyset, arguments: tuple):
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, *arguments)

    def forward(ctx, *arguments):
        *inputs, keyset = arguments
        with _recorded_by_outer_levels() if in_transform() else nullcontext():
            output = compute(keyset, inputs)
        save(ctx, tuple(inputs), output)
        return output

    def backward(ctx, *grads):
        return *gradients(ctx, *grads), None

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    node = type(name.replace("::", "_"), (torch.autograd.Function,), methods)
    # Function's own would go through all levels of transforms, from the outermost on.
    apply = super(torch.autograd.Function, node).apply

    def kernel(keyset, *arguments):
        recorded = _C.is_grad_enabled() and _C._any_requires_grad(*arguments)
        if recorded:
            others = [arguments[i] for i in by_reference]
            needs_reference = save is None or others and _C._any_requires_grad(*others)
        else:
            needs_reference = False
        if needs_reference or in_transform() and any(map(_has_tangent, arguments)):
            return differentiable(lambda *inputs: compute(keyset, inputs), *arguments)
        if not recorded:
            return compute(keyset, arguments)
        with _one_level():
            return apply(*arguments, keyset)

    library.impl(name.split("::")[1], kernel, "Autograd", with_keyset=True)


def in_transform() -> bool:
    """Whether a tensor may have a tangent: in forward-mode AD or a transform of `torch.func`."""
    # A compiled graph enters transforms without Python's level.
    return forward_ad._current_level >= 0 or _C._are_functorch_transforms_active()


def without_tangent(x):
    """A tensor without its tangent; other values as they are."""
    return _unpack_dual(x)[0] if isinstance(x, torch.Tensor) else x


def differentiable_alias(x: torch.Tensor | None) -> torch.Tensor | None:
    """x, with its tangent if any, as a tensor that requires a gradient at this level."""
    if x is None:
        return None
    alias = x.view_as(x)
    if not alias.requires_grad:
        with _requires_grad_allowed():
            alias.requires_grad_()
    return alias


def without_history(x: torch.Tensor) -> torch.Tensor:
    """x, with its tangent if any, without the graph that computed it."""
    if not in_transform():
        return x.detach()
    primal, tangent = _unpack_dual(x)
    if tangent is None:
        return primal.detach()
    return torch._VF._make_dual(primal.detach(), tangent.detach(), level=0)


def _has_tangent(x) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point() and _unpack_dual(x)[1] is not None


def _unpack_dual(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The primal and the tangent, of the only level of forward-mode AD that PyTorch has."""
    return torch._VF._unpack_dual(x, level=0)


@contextmanager
def _recorded_by_outer_levels() -> Iterator[None]:
    """Undo what a node's forward turns off for all levels, not for its own alone."""
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
        yield


@contextmanager
def _one_level() -> Iterator[None]:
    """Allow a node of a single level below transforms of `torch.func`."""
    functorch = _C._functorch
    before = functorch.get_single_level_autograd_function_allowed()
    functorch.set_single_level_autograd_function_allowed(True)
    try:
        yield
    finally:
        functorch.set_single_level_autograd_function_allowed(before)


@contextmanager
def _requires_grad_allowed() -> Iterator[None]:
    """Allow `requires_grad_` inside transforms of `torch.func`."""
    functorch = _C._functorch
    if not _C._are_functorch_transforms_active():
        yield
        return
    before = functorch.get_inplace_requires_grad_allowed()
    functorch.set_inplace_requires_grad_allowed(True)
    try:
        yield
    finally:
        functorch.set_inplace_requires_grad_allowed(before)


# -- vmap ------------------------------------------------------------------------------------------


def register_vmap(
    library: Library, name: str, folded: Callable[[tuple], frozenset[int] | None]
) -> None:
    """Register the batching rule of an op.

    Args:
        library, name: as in `register_kernel`.
        folded: takes the arguments of one sample and returns the positions of those tensors whose
            first dimension is a batch of independent images, if all outputs then are so too, but
            for empty ones; None where samples have to be computed one after another.
    """

    run = functools.reduce(getattr, name.split("::"), torch.ops)

    def rule(info, in_dims, *arguments):
        size = info.batch_size
        in_dims = [dim if isinstance(dim, int) else None for dim in in_dims]  # lists have lists
        mapped = [
            x if dim is None else x.movedim(dim, 0)
            for x, dim in zip(arguments, in_dims, strict=True)
        ]
        samples = [x if dim is None else x[0] for x, dim in zip(mapped, in_dims, strict=True)]
        batches = folded(tuple(samples))
        if batches is None or any(
            dim is not None and i not in batches for i, dim in enumerate(in_dims)
        ):
            return _one_by_one(run, mapped, in_dims, size)
        batch = samples[min(batches)].shape[0]
        inputs = [
            _fold(x, dim, size) if i in batches else x
            for i, (x, dim) in enumerate(zip(mapped, in_dims, strict=True))
        ]
        outputs = run(*inputs)
        if isinstance(outputs, torch.Tensor):
            return _unfold(outputs, size, batch)
        return tuple(zip(*[_unfold(x, size, batch) for x in outputs], strict=True))

    torch_register_vmap(name, rule, lib=library)


def _fold(x: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    """(size, B, ...), or (B, ...) for all samples, as one batch (size B, ...)."""
    x = x.expand(size, *x.shape) if dim is None else x
    return x.flatten(0, 1)


def _unfold(x: torch.Tensor, size: int, batch: int) -> tuple[torch.Tensor, int | None]:
    if x.shape[0] != size * batch:  # an output without data
        return x, None
    return x.unflatten(0, (size, batch)), 0


def _one_by_one(run: Callable, mapped, in_dims, size: int):
    outputs = [
        run(*[x if dim is None else x[i] for x, dim in zip(mapped, in_dims, strict=True)])
        for i in range(size)
    ]
    if isinstance(outputs[0], torch.Tensor):
        return torch.stack(outputs), 0
    return tuple(map(torch.stack, zip(*outputs, strict=True))), (0,) * len(outputs[0])
