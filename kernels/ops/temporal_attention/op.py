"""`temporal_attention`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import (
    ByDesign,
    accumulate_dtype,
    cast_to_autocast,
    check_same,
    check_tensor,
)
from lift.kernels.ops.temporal_attention import chunked
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference

# -- the op ----------------------------------------------------------------------------------------

_ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, Tensor? time_bias, Tensor? window_bias, Tensor? mask, "
    "int window, int shift, float scale, bool with_frame_weights"
)


def _call(
    namespace: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    window: int,
    shift: int = 0,
    time_bias: torch.Tensor | None = None,
    window_bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
    with_frame_weights: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `temporal_attention_reference`; the op takes its biases in the accumulation dtype."""
    dtype = accumulate_dtype(q)
    biases = (None if x is None else x.to(dtype) for x in (time_bias, window_bias))
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    arguments = (q, k, v, *biases, mask, window, shift, scale, with_frame_weights)
    out, frame_weights, _ = autograd.run_op(namespace, "temporal_attention", *arguments)
    return out, frame_weights if with_frame_weights else None


def _reference(
    q, k, v, time_bias, window_bias, mask, window, shift, scale, with_frame_weights
) -> torch.Tensor:
    return temporal_attention_reference(
        q, k, v, window, shift, time_bias, window_bias, mask, scale, with_frame_weights
    )[0]


def _folded(arguments: tuple) -> frozenset[int]:
    """All tensors but the window bias, and a time bias that all of a batch share."""
    q, time_bias = arguments[0], arguments[3]
    shared = {4} if time_bias is None or len(time_bias) == len(q) else {3, 4}
    return autograd.all_tensors(arguments[:6]) - shared


def _flops(q, k, v, time_bias, window_bias, mask, window: int, shift: int, *others, **_) -> int:
    """Those of both matrix products, as `torch.utils.flop_counter` has it for SDPA."""
    B, Tq, H, W, heads, d = q.shape
    pairs = _pairs(H, window, shift) * _pairs(W, window, shift)
    return 4 * B * heads * d * Tq * k.shape[1] * pairs


def _pairs(size: int, window: int, shift: int) -> int:
    """Pairs of positions along a side that share a window."""
    first = min((window - shift) % window, size)
    whole, last = divmod(size - first, window)
    return first**2 + whole * window**2 + last**2


def _op(saves_rows: bool) -> autograd.Op:
    """The op; with `saves_rows` its backward takes the output and each row's log-sum-exp."""

    def fake(q, k, v, time_bias, window_bias, mask, window, shift, scale, with_frame_weights):
        dtype = accumulate_dtype(q)
        weights = (q.shape[0], q.shape[1], k.shape[1]) if with_frame_weights else (0,)
        return (
            q.new_empty(q.shape),
            q.new_empty(weights, dtype=dtype),
            q.new_empty(q.shape[:-1] if saves_rows else (0,), dtype=dtype),
        )

    return autograd.Op(
        name="temporal_attention",
        schema=f"({_ARGUMENTS}) -> (Tensor out, Tensor frame_weights, Tensor lse)",
        backward_schema=f"(Tensor grad, {_ARGUMENTS}, {'Tensor out, Tensor lse, ' * saves_rows}"
        "int needs) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        inputs=5,
        tensors=6,
        features=3,
        fake=fake,
        reference=_reference,
        saved_outputs=(0, 2) if saves_rows else (),
        folded=_folded,
        flops=_flops,
        backward_flops=2.5,  # the scores anew, and four products of gradients
        call=_call,
    )


