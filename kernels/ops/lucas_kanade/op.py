"""`lucas_kanade` and `align`: the public functions, their schemas and backends."""

from functools import partial

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import (
    accumulate_dtype,
    check_flow,
    check_image,
    check_same,
    upcast_under_autocast,
)
from lift.kernels.ops.lucas_kanade.reference import (
    align_reference,
    empty_aligned,
    empty_output,
    lucas_kanade_reference,
)

# -- the ops; csrc has the schema of the first -----------------------------------------------------

# The output is float32 (float64 for float64) whatever the images are; autocast changes nothing.
LUCAS_KANADE = autograd.Op(
    name="lucas_kanade",
    schema="(Tensor image0, Tensor image1, Tensor flow0, Tensor flow1, Tensor t) -> Tensor",
    backward_schema=None,
    inputs=0,
    tensors=5,
    features=0,
    fake=lambda image0, *others: empty_output(image0),
    reference=lucas_kanade_reference,
)


def _align_tangents(arguments: tuple, outputs: tuple) -> tuple:
    """The state's derivatives, unchanged: a zero that has them is added."""
    moved, missing = outputs
    state = arguments[0]
    return moved + (state - autograd.without_tangent(state).detach()), missing


def _call_align(namespace: str, luma0, luma1, state, t, steps: int):
    """As `align_reference`; the op begins with the state, which alone has a gradient."""
    return autograd.run_op(namespace, "align", state, luma0, luma1, t, steps)


ALIGN = autograd.Op(
    name="align",
    schema="(Tensor state, Tensor luma0, Tensor luma1, Tensor t, int steps) -> (Tensor, Tensor)",
    backward_schema=None,
    inputs=1,
    tensors=4,
    features=1,
    fake=lambda state, *others: empty_aligned(state),
    reference=align_reference,
    formula=autograd.Formula(
        save=lambda ctx, inputs, output: ctx.mark_non_differentiable(output[1]),
        gradients=lambda backward, ctx, grad, *_: (grad, None, None, None, None),
        tangents=_align_tangents,
    ),
    call=_call_align,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    images = [torch.rand(2, 2, 11, 18, generator=generator).to(dtype) for _ in range(2)]
    flows = [4 * torch.randn(2, 2, 11, 18, generator=generator) for _ in range(2)]
    return *images, *flows, torch.rand(2, generator=generator)


def _align_sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    lumas = [torch.rand(2, 1, 11, 18, generator=generator).to(dtype) for _ in range(2)]
    state = 4 * torch.randn(2, 6, 11, 18, generator=generator)
    return *lumas, state, torch.rand(2, generator=generator), 2


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton, _triton_align) = dispatch.triton_backends(
    f"{__package__}.triton_launch", LUCAS_KANADE, ALIGN
)
_cpp = dispatch.cpp_backend(LUCAS_KANADE)
dispatch.register(
    "lucas_kanade",
    _triton,
    _cpp,
    dispatch.Backend("reference", lucas_kanade_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)
dispatch.register(
    "align",
    _triton_align,
    # the step in C++, the rest in PyTorch
    dispatch.Backend("cpp", partial(align_reference, step=_cpp.call), extension.unsupported_reason),
    dispatch.Backend("reference", align_reference, dispatch.always_supported, fused=False),
    sample=_align_sample,
)


# -- public ----------------------------------------------------------------------------------------


def lucas_kanade(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    t: torch.Tensor,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """The motion still missing between two images that are each warped by their flow.

    One Lucas-Kanade step on the grid of the frame at time t between the images, within windows of
    5 x 5 pixels (Lucas and Kanade, IJCAI 1981). The motion after it, flow1 - flow0 + step, is then
    averaged over 7 x 7 pixels: windows of much texture and a small remaining difference count most
    (as patches do in Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016).
    Better flows, smooth where the images tell nothing, are

        flow0 - t * step,    flow1 + (1 - t) * step

    No gradient flows through the step; the flows that it is added to keep theirs.

    Args:
        image0, image1: (B, C, H, W), values in [0, 1], one dtype: float32, float16, bfloat16 or
            float64. Several channels have one motion.
        flow0, flow1: (B, 2, H, W), from the frame at t to each image, as in `warp`.
        t: (B,), 0 at image0 and 1 at image1; dtype of the flows. Under autocast half flows and
            times are cast to float32.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 2, H, W), dx then dy in pixels, float32 whatever the images are (float64 for float64):
        the averaged motion less flow1 - flow0. Where this is constant the step is within +-1. It
        never requires a gradient. A flow that is not finite spoils the step within three pixels.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "lucas_kanade"
    flow0, flow1, t = (upcast_under_autocast(x) for x in (flow0, flow1, t))
    check_image(op, "image0", image0)
    check_same(op, "image1", image1, "image0", image0, tuple(image0.shape), image0.dtype)
    check_flow(op, "flow0", flow0, "image0", image0)
    check_flow(op, "flow1", flow1, "image0", image0)
    check_same(op, "t", t, "image0", image0, (len(image0),), accumulate_dtype(image0))
    return dispatch.call(op, backend, image0, image1, flow0, flow1, t)


def align(
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    state: torch.Tensor,
    t: torch.Tensor,
    steps: int,
    *,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flows moved by the motion that they do not explain, found in Lucas-Kanade steps.

    Each step is one of `lucas_kanade`, between the images warped by the flows that the last one
    left. With the sum m of the steps the flows become

        flow0 - t * m,    flow1 + (1 - t) * m

    Gradients pass to the state unchanged, as if m were constant: where a step succeeds, the flows
    after it do not depend on their own errors before, so the true gradient would tell them nothing.

    Args:
        luma0, luma1: (B, 1, h, w), in [0, 1], one dtype: float32, float16, bfloat16 or float64.
        state: (B, 6, h, w), the flows from the frame at t to each image, dx then dy in pixels, then
            two visibility logits, which stay; float32 (float64 for float64 images).
        t: (B,), 0 at luma0 and 1 at luma1; dtype of state. Under autocast half states and times are
            cast to float32.
        steps: number of steps, each of about a pixel at most; at least 1.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        The state (B, 6, h, w) with both flows moved, and m (B, 2, h, w), which never requires a
        gradient; dtype of state, contiguous.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape, or no step.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "align"
    state, t = upcast_under_autocast(state), upcast_under_autocast(t)
    check_image(op, "luma0", luma0)
    if luma0.shape[1] != 1:
        raise ValueError(f"{op}: luma0 must have 1 channel, got {luma0.shape[1]}")
    B, _, H, W = luma0.shape
    check_same(op, "luma1", luma1, "luma0", luma0, (B, 1, H, W), luma0.dtype)
    check_same(op, "state", state, "luma0", luma0, (B, 6, H, W), accumulate_dtype(luma0))
    check_same(op, "t", t, "luma0", luma0, (B,), accumulate_dtype(luma0))
    if steps < 1:
        raise ValueError(f"{op}: steps must be at least 1, got {steps}")
    return dispatch.call(op, backend, luma0, luma1, state, t, steps)
