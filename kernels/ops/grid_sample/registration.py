"""What `grid_sample` needs to be a PyTorch operation: shapes without data, gradients, second
derivatives.

An implementation is a namespace with a `grid_sample_backward` of its own, and with a `grid_sample`,
unless it takes PyTorch's from here. `needs` is a mask over input (bit 0) and grid (bit 1): a
gradient that is not asked for comes back empty, of shape (0,). Under autocast the operations
compute with what they are given.
"""

from collections.abc import Callable

import torch
from torch.library import Library, register_autograd, register_fake

from lift.kernels.ops.grid_sample.reference import grid_sample_by_hand, grid_sample_value
from lift.kernels.ops.warp_blend.registration import empty_image

MODES = ("bilinear", "nearest")  # as numbers: Mode and Padding in csrc/grid_sample.h
PADDING_MODES = ("zeros", "border", "reflection")

FORWARD = (
    "grid_sample(Tensor input, Tensor grid, int mode, int padding, bool align_corners) -> Tensor"
)
BACKWARD = (
    "grid_sample_backward(Tensor grad, Tensor input, Tensor grid, int mode, int padding, bool align_corners, int needs, "
    "bool deterministic) -> (Tensor, Tensor)"
)


def attach(namespace: str, pytorch: str | None = None) -> Library:
    """Give the operations of a namespace their shapes and gradients.

    Args:
        namespace: such as "lift_cpp".
        pytorch: the dispatch key, such as "CUDA", for which `grid_sample` is still to be defined,
            as PyTorch's; None: there is one.

    Returns:
        The registration, to be kept as long as the operation.
    """
    library = Library(namespace, "FRAGMENT")
    if pytorch is not None:
        library.define(FORWARD)
        library.impl("grid_sample", _forward, pytorch)
    register_fake(f"{namespace}::grid_sample", _empty_result, lib=library)
    register_fake(f"{namespace}::grid_sample_backward", _empty_gradients, lib=library)
    register_autograd(
        f"{namespace}::grid_sample", _gradients(namespace), setup_context=_save, lib=library
    )
    return library


def call(
    namespace: str,
    input: torch.Tensor,
    grid: torch.Tensor,
    mode: str,
    padding_mode: str,
    align_corners: bool,
) -> torch.Tensor:
    """As `grid_sample_reference`, by the operation of a namespace."""
    operation = getattr(torch.ops, namespace).grid_sample
    return operation(
        input, grid, MODES.index(mode), PADDING_MODES.index(padding_mode), align_corners
    )


# -- forward and shapes ----------------------------------------------------------------------------


def _forward(
    input: torch.Tensor, grid: torch.Tensor, mode: int, padding: int, align_corners: bool
) -> torch.Tensor:
    return grid_sample_value(
        input, grid, MODES[mode], PADDING_MODES[padding], align_corners
    ).contiguous()


def _empty_result(
    input: torch.Tensor, grid: torch.Tensor, mode: int, padding: int, align_corners: bool
) -> torch.Tensor:
    return input.new_empty((*input.shape[:2], *grid.shape[1:3]))


def _empty_gradients(
    grad: torch.Tensor,
    input: torch.Tensor,
    grid: torch.Tensor,
    mode: int,
    padding: int,
    align_corners: bool,
    needs: int,
    deterministic: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        empty_image(input) if needs & 1 else input.new_empty((0,)),
        torch.empty_like(grid, memory_format=torch.contiguous_format)
        if needs & 2
        else grid.new_empty((0,)),
    )


# -- gradients -------------------------------------------------------------------------------------


def _save(ctx, inputs, output) -> None:
    input, grid, *ctx.how = inputs
    ctx.save_for_backward(input, grid)


def _gradients(namespace: str) -> Callable:
    def gradients(ctx, grad):
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad[:2]
        if (
            torch.is_grad_enabled()
        ):  # create_graph=True: the gradients will be differentiated themselves
            found = _differentiable(inputs, wanted, grad, *ctx.how)
        else:
            needs = sum(1 << i for i, want in enumerate(wanted) if want)
            found = getattr(torch.ops, namespace).grid_sample_backward(
                grad, *inputs, *ctx.how, needs, torch.are_deterministic_algorithms_enabled()
            )
        return (
            *(g if want else None for g, want in zip(found, wanted, strict=True)),
            None,
            None,
            None,
        )

    return gradients


def _differentiable(
    inputs, wanted, grad, mode: int, padding: int, align_corners: bool
) -> tuple[torch.Tensor | None, ...]:
    aliases = [
        x.view_as(x) for x in inputs
    ]  # one tensor may be both arguments, each with a gradient of its own
    out = grid_sample_by_hand(*aliases, MODES[mode], PADDING_MODES[padding], align_corners)
    found = iter(
        torch.autograd.grad(
            out,
            [x for x, want in zip(aliases, wanted, strict=True) if want],
            grad,
            create_graph=True,
            materialize_grads=True,
        )
    )
    return tuple(next(found) if want else None for want in wanted)
