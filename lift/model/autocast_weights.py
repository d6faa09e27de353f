"""Weights in the dtype of autocast, cast a stage at a time.

Autocast casts each weight where it is first used, and its gradient back: two launches for every
layer. Here one launch casts the weights of a stage, and one casts their gradients. The values are
the same. A stage has a node of its own, so that `DistributedDataParallel` can exchange its
gradients while those of another stage are computed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from lift.kernels.transforms import in_transform

# What autocast would cast. Other types, such as `PreciseLinear`, compute in the dtype of their
# weights; `bias_act` reads the bias of a convolution in float32.
CAST = {nn.Conv2d: ("weight",), nn.Linear: ("weight", "bias")}

Weights = list[tuple[nn.Module, str, torch.Tensor]]  # of a module, by name
_active: Weights = []  # those that are replaced now


def autocast_weights(model: nn.Module) -> AbstractContextManager:
    """Inside the block, convolutions and linear layers have their weights in autocast's dtype.

    Only in training under autocast. A compiled model casts as ever: the compiler has its own ways,
    and its graph depends on the weights that it was traced with. So does one under `torch.func`.

    Args:
        model: its children are the stages.
    """
    device = next(model.parameters()).device.type
    if device == "meta" or not (torch.is_grad_enabled() and torch.is_autocast_enabled(device)):
        return nullcontext()
    if in_transform():
        return nullcontext()
    return _replaced(model, torch.get_autocast_dtype(device))


@contextmanager
def _replaced(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    replaced: Weights = []
    for stage in model.children():
        places = [
            (module, name)
            for module in stage.modules()
            for name in getattr(module, "cast_by_autocast", CAST.get(type(module), ()))
            if getattr(module, name) is not None and getattr(module, name).dtype == torch.float32
        ]
        for trained in (True, False):
            group = [(m, n) for m, n in places if getattr(m, n).requires_grad == trained]
            weights = [getattr(m, n) for m, n in group]
            if weights:
                cast = _Cast.apply(dtype, *weights) if trained else _cast(weights, dtype)
                replaced += [(m, n, half) for (m, n), half in zip(group, cast, strict=True)]
    with _installed(replaced):
        yield


@contextmanager
def _installed(weights: Weights) -> Iterator[None]:
    global _active
    before = [(module, name, module._parameters[name]) for module, name, _ in weights]
    outer, _active = _active, weights
    for module, name, weight in weights:
        module._parameters[name] = weight
    try:
        yield
    finally:
        _active = outer
        for module, name, weight in before:
            module._parameters[name] = weight


def recomputed_alike() -> dict[str, Callable]:
    """Keywords of `torch.utils.checkpoint.checkpoint`: what is recomputed has today's weights."""
    if not _active:
        return {}
    weights = _active
    return {"context_fn": lambda: (nullcontext(), _installed(weights))}


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dtype: torch.dtype, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(_cast(weights, dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        cast = iter(_cast([g for g in grads if g is not None], torch.float32))
        return None, *(None if g is None else next(cast) for g in grads)


def _cast(tensors, dtype: torch.dtype) -> list[torch.Tensor]:
    with torch.no_grad():
        cast = [torch.empty_like(x, dtype=dtype) for x in tensors]
        if cast:
            torch._foreach_copy_(cast, list(tensors))
    return cast
