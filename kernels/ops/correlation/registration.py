"""What `correlation` needs to be a PyTorch operation: shapes without data, gradients, second
derivatives.

An implementation is a namespace of two operations with these schemas; its kernels are its own, the
rest is attached here. `needs` is a mask over left (bit 0) and right (bit 1): a gradient that is not
asked for comes back empty, of shape (0,). The result is contiguous, in the
dtype of the arithmetic whatever the maps are: float32, or float64 for float64. Under autocast the
operations take the maps as they come.
"""

import torch
from torch.library import Library, register_autograd, register_fake

from lift.kernels.ops.correlation.reference import correlation_reference
from lift.kernels.ops.warp_blend.registration import empty_image

SCHEMAS = (
    "correlation(Tensor left, Tensor right, int radius, bool unit) -> Tensor",
    "correlation_backward(Tensor grad, Tensor left, Tensor right, int radius, bool unit, int needs) -> (Tensor, Tensor)",
)


def attach(namespace: str, library: Library | None = None) -> None:
    """Give the operations of a namespace their shapes and gradients.

    Args:
        namespace: such as "lift_triton"; its operations are defined, in Python or in C++, with
            `SCHEMAS`.
        library: what to register with; None: one that lives as long as the process.
    """

    def gradients(ctx, grad):
        return _gradients(getattr(torch.ops, namespace).correlation_backward, ctx, grad)

    register_fake(
        f"{namespace}::correlation",
        lambda left, right, radius, unit: empty_result(left, radius),
        lib=library,
    )
    register_fake(
        f"{namespace}::correlation_backward",
        lambda grad, left, right, radius, unit, needs: empty_gradients(left, right, needs),
        lib=library,
    )
    register_autograd(f"{namespace}::correlation", gradients, setup_context=_save, lib=library)


# -- shapes ----------------------------------------------------------------------------------------


def empty_result(left: torch.Tensor, radius: int) -> torch.Tensor:
    """Room for the result, (B, (2 radius + 1)^2, H, W), contiguous."""
    B, _, H, W = left.shape
    return left.new_empty(
        (B, (2 * radius + 1) ** 2, H, W),
        dtype=torch.float64 if left.dtype == torch.float64 else torch.float32,
    )


def empty_gradients(
    left: torch.Tensor, right: torch.Tensor, needs: int
) -> tuple[torch.Tensor, ...]:
    """Room for the gradients, laid out like the maps (channels_last or contiguous); (0,) where not
    asked for.
    """
    return tuple(
        empty_image(x) if needs >> i & 1 else x.new_empty((0,)) for i, x in enumerate((left, right))
    )


# -- gradients -------------------------------------------------------------------------------------


def _save(ctx, inputs, output) -> None:
    left, right, ctx.radius, ctx.unit = inputs
    ctx.save_for_backward(left, right)  # inputs only: lengths are computed again


def _gradients(backward, ctx, grad):
    maps, wanted = ctx.saved_tensors, ctx.needs_input_grad[:2]
    if (
        torch.is_grad_enabled()
    ):  # create_graph=True: the gradients will be differentiated themselves
        aliases = [
            x.view_as(x) for x in maps
        ]  # one tensor may be two arguments, each with a gradient of its own
        asked = [x for x, want in zip(aliases, wanted, strict=True) if want]
        found = iter(
            torch.autograd.grad(
                correlation_reference(*aliases, ctx.radius, ctx.unit),
                asked,
                grad,
                create_graph=True,
            )
        )
        return *(next(found) if want else None for want in wanted), None, None
    found = backward(
        grad, *maps, ctx.radius, ctx.unit, sum(1 << i for i, want in enumerate(wanted) if want)
    )
    return *(g if want else None for g, want in zip(found, wanted, strict=True)), None, None
