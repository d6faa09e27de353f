"""Windowed temporal attention through `F.scaled_dot_product_attention`: the quicker way in plain PyTorch to infer on a CPU.

The scores are never held at once: only their biases are. Each frame's share comes out as further channels of the values, one a frame,
that are 1 in its keys and 0 elsewhere. PyTorch's CPU kernel has no gradient for a bias, so the reference serves where one is wanted.
"""
import torch
import torch.nn.functional as F

from .reference import _by_offset, _count, _inside, _picture, _windows

SMALLEST = 8                                            # pixels: smaller windows have less to gain from never holding the scores


def reason(*arguments) -> str | None:
    """Why `F.scaled_dot_product_attention` is not the better one; arguments as `temporal_attention_reference` has them."""
    if not arguments:
        return None
    q, _, _, window = arguments[:4]
    if q.device.type != "cpu":
        return f"for the CPU; the tensors are on {q.device.type}"
    if torch.is_grad_enabled() and any(isinstance(x, torch.Tensor) and x.requires_grad for x in arguments):
        return "gradients are wanted: PyTorch's CPU kernel has none for a bias"
    if window < SMALLEST:
        return f"a window of {window}: SDPA is taken from {SMALLEST} on"
    if q.numel() == 0:
        return "F.scaled_dot_product_attention takes no empty input"
    return None


def temporal_attention_sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int, shift: int = 0,
                            time_bias: torch.Tensor | None = None, window_bias: torch.Tensor | None = None,
                            mask: torch.Tensor | None = None, scale: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """As `temporal_attention_reference`, without gradients."""
    clips = [_clip(*(x[b:b + 1] for x in (q, k, v)), window, shift, _of_clip(time_bias, b), window_bias, _of_clip(mask, b), scale)
             for b in range(len(q))]                    # one at a time, so that windows share one bias
    return tuple(torch.cat(parts) for parts in zip(*clips, strict=True))


def _of_clip(x: torch.Tensor | None, b: int) -> torch.Tensor | None:
    return x if x is None or len(x) == 1 else x[b:b + 1]


def _clip(q, k, v, window, shift, time_bias, window_bias, mask, scale):
    (_, Tq, H, W, heads, d), Tk, area = q.shape, k.shape[1], window * window
    rows, columns = _count(H, window, shift), _count(W, window, shift)
    windows, dtype = rows * columns, torch.float64 if q.dtype == torch.float64 else torch.float32
    inside = _inside(H, W, window, shift, q.device).flatten(0, 1)                # (windows, area)
    allowed = inside[:, None, None, :]                                           # (windows, 1, 1 or Tk, area)
    if mask is not None:
        masked = ~mask[:, :, None, None, None, None]
        k, v = k.masked_fill(masked, 0), v.masked_fill(masked, 0)                # 0 * NaN is NaN
        allowed = allowed & mask[0, :, None]
    bias = torch.zeros((), dtype=dtype)
    if time_bias is not None:
        bias = bias + time_bias[0, :, :, None, :, None].to(dtype)
    if window_bias is not None:
        bias = bias + _by_offset(window_bias.to(dtype), window)
    bias = bias.expand(heads, Tq, area, Tk, area).reshape(heads, Tq * area, Tk * area)
    # Beside the d channels queries have Tk more, (1, 0, 0, ...), and keys (0 or nearly -inf, 0, 0, ...): what is not allowed costs no bias.
    edge = torch.zeros(windows, 1, Tk, area, 1, dtype=dtype).masked_fill(~allowed[..., None], torch.finfo(dtype).min / 2).flatten(2, 3)
    queries = F.pad(_rows(q, window, shift, dtype) * (d ** -0.5 if scale is None else scale), (0, Tk))
    queries[..., d] = 1
    keys = F.pad(_rows(k, window, shift, dtype), (0, Tk))
    keys[..., d:d + 1] = edge
    values = F.pad(_rows(v, window, shift, dtype), (0, Tk))
    values[..., d:] = torch.eye(Tk, dtype=dtype).repeat_interleave(area, 0)
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias.expand(windows, -1, -1, -1), scale=1.0)
    if mask is not None:
        out = out.masked_fill(~mask.any(), 0)
    received = out[..., d:].unflatten(2, (Tq, area)) * inside[:, None, None, :, None]        # (windows, heads, Tq, area, Tk)
    share = received.sum((0, 1, 3))[None] / (heads * H * W)
    return _picture(out[..., :d].unflatten(0, (1, rows, columns)), Tq, H, W, window, shift).to(q.dtype), share


def _rows(x: torch.Tensor, window: int, shift: int, dtype: torch.dtype) -> torch.Tensor:
    """(1, T, H, W, heads, d) -> (windows, heads, T * window * window, d)."""
    return _windows(x, window, shift)[0].flatten(0, 1).to(dtype)
