"""What `warp` and `warp_blend` need to be PyTorch operations: shapes without data, gradients,
second derivatives.

An implementation is a namespace of four operations with these schemas; its kernels are its own, the
rest is attached here. `needs` is a mask over the inputs of the forward, in order (bit 0: the
first): a gradient that is not asked for comes back empty, of shape (0,).

Under autocast the operations compute with what they are given: images may be half, flow is float32
(the public functions see to it).
"""

from collections.abc import Callable

import torch
from torch.library import Library, register_autograd, register_fake

from lift.kernels.ops.warp_blend.reference import warp_blend_reference, warp_reference

SCHEMAS = (
    "warp(Tensor image, Tensor flow) -> Tensor",
    "warp_backward(Tensor grad, Tensor image, Tensor flow, int needs) -> (Tensor, Tensor)",
    "warp_blend(Tensor image0, Tensor image1, Tensor flow0, Tensor flow1, Tensor occ0, Tensor occ1) -> Tensor",
    "warp_blend_backward(Tensor grad, Tensor image0, Tensor image1, Tensor flow0, Tensor flow1, Tensor occ0, Tensor occ1, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def attach(namespace: str, library: Library | None = None) -> None:
    """Give the operations of a namespace their shapes and gradients.

    Args:
        namespace: such as "lift_triton"; its operations are defined, in Python or in C++, with
            `SCHEMAS`.
        library: what to register with; None: one that lives as long as the process.
    """
    for name, images, reference in (
        ("warp", 1, warp_reference),
        ("warp_blend", 2, warp_blend_reference),
    ):
        register_fake(f"{namespace}::{name}", lambda *inputs: empty_image(inputs[0]), lib=library)
        register_fake(f"{namespace}::{name}_backward", _empty_gradients(images), lib=library)
        register_autograd(
            f"{namespace}::{name}",
            _gradients(f"{namespace}::{name}_backward", reference),
            setup_context=_save,
            lib=library,
        )


# -- shapes ----------------------------------------------------------------------------------------


def empty_image(image: torch.Tensor) -> torch.Tensor:
    """Room for a result or an image gradient: (B, C, H, W), channels_last where the image is so
    (and not contiguous), else contiguous.
    """
    last = not image.is_contiguous() and image.is_contiguous(memory_format=torch.channels_last)
    return torch.empty_like(
        image, memory_format=torch.channels_last if last else torch.contiguous_format
    )


def empty_gradients(
    images: int, inputs: tuple[torch.Tensor, ...], needs: int
) -> tuple[torch.Tensor, ...]:
    """Room for the gradients: images as `empty_image`, flow and visibility contiguous in flow's
    dtype, (0,) where not asked for.
    """
    dtype = inputs[images].dtype

    def empty(i: int, x: torch.Tensor) -> torch.Tensor:
        if not needs >> i & 1:
            return x.new_empty((0,), dtype=x.dtype if i < images else dtype)
        return (
            empty_image(x)
            if i < images
            else torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)
        )

    return tuple(empty(i, x) for i, x in enumerate(inputs))


def _empty_gradients(images: int) -> Callable:
    return lambda grad, *inputs_needs: empty_gradients(images, inputs_needs[:-1], inputs_needs[-1])


# -- gradients -------------------------------------------------------------------------------------


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)  # inputs only: samples and weights are computed again


def _gradients(backward: str, reference: Callable) -> Callable:
    def gradients(ctx, grad):
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad
        if (
            torch.is_grad_enabled()
        ):  # create_graph=True: the gradients will be differentiated themselves
            return _differentiable(reference, inputs, wanted, grad)
        needs = sum(1 << i for i, want in enumerate(wanted) if want)
        namespace, name = backward.split("::")
        found = getattr(getattr(torch.ops, namespace), name)(grad, *inputs, needs)
        return tuple(
            g.to(x.dtype) if want else None
            for g, x, want in zip(found, inputs, wanted, strict=True)
        )

    return gradients


def _differentiable(reference: Callable, inputs, wanted, grad) -> tuple[torch.Tensor | None, ...]:
    aliases = [
        x.view_as(x) for x in inputs
    ]  # one tensor may be two arguments, each with a gradient of its own
    found = iter(
        torch.autograd.grad(
            reference(*aliases),
            [x for x, want in zip(aliases, wanted, strict=True) if want],
            grad,
            create_graph=True,
        )
    )
    return tuple(next(found) if want else None for want in wanted)