TEMPORAL_ATTENTION, CHUNKED_TEMPORAL_ATTENTION = _op(saves_rows=True), _op(saves_rows=False)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    B, T, H, W, heads, d, window, shift = 2, 4, 7, 10, 2, 16, 4, 1

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, 2:] = False
    q, k, v = (noise(B, frames, H, W, heads, d).to(dtype) for frames in (1, T, T))
    time_bias, window_bias = noise(B, heads, 1, T), noise(heads, 2 * window - 1, 2 * window - 1)
    # without frame weights, as frames are generated: C++ returns none
    return q, k, v, window, shift, time_bias, window_bias, mask, None, False


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `temporal_attention`, or None."""
    reason = extension.unsupported_reason(*arguments[:1], min_side=None, dtypes=extension.FEATURES)
    if reason or not arguments:
        return reason
    if len(arguments) < 10 or arguments[9]:
        return ByDesign("it returns no frame weights")
    return None


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", TEMPORAL_ATTENTION)
autograd.define_op(
    "lift_eager",
    CHUNKED_TEMPORAL_ATTENTION,
    chunked.temporal_attention_forward,
    chunked.temporal_attention_backward,
    ("CPU",),
)
temporal_attention_chunked = CHUNKED_TEMPORAL_ATTENTION.bind("lift_eager")
dispatch.register(
    "temporal_attention",
    _triton,
    dispatch.cpp_backend(CHUNKED_TEMPORAL_ATTENTION, _unsupported_by_cpp, forward_only=True),
    dispatch.Backend("eager", temporal_attention_chunked, chunked.unsupported_reason, fused=False),
    dispatch.Backend(
        "reference", temporal_attention_reference, dispatch.always_supported, fused=False
    ),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def temporal_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    window: int,
    shift: int = 0,
    time_bias: torch.Tensor | None = None,
    window_bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
    with_frame_weights: bool = True,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention of each query to the keys of all frames inside its spatial window.

    The window of a pixel is (floor((y + shift) / window), floor((x + shift) / window)). Nothing
    wraps around; windows at the edges have fewer pixels.

    Args:
        q: (B, Tq, H, W, heads, d). Tq = 1 for one query per pixel, Tq = Tk for self-attention among
            frames.
        k, v: (B, Tk, H, W, heads, d), dtype of q. Under autocast q, k and v are cast to autocast's
            dtype.
        window: side of the window in pixels, at least 1.
        shift: by how much the grid of windows is moved up and left, 0 to window - 1.
        time_bias: (B or 1, heads, Tq, Tk), added to the scores of a pair of frames; any floating
            dtype.
        window_bias: (heads, 2 window - 1, 2 window - 1), added by the key's offset (dy, dx) from
            the query, at [dy + window - 1, dx + window - 1]; any floating dtype.
        mask: (B, Tk), bool, true where the frame is real. The content of masked frames changes
            nothing, even NaN; a query with every key masked gets zeros.
        scale: of the products; d ** -0.5 when None.
        with_frame_weights: whether the frame weights are computed; without, None is returned.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        The output, like q, and the frame weights (B, Tq, Tk): the attention that each frame
        received, averaged over heads and pixels, float32 (float64 for float64). A row sums to 1
        where a frame is real; it is 0 for masked frames and not differentiable.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    q, k, v = cast_to_autocast(q), cast_to_autocast(k), cast_to_autocast(v)
    _check(q, k, v, window, shift, time_bias, window_bias, mask)
    biases = time_bias, window_bias, mask
    arguments = (q, k, v, window, shift, *biases, scale, with_frame_weights)
    return dispatch.call("temporal_attention", backend, *arguments)


def _check(q, k, v, window, shift, time_bias, window_bias, mask) -> None:
    name = "temporal_attention"
    check_tensor(name, "q", q)
    if q.ndim != 6:
        raise ValueError(f"{name}: q must be (B, Tq, H, W, heads, d), got {tuple(q.shape)}")
    B, Tq, H, W, heads, d = q.shape
    check_tensor(name, "k", k)
    if k.ndim != 6:
        raise ValueError(f"{name}: k must be (B, Tk, H, W, heads, d), got {tuple(k.shape)}")
    Tk = k.shape[1]
    if Tk < 1 or d < 1:
        raise ValueError(
            f"{name}: k must have at least one frame and one channel a head, got {tuple(k.shape)}"
        )
    check_same(name, "k", k, "q", q, (B, Tk, H, W, heads, d), q.dtype)
    check_same(name, "v", v, "k", k, (B, Tk, H, W, heads, d), q.dtype)
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"{name}: window must be an integer of at least 1, got {window!r}")
    if not isinstance(shift, int) or not 0 <= shift < window:
        raise ValueError(
            f"{name}: shift must be an integer in 0..{window - 1} for window {window}, "
            f"got {shift!r}"
        )
    if time_bias is not None:
        check_tensor(name, "time_bias", time_bias)
        lead = 1 if time_bias.ndim and time_bias.shape[0] == 1 else B
        check_same(name, "time_bias", time_bias, "q", q, (lead, heads, Tq, Tk))
    if window_bias is not None:
        side = 2 * window - 1
        check_same(name, "window_bias", window_bias, "q", q, (heads, side, side))
    if mask is not None:
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
            got = getattr(mask, "dtype", type(mask).__name__)
            raise TypeError(f"{name}: mask must be a bool tensor, got {got}")
        if tuple(mask.shape) != (B, Tk):
            raise ValueError(f"{name}: mask must be (B, Tk) = {(B, Tk)}, got {tuple(mask.shape)}")
        if mask.device != q.device:
            raise ValueError(f"{name}: mask must be on {q.device} like q, got {mask.device}")
