"""`temporal_attention`: checks, the choice of implementation, the public function."""

import torch

from lift.kernels import dispatch as backends
from lift.kernels.checks import check_same, check_tensor, lowered
from lift.kernels.ops.temporal_attention import chunked as eager
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference

# -- implementations, the preferred first ----------------------------------------------------------

triton, (_triton,) = backends.of_triton(__package__, "temporal_attention", file="triton_launch")
backends.register(
    "temporal_attention",
    _triton,
    backends.Implementation("eager", eager.temporal_attention_eager, eager.reason, fused=False),
    backends.Implementation(
        "reference", temporal_attention_reference, backends.always, fused=False
    ),
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
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of each query to the keys of all frames inside its spatial window.

    A location's window is (floor((y + shift) / window), floor((x + shift) / window)); nothing wraps
    around, and windows at the edges have fewer locations.

    Args:
        q: (B, Tq, H, W, heads, d). Tq = 1 for one query a location, Tq = Tk for self-attention
            among frames.
        k, v: (B, Tk, H, W, heads, d), dtype of q. Under autocast the three are taken in autocast's
            dtype.
        window: side of the window in pixels, at least 1.
        shift: by how much the window grid is moved up and left, 0 to window - 1.
        time_bias: (B or 1, heads, Tq, Tk), added to the scores of a pair of frames; any floating
            dtype.
        window_bias: (heads, 2 window - 1, 2 window - 1), added by the key's offset (dy, dx) from
            the query, at [dy + window - 1, dx + window - 1]; any floating dtype.
        mask: (B, Tk), bool, true where the frame is real. A masked frame's content changes nothing,
            even if it is NaN; a query with every key masked gets zeros.
        scale: of the products; d ** -0.5 when None.
        backend: "auto", "fused", "reference" or an implementation's name; None: the flag in force.

    Returns:
        The output, like q, and each frame's share (B, Tq, Tk): the mean over heads and locations of
        the attention it received, float32 (float64 for float64). A row sums to 1 where a frame is
        real; it is 0 for masked frames and not differentiable.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for cannot serve; the message says why.
    """
    q, k, v = lowered(q), lowered(k), lowered(v)
    _check(q, k, v, window, shift, time_bias, window_bias, mask)
    return backends.call(
        "temporal_attention", backend, q, k, v, window, shift, time_bias, window_bias, mask, scale
    )


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
            f"{name}: shift must be an integer in 0..{window - 1} for window {window}, got {shift!r}"
        )
    if time_bias is not None:
        check_tensor(name, "time_bias", time_bias)
        lead = 1 if time_bias.ndim and time_bias.shape[0] == 1 else B
        check_same(name, "time_bias", time_bias, "q", q, (lead, heads, Tq, Tk))
    if window_bias is not None:
        check_same(
            name, "window_bias", window_bias, "q", q, (heads, 2 * window - 1, 2 * window - 1)
        )
    if mask is not None:
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
            raise TypeError(
                f"{name}: mask must be a bool tensor, got {getattr(mask, 'dtype', type(mask).__name__)}"
            )
        if tuple(mask.shape) != (B, Tk):
            raise ValueError(f"{name}: mask must be (B, Tk) = {(B, Tk)}, got {tuple(mask.shape)}")
        if mask.device != q.device:
            raise ValueError(f"{name}: mask must be on {q.device} like q, got {mask.device}")
