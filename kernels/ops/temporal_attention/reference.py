"""Windowed temporal attention: the definition.

A query at pixel (y, x) of any of its frames attends to the keys of all Tk frames in its spatial
window. The window of a pixel is (floor((y + shift) / window), floor((x + shift) / window)): a grid
of squares, moved up and left by `shift`, that does not wrap around. Windows that reach over the
edge of the image have fewer pixels. For a query i and a key j of one window, frames s and u,

    score = scale q_i k_j + time_bias[s, u]
            + window_bias[y_j - y_i + window - 1, x_j - x_i + window - 1]

then softmax over the window's keys in real frames, in float32 (float64 for float64). A query
without such a key gets zeros.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F

from lift.kernels.checks import accumulate_dtype


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
    with_frame_weights: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Windowed temporal attention.

    Args:
        q: (B, Tq, H, W, heads, d).
        k, v: (B, Tk, H, W, heads, d).
        window: side of the spatial window.
        shift: by how much the grid of windows is moved up and left, 0 to window - 1.
        time_bias: (B or 1, heads, Tq, Tk).
        window_bias: (heads, 2 window - 1, 2 window - 1), by the key's offset (dy, dx) from the
            query, (0, 0) in the middle.
        mask: (B, Tk), bool, true where the frame is real. The content of the others changes
            nothing, even NaN.
        scale: of the products; d ** -0.5 when None.
        with_frame_weights: whether the frame weights are computed.

    Returns:
        The output, like q, and the frame weights (B, Tq, Tk): the attention that each frame
        received, averaged over heads and pixels, in float32 (float64), not differentiable; None
        without `with_frame_weights`.
    """
    B, Tq, H, W, heads, d = q.shape
    Tk, area = k.shape[1], window * window
    rows, columns = count_windows(H, window, shift), count_windows(W, window, shift)
    dtype = accumulate_dtype(q)
    scale = d**-0.5 if scale is None else scale
    if mask is not None:  # zeros, because 0 * NaN is NaN, forward and backward
        masked = ~mask[:, :, None, None, None, None]
        k, v = k.masked_fill(masked, 0), v.masked_fill(masked, 0)
    with autocast_disabled(q.device.type):  # autocast would run the products in half
        queries = window_partition(q, window, shift).to(dtype) * scale
        keys = window_partition(k, window, shift).to(dtype)
        values = window_partition(v, window, shift).to(dtype)
        scores = (queries @ keys.mT).view(B, rows, columns, heads, Tq, area, Tk, area)
        if time_bias is not None:
            scores = scores + time_bias.to(dtype)[:, None, None, :, :, None, :, None]
        if window_bias is not None:
            scores = scores + relative_position_bias(window_bias.to(dtype), window)
        valid = valid_mask(H, W, window, shift, q.device)  # (rows, columns, area)
        allowed = valid[None, :, :, None, None, None, None, :]
        if mask is not None:
            allowed = allowed & mask[:, None, None, None, None, None, :, None]
        # Without masks or padding, two passes over the scores are spared.
        partial = mask is not None or H != rows * window or W != columns * window
        if partial:  # not -inf: a row with no key at all stays finite
            scores = scores.masked_fill(~allowed, torch.finfo(dtype).min)
        flat = scores.reshape(B, rows, columns, heads, Tq, area, Tk * area)
        attention = flat.softmax(-1).view(scores.shape)
        if partial:
            attention = attention.masked_fill(~allowed, 0)
        out = attention.view(B, rows, columns, heads, Tq * area, Tk * area) @ values
    frame_weights = None
    if with_frame_weights:  # queries outside the image do not count
        received = attention.detach().sum(-1) * valid[None, :, :, None, None, :, None]
        frame_weights = received.sum((1, 2, 3, 5)) / max(heads * H * W, 1)
    return window_reverse(out, Tq, H, W, window, shift).to(q.dtype), frame_weights


def autocast_disabled(device_type: str):
    """A context without autocast; nothing for "meta", which has none and raises."""
    if device_type == "meta":
        return nullcontext()
    if torch.compiler.is_exporting() and not torch.is_autocast_enabled(device_type):
        return nullcontext()  # a program with the context would be bound to the device
    return torch.autocast(device_type, enabled=False)


def count_windows(size: int, window: int, shift: int) -> int:
    """The number of windows that cover a side of `size` pixels."""
    return (size + shift + window - 1) // window


def window_partition(x: torch.Tensor, window: int, shift: int) -> torch.Tensor:
    """(B, T, H, W, heads, d) -> (B, rows, columns, heads, T * window * window, d).

    Zeros outside the image.
    """
    B, T, H, W, heads, d = x.shape
    rows, columns = count_windows(H, window, shift), count_windows(W, window, shift)
    if H != rows * window or W != columns * window:
        right, bottom = columns * window - shift - W, rows * window - shift - H
        x = F.pad(x, (0, 0, 0, 0, shift, right, shift, bottom))
    x = x.reshape(B, T, rows, window, columns, window, heads, d).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return x.reshape(B, rows, columns, heads, T * window * window, d)


def window_reverse(
    x: torch.Tensor, T: int, H: int, W: int, window: int, shift: int
) -> torch.Tensor:
    """The inverse of `window_partition`."""
    B, rows, columns, heads, _, d = x.shape
    x = x.reshape(B, rows, columns, heads, T, window, window, d).permute(0, 4, 1, 5, 2, 6, 3, 7)
    x = x.reshape(B, T, rows * window, columns * window, heads, d)
    return x[:, :, shift : shift + H, shift : shift + W]


def valid_mask(H: int, W: int, window: int, shift: int, device: torch.device) -> torch.Tensor:
    """(rows, columns, window * window), true where a window's position lies in the image."""
    rows, columns = count_windows(H, window, shift), count_windows(W, window, shift)
    y = torch.arange(rows * window, device=device).view(rows, 1, window, 1) - shift
    x = torch.arange(columns * window, device=device).view(1, columns, 1, window) - shift
    return ((y >= 0) & (y < H) & (x >= 0) & (x < W)).flatten(2)


def relative_position_bias(window_bias: torch.Tensor, window: int) -> torch.Tensor:
    """(heads, 2 window - 1, 2 window - 1) -> (heads, 1, window * window, 1, window * window).

    The first area is that of the query, the second that of the key.
    """
    position = torch.arange(window, device=window_bias.device)
    offset = position - position[:, None] + window - 1  # (query, key)
    bias = window_bias[:, offset[:, None, :, None], offset[None, :, None, :]]
    return bias.flatten(3, 4).flatten(1, 2)[:, None, :, None]  # bias: (heads, yq, xq, yk, xk)


def sum_by_offset(sums: torch.Tensor) -> torch.Tensor:
    """(heads, w, w, w, w), query then key -> (heads, 2 w - 1, 2 w - 1), summed by offset.

    The transpose of `relative_position_bias`, with a fixed order for each sum.
    """
    heads, w = sums.shape[:2]
    # Zeros make the rows of keys as long as there are offsets, and one more row is read past the
    # last: a step of one key more than a row is one to the next query's key of the same offset.
    padded = F.pad(sums.transpose(2, 3), (w - 1, 0, 0, 1) * 2).contiguous()  # yq, yk, xq, xk
    head, _, y, *_ = padded.stride()
    by_offset = padded.as_strided(
        (heads, w, 2 * w - 1, w, 2 * w - 1), (head, 2 * w * y, y, 2 * w, 1)
    )  # (heads, yq, dy, xq, dx)
    return by_offset.sum((1, 3))
