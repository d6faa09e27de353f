"""`propagate`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import accumulate_dtype, check_image, check_same, upcast_under_autocast
from lift.kernels.ops.propagate.reference import (
    blended,
    blended_transposed,
    empty_output,
    empty_weights,
    propagate_reference,
)

# -- the op ----------------------------------------------------------------------------------------


def _save(ctx, inputs, output) -> None:
    _, weights = output
    ctx.mark_non_differentiable(weights)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(weights)
    ctx.distance = inputs[3]


def _gradients(backward, ctx, grad, _) -> tuple[torch.Tensor | None, ...]:
    dstate = None
    if grad is not None and ctx.needs_input_grad[2]:
        if torch.is_grad_enabled():  # create_graph=True: the gradient will be differentiated
            backward = blended_transposed
        dstate = backward(grad, *ctx.saved_tensors, ctx.distance)
    return None, None, dstate, None, None


def _tangents(arguments: tuple, outputs: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    _, _, state, distance, _ = arguments
    return blended(state, outputs[1], distance), outputs[1]


def _fake(luma0, luma1, state, distance: int, save: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return empty_output(state), empty_weights(state, save)


def _call(namespace: str, *arguments) -> torch.Tensor:
    save = autograd.needs_gradient(arguments)
    return autograd.run_op(namespace, "propagate", *arguments, save)[0]


# The second output is the weights of the fields, where `save` asks for them: the gradient is made
# of these alone, so neither the images nor the state are saved.
PROPAGATE = autograd.Op(
    name="propagate",
    schema="(Tensor luma0, Tensor luma1, Tensor state, int distance, bool save)"
    " -> (Tensor, Tensor)",
    backward_schema="(Tensor grad, Tensor weights, int distance) -> Tensor",
    inputs=3,
    tensors=3,
    features=0,
    fake=_fake,
    reference=propagate_reference,
    formula=autograd.Formula(
        save=_save,
        gradients=_gradients,
        fake_backward=lambda grad, weights, distance: empty_output(grad),
        tangents=_tangents,
    ),
    call=_call,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    lumas = [torch.rand(2, 1, 22, 36, generator=generator).to(dtype) for _ in range(2)]
    return *lumas, 4 * torch.randn(2, 6, 11, 18, generator=generator), 3


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", PROPAGATE)
dispatch.register(
    "propagate",
    _triton,
    dispatch.cpp_backend(PROPAGATE),
    dispatch.Backend("reference", propagate_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def propagate(
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    state: torch.Tensor,
    distance: int,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Flows replaced by those of pixels at a distance where these explain the images better.

    Each pixel gets the mean of its own flows and of those of the four pixels at the distance to the
    right, below, left and above (its own where such a pixel would be beyond the border), weighted
    by how little the images differ that are warped by them, averaged over 5 x 5 pixels. The weights
    are sharp, so the mean is nearly a choice. Passes with distances that shrink, such as 8, 4 and
    2, reach far. (Propagation of Barnes et al., "PatchMatch", SIGGRAPH 2009, with the distances of
    Rong and Tan, "Jump Flooding", I3D 2006.)

    The weights are constants, so the images have no gradient; that of a result passes to the flows
    that it is the mean of.

    Args:
        luma0, luma1: (B, 1, 2 h, 2 w), in [0, 1], one dtype: float32, float16, bfloat16 or float64.
        state: (B, 6, h, w), the flows from the frame between to each image, dx then dy in pixels of
            the state, then two visibility logits, which stay; float32 (float64 for float64 images).
            Under autocast a half state is cast to float32.
        distance: in pixels of the state, at least 1.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 6, h, w), dtype of state, contiguous. A flow that is not finite spoils the flows that it
        is compared with.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape, or no distance.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "propagate"
    state = upcast_under_autocast(state)
    check_image(op, "luma0", luma0)
    if luma0.shape[1] != 1 or luma0.shape[2] % 2 or luma0.shape[3] % 2:
        raise ValueError(
            f"{op}: luma0 must be (B, 1, H, W) with even H and W, got {tuple(luma0.shape)}"
        )
    B, _, H, W = luma0.shape
    check_same(op, "luma1", luma1, "luma0", luma0, (B, 1, H, W), luma0.dtype)
    shape = B, 6, H // 2, W // 2
    check_same(op, "state", state, "luma0", luma0, shape, accumulate_dtype(luma0))
    if distance < 1:
        raise ValueError(f"{op}: distance must be at least 1, got {distance}")
    return dispatch.call(op, backend, luma0, luma1, state, distance)
