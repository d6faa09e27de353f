"""What `temporal_attention` needs to be a PyTorch operation: shapes without data, gradients, second
derivatives.

An implementation is a namespace of two operations with these schemas; its kernels are its own, the
rest is attached here. `needs` is a mask over q, k, v, time_bias and window_bias (bit 0: q): a
gradient that is not asked for comes back empty, of shape (0,). The tables are in the dtype of the
arithmetic. Backward is given what the forward was and, if the implementation asks for it, the
result and what the forward found of each row (`statistic`, a log-sum-exp).
"""

from collections.abc import Callable, Iterable

import torch
from torch.library import Library, register_autograd, register_fake

from lift.kernels.autograd import define
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference

_INPUTS = "Tensor q, Tensor k, Tensor v, {}Tensor? time_bias, Tensor? window_bias, Tensor? mask, int window, int shift, float scale"
SCHEMAS = (
    f"temporal_attention({_INPUTS.format('')}) -> (Tensor out, Tensor share, Tensor statistic)",
    f"temporal_attention_backward(Tensor grad, {_INPUTS.format('Tensor? out, Tensor? statistic, ')}, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def attach(
    namespace: str, forward: Callable, backward: Callable, keys: Iterable[str], rows: bool
) -> Library:
    """Define the two operations of a namespace.

    Args:
        namespace: such as "lift_triton".
        forward, backward: compute what `SCHEMAS` say.
        keys: where they do, such as "CPU".
        rows: whether backward is given the result and a number a row, (B, Tq, H, W, heads); else
            the forward's `statistic` is empty, (0,), and backward is given None for both.

    Returns:
        What keeps the operations: they live as long as it does.
    """
    library = define(namespace, SCHEMAS, (forward, backward), keys)

    def shapes(q, k, v, time_bias, window_bias, mask, window, shift, scale):
        dtype = arithmetic(q)
        return (
            q.new_empty(q.shape),
            q.new_empty((q.shape[0], q.shape[1], k.shape[1]), dtype=dtype),
            q.new_empty(q.shape[:-1] if rows else (0,), dtype=dtype),
        )

    def gradient_shapes(
        grad, q, k, v, out, statistic, time_bias, window_bias, mask, window, shift, scale, needs
    ):
        return empty_gradients((q, k, v, time_bias, window_bias), needs)

    def save(ctx, inputs, output):
        q, k, v, time_bias, window_bias, mask, ctx.window, ctx.shift, ctx.scale = inputs
        out, share, statistic = output
        ctx.mark_non_differentiable(share, statistic)
        ctx.save_for_backward(
            q, k, v, *((out, statistic) if rows else (None, None)), time_bias, window_bias, mask
        )

    def gradients(ctx, grad, *_):
        return _gradients(getattr(torch.ops, namespace).temporal_attention_backward, ctx, grad)

    register_fake(f"{namespace}::temporal_attention", shapes, lib=library)
    register_fake(f"{namespace}::temporal_attention_backward", gradient_shapes, lib=library)
    register_autograd(
        f"{namespace}::temporal_attention", gradients, setup_context=save, lib=library
    )
    return library


def call(
    namespace: str, q, k, v, window, shift, time_bias, window_bias, mask, scale
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output and the shares, as `temporal_attention_reference` gives them."""
    time_bias, window_bias = (
        None if x is None else x.to(arithmetic(q)) for x in (time_bias, window_bias)
    )
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    forward = getattr(torch.ops, namespace).temporal_attention
    out, share, _ = forward(q, k, v, time_bias, window_bias, mask, window, shift, scale)
    return out, share


def arithmetic(q: torch.Tensor) -> torch.dtype:
    """What scores, weights, tables and sums are computed in."""
    return torch.float64 if q.dtype == torch.float64 else torch.float32


def empty_gradients(
    inputs: tuple[torch.Tensor | None, ...], needs: int
) -> tuple[torch.Tensor, ...]:
    """Room for the gradients, contiguous; (0,) where not asked for."""
    q = inputs[0]
    return tuple(
        x.new_empty(x.shape)
        if needs >> i & 1
        else q.new_empty((0,), dtype=q.dtype if i < 3 else arithmetic(q))
        for i, x in enumerate(inputs)
    )


# -- gradients -------------------------------------------------------------------------------------


def _gradients(backward, ctx, grad):
    q, k, v, out, statistic, time_bias, window_bias, mask = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:5]
    inputs = (q, k, v, time_bias, window_bias)
    if (
        torch.is_grad_enabled()
    ):  # create_graph=True: the gradients will be differentiated themselves
        return (
            *_differentiable(inputs, wanted, grad, mask, ctx.window, ctx.shift, ctx.scale),
            None,
            None,
            None,
            None,
        )
    needs = sum(1 << i for i, want in enumerate(wanted) if want)
    found = backward(
        grad,
        q,
        k,
        v,
        out,
        statistic,
        time_bias,
        window_bias,
        mask,
        ctx.window,
        ctx.shift,
        ctx.scale,
        needs,
    )
    return (
        *(g if want else None for g, want in zip(found, wanted, strict=True)),
        None,
        None,
        None,
        None,
    )


def _differentiable(inputs, wanted, grad, mask, window, shift, scale):
    aliases = [
        None if x is None else x.view_as(x) for x in inputs
    ]  # one tensor may be two arguments
    q, k, v, time_bias, window_bias = aliases
    out, _ = temporal_attention_reference(
        q, k, v, window, shift, time_bias, window_bias, mask, scale
    )
    found = iter(
        torch.autograd.grad(
            out,
            [x for x, want in zip(aliases, wanted, strict=True) if want],
            grad,
            create_graph=True,
        )
    )
    return tuple(next(found) if want else None for want in wanted)
