"""Windowed temporal attention: the definition.

A query at (y, x) of any of its frames attends to the keys of all Tk frames in its spatial window. A
location's window is (floor((y + shift) / window), floor((x + shift) / window)): a grid of squares,
moved up and left by `shift`, that does not wrap around. Windows that reach over the edge of the
picture have fewer locations. For a query i and a key j of one window, frames s and u,

    score = scale q_i k_j + time_bias[s, u] + window_bias[y_j - y_i + window - 1, x_j - x_i + window
    - 1]

then softmax over the window's keys in real frames, in float32 (float64 for float64); a query with
no such key gets zeros.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F


def temporal_attention_reference(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    window: int,
    shift: int = 0,
    time_bias: torch.Tensor | None = None,
    window_bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windowed temporal attention.

    Args:
        q: (B, Tq, H, W, heads, d).
        k, v: (B, Tk, H, W, heads, d).
        window: side of the spatial window.
        shift: by how much the window grid is moved up and left, 0 to window - 1.
        time_bias: (B or 1, heads, Tq, Tk).
        window_bias: (heads, 2 window - 1, 2 window - 1), by key's offset (dy, dx) from the query,
            (0, 0) in the middle.
        mask: (B, Tk), bool, true where the frame is real. What the others hold, NaN included,
            changes nothing.
        scale: of the products; d ** -0.5 when None.

    Returns:
        The output, like q, and each frame's share (B, Tq, Tk): the mean over heads and locations of
        the attention it received, in float32 (float64), not differentiable.
    """
    B, Tq, H, W, heads, d = q.shape
    Tk, area = k.shape[1], window * window
    rows, columns = _count(H, window, shift), _count(W, window, shift)
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    if mask is not None:  # zeros, because 0 * NaN is NaN, forward and backward
        masked = ~mask[:, :, None, None, None, None]
        k, v = k.masked_fill(masked, 0), v.masked_fill(masked, 0)
    with _exactly(q.device.type):  # autocast would run the products in half
        scores = (
            _windows(q, window, shift).to(dtype)
            * (d**-0.5 if scale is None else scale)
            @ _windows(k, window, shift).to(dtype).transpose(-1, -2)
        )
        scores = scores.view(B, rows, columns, heads, Tq, area, Tk, area)
        if time_bias is not None:
            scores = scores + time_bias.to(dtype)[:, None, None, :, :, None, :, None]
        if window_bias is not None:
            scores = scores + _by_offset(window_bias.to(dtype), window)
        inside = _inside(H, W, window, shift, q.device)  # (rows, columns, area)
        allowed = inside[None, :, :, None, None, None, None, :]
        if mask is not None:
            allowed = allowed & mask[:, None, None, None, None, None, :, None]
        partial = (
            mask is not None or H != rows * window or W != columns * window
        )  # skip two passes over the scores where all is allowed
        if partial:
            scores = scores.masked_fill(
                ~allowed, torch.finfo(dtype).min
            )  # not -inf: a row with no key at all stays finite
        attention = (
            scores.reshape(B, rows, columns, heads, Tq, area, Tk * area)
            .softmax(-1)
            .view(scores.shape)
        )
        if partial:
            attention = attention.masked_fill(~allowed, 0)
        out = attention.view(B, rows, columns, heads, Tq * area, Tk * area) @ _windows(
            v, window, shift
        ).to(dtype)
    received = (
        attention.detach().sum(-1) * inside[None, :, :, None, None, :, None]
    )  # queries over the edge do not count
    share = received.sum((1, 2, 3, 5)) / max(heads * H * W, 1)
    return _picture(out, Tq, H, W, window, shift).to(q.dtype), share


def _exactly(device: str):
    return (
        nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
    )  # meta has none and raises


def _count(size: int, window: int, shift: int) -> int:
    """How many windows cover a side."""
    return (size + shift + window - 1) // window


def _windows(x: torch.Tensor, window: int, shift: int) -> torch.Tensor:
    """(B, T, H, W, heads, d) -> (B, rows, columns, heads, T * window * window, d), zeros over the
    edge.
    """
    B, T, H, W, heads, d = x.shape
    rows, columns = _count(H, window, shift), _count(W, window, shift)
    if H != rows * window or W != columns * window:
        x = F.pad(
            x, (0, 0, 0, 0, shift, columns * window - shift - W, shift, rows * window - shift - H)
        )
    x = x.reshape(B, T, rows, window, columns, window, heads, d).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return x.reshape(B, rows, columns, heads, T * window * window, d)


def _picture(x: torch.Tensor, T: int, H: int, W: int, window: int, shift: int) -> torch.Tensor:
    """The inverse of `_windows`."""
    B, rows, columns, heads, _, d = x.shape
    x = x.reshape(B, rows, columns, heads, T, window, window, d).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.reshape(B, T, rows * window, columns * window, heads, d)[
        :, :, shift : shift + H, shift : shift + W
    ]


def _inside(H: int, W: int, window: int, shift: int, device: torch.device) -> torch.Tensor:
    """(rows, columns, window * window), true where a window's location lies in the picture."""
    rows, columns = _count(H, window, shift), _count(W, window, shift)
    y = torch.arange(rows * window, device=device).view(rows, 1, window, 1) - shift
    x = torch.arange(columns * window, device=device).view(1, columns, 1, window) - shift
    return ((y >= 0) & (y < H) & (x >= 0) & (x < W)).flatten(2)


def _by_offset(table: torch.Tensor, window: int) -> torch.Tensor:
    """(heads, 2 window - 1, 2 window - 1) -> (heads, 1, window * window, 1, window * window), query
    by key.
    """
    place = torch.arange(window, device=table.device)
    offset = place - place[:, None] + window - 1  # (query, key)
    spread = table[:, offset[:, None, :, None], offset[None, :, None, :]]  # (heads, yq, xq, yk, xk)
    return spread.flatten(3, 4).flatten(1, 2)[:, None, :, None]
