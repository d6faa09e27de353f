"""`path_inputs`: the public function, its schema and backends."""

from collections.abc import Sequence

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import check_image, check_same, check_tensor, upcast_under_autocast
from lift.kernels.ops.path_inputs.eager import path_inputs_eager
from lift.kernels.ops.path_inputs.reference import empty_outputs, path_inputs_reference

GAPS = (2, 4, 6)  # beside the references


# -- the op; csrc has the same schema --------------------------------------------------------------

_INPUTS = (
    "Tensor hidden, Tensor state, Tensor motions, Tensor times, Tensor valid, "
    "int gaps, float[] factors, ScalarType dtype"
)
PATH_INPUTS = autograd.Op(
    name="path_inputs",
    schema=f"({_INPUTS}) -> (Tensor, Tensor)",
    backward_schema=f"(Tensor? grad, Tensor? grad_differences, {_INPUTS}, int needs)"
    " -> (Tensor, Tensor)",
    inputs=2,
    tensors=5,
    features=1,
    by_reference=(2,),
    fake=lambda hidden, state, motions, times, valid, gaps, factors, dtype: empty_outputs(
        hidden, motions, gaps, dtype
    ),
    reference=path_inputs_reference,
    outputs=2,
)


def sample_motion(generator: torch.Generator, B: int, G: int, h: int, w: int) -> tuple:
    """A state, motions, times and validity; see `path_inputs`."""
    state = 3 * torch.randn(B, 6, h, w, generator=generator)
    motions = 3 * torch.randn(B, G, 2, h, w, generator=generator)
    steps = 0.5 + torch.rand(B, G // 2, 2, generator=generator)
    times = torch.stack((-steps[..., 0].cumsum(1), 1 + steps[..., 1].cumsum(1)), 2).flatten(1)
    valid = torch.ones(B, G, dtype=torch.bool)
    valid[:1, -1] = False
    return state, motions, times, valid


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    motion = sample_motion(generator, 2, 4, 9, 13)
    hidden = torch.randn(2, 7, 9, 13, generator=generator).to(dtype)
    return hidden, *motion, 6, [0.25, 0.125, 1.0], torch.float32


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `path_inputs`, or None."""
    reason = extension.unsupported_reason(*arguments[:1])
    if reason or not arguments:
        return reason
    hidden, state, *_, dtype = arguments
    return extension.unsupported_features(state.dtype, ("features", hidden), ("an output", dtype))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", PATH_INPUTS)
dispatch.register(
    "path_inputs",
    _triton,
    dispatch.cpp_backend(PATH_INPUTS, _unsupported_by_cpp, forward_only=True),
    dispatch.Backend("eager", path_inputs_eager, dispatch.always_supported, fused=False),
    dispatch.Backend("reference", path_inputs_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def path_inputs(
    hidden: torch.Tensor,
    state: torch.Tensor,
    motions: torch.Tensor,
    times: torch.Tensor,
    valid: torch.Tensor,
    gaps: int,
    factors: Sequence[float],
    *,
    dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Divided differences of curved paths, and the input of the convolutions that weight them.

    The paths run through the pixels of a target, the two references at the times 0 and 1, and along
    the motion in the G gaps beside these. Gaps are in the order: before the left reference, after
    the right one, then before and after those two, and so on.

    Args:
        hidden: (B, C, h, w), features, float32, float16, bfloat16 or float64.
        state: (B, 6, h, w), float32 or float64. Channels 0 and 1 are the flow from the target to
            the left reference along a straight path, dx and dy in pixels; 2 and 3 that to the right
            one; the others are not read. Under autocast a half state is cast to float32.
        motions: (B, G, 2, h, w), dtype of state, G is 2, 4 or 6: from the earlier frame of each gap
            to the later one, as seen half way, pixels; finite. The Triton kernels have no gradient
            of it, nor of the times.
        times: (B, G), dtype of state, of the outer frame of each gap, below 0 or above 1; each
            farther out than the one before it on its side.
        valid: (B, G), bool, whether a gap's motion is known.
        gaps: number of gaps that the convolutions take, at least G. The channels of the others
            are zero.
        factors: three, of the differences of order 2, of the velocity (the flow to the right
            reference less that to the left one) and of the differences of higher orders.
        dtype: of the first output; by default the one that a convolution computes in: autocast's,
            or that of hidden where there is no autocast.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, C + 2 + 2 * gaps, h, w): hidden, the four components of order 2, the two of the
        velocity, those of higher orders, each times its factor; channels_last where a fused backend
        computes it. And the differences, (B, G, 2, h, w), dtype of state: of the orders 2, 4 and 6
        in the middle, for each order the one that reaches farther to the left, then that to the
        right; pixels per interval to the power of the order. 0 where not known: those of orders 4
        and 6 need both of the order before.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "path_inputs"
    state = upcast_under_autocast(state)
    check_image(op, "hidden", hidden)
    check_state(op, state)
    B, C, _, _ = hidden.shape
    check_same(op, "hidden", hidden, "state", state, (state.shape[0], C, *state.shape[2:]))
    check_gaps(op, "motions", motions, state)
    G = motions.shape[1]
    check_same(op, "times", times, "motions", motions, (B, G), state.dtype)
    check_valid(op, valid, motions)
    if gaps not in GAPS or gaps < G:
        raise ValueError(f"{op}: gaps must be 2, 4 or 6 and at least {G}, got {gaps}")
    if len(factors) != 3:
        raise ValueError(f"{op}: factors must be three numbers, got {len(factors)}")
    if dtype is None:
        device = hidden.device.type
        # "meta" has no autocast, and raises
        autocast = device != "meta" and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype must be a floating dtype, got {dtype}")
    inputs = (hidden, state, motions, times, valid, gaps, list(factors), dtype)
    return dispatch.call(op, backend, *inputs)


def check_state(op: str, state) -> None:
    """Raise unless `state` is (B, 6, h, w), float32 or float64."""
    check_tensor(op, "state", state)
    if state.ndim != 4 or state.shape[1] != 6:
        raise ValueError(f"{op}: state must be (B, 6, h, w), got {tuple(state.shape)}")
    if state.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{op}: state must be float32 or float64, got {state.dtype}")


def check_gaps(op: str, name: str, value, state: torch.Tensor) -> None:
    """Raise unless `value` is (B, G, 2, h, w) with 2, 4 or 6 gaps, of dtype and size of `state`."""
    check_tensor(op, name, value)
    B, _, h, w = state.shape
    if value.ndim != 5 or value.shape[1] not in GAPS:
        raise ValueError(
            f"{op}: {name} must be (B, G, 2, h, w) of 2, 4 or 6 gaps, got {tuple(value.shape)}"
        )
    check_same(op, name, value, "state", state, (B, value.shape[1], 2, h, w), state.dtype)


def check_valid(op: str, valid, gaps: torch.Tensor) -> None:
    """Raise unless `valid` is (B, G), bool, for `gaps` (B, G, 2, h, w)."""
    if not isinstance(valid, torch.Tensor) or valid.dtype != torch.bool:
        got = getattr(valid, "dtype", type(valid).__name__)
        raise TypeError(f"{op}: valid must be a bool tensor, got {got}")
    if valid.shape != gaps.shape[:2]:
        raise ValueError(
            f"{op}: valid must be (B, G) = {tuple(gaps.shape[:2])}, got {tuple(valid.shape)}"
        )
    if valid.device != gaps.device:
        raise ValueError(f"{op}: valid must be on {gaps.device}, got {valid.device}")
