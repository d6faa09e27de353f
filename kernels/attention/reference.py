"""Windowed temporal attention, in plain PyTorch."""
import torch
import torch.nn.functional as F


def temporal_attention_reference(q, k, v, window, shift=0, time_bias=None, window_bias=None, mask=None, scale=None):
    B, Tq, H, W, heads, d = q.shape
    Tk, dtype = k.shape[1], torch.float64 if q.dtype == torch.float64 else torch.float32
    scale = d ** -0.5 if scale is None else scale
    if mask is not None:                                # what masked frames hold, NaN included, must not come through 0 * NaN
        unreal = ~mask[:, :, None, None, None, None]
        k, v = k.masked_fill(unreal, 0), v.masked_fill(unreal, 0)

    bottom, right = -(H + shift) % window, -(W + shift) % window
    nY, nX = (shift + H + bottom) // window, (shift + W + right) // window

    def partition(x):
        if shift or bottom or right:
            x = F.pad(x, (0, 0, 0, 0, shift, right, shift, bottom))
        T = x.shape[1]
        x = x.reshape(B, T, nY, window, nX, window, heads, d).permute(0, 2, 4, 6, 1, 3, 5, 7)
        return x.reshape(B, nY, nX, heads, T * window * window, d).to(dtype)

    scores = (partition(q) * scale) @ partition(k).transpose(-1, -2)
    scores = scores.view(B, nY, nX, heads, Tq, window * window, Tk, window * window)
    if time_bias is not None:
        scores = scores + time_bias.to(dtype)[:, None, None, :, :, None, :, None]
    if window_bias is not None:
        o = torch.arange(window, device=q.device)
        o = o - o[:, None] + window - 1
        table = window_bias.to(dtype)[:, o[:, None, :, None], o[None, :, None, :]]
        scores = scores + table.reshape(heads, 1, window * window, 1, window * window)

    inside = None
    if shift or bottom or right:
        y = torch.arange(nY * window, device=q.device).view(nY, 1, window, 1) - shift
        x = torch.arange(nX * window, device=q.device).view(1, nX, 1, window) - shift
        inside = ((y >= 0) & (y < H) & (x >= 0) & (x < W)).view(nY, nX, 1, 1, window * window)
    valid = None if mask is None else mask[:, None, None, None, None, None, :, None]
    if inside is not None:
        keys = inside[:, :, :, :, None, None, :].reshape(1, nY, nX, 1, 1, 1, 1, window * window)
        valid = keys if valid is None else valid & keys
    if valid is not None:
        scores = scores.masked_fill(~valid, torch.finfo(dtype).min)
    attention = scores.reshape(B, nY, nX, heads, Tq * window * window, Tk * window * window).softmax(-1)
    if valid is not None:
        attention = attention.view(scores.shape).masked_fill(~valid, 0).view(attention.shape)

    out = (attention @ partition(v)).view(B, nY, nX, heads, Tq, window, window, d)
    out = out.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(B, Tq, nY * window, nX * window, heads, d)
    out = out[:, :, shift:shift + H, shift:shift + W].to(q.dtype)
    share = attention.detach().view(scores.shape).sum(-1)
    if inside is not None:
        share = share * inside[:, :, :, :, :, None]
    share = share.sum((1, 2, 3, 5)) / (heads * H * W)
    return out, share
