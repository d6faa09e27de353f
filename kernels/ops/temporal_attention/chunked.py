"""Windowed temporal attention in plain PyTorch on a CPU, chunk by chunk.

The windows of an image form at most nine rectangles of equal windows: the whole ones, and narrower
ones along the edges and in the corners. So nothing is padded or masked, and masked frames are left
out. A chunk is as many windows of one rectangle as fit a processor's cache; its rows are gathered,
multiplied and scattered back before the next chunk. Backward recomputes the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import accumulate_dtype
from lift.kernels.ops.temporal_attention.reference import autocast_disabled

CHUNK = 1 << 20  # values of a chunk: 4 MB
ALL = slice(None)
Frames = slice | torch.Tensor


def unsupported_reason(*arguments) -> str | None:
    """The reason why arguments of `temporal_attention` are not supported, or None."""
    if arguments and arguments[0].device.type != "cpu":
        return f"for the CPU; the tensors are on {arguments[0].device.type}"
    return None


# -- chunks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """Equal windows side by side: rows by columns, each h by w pixels, the first at (y, x)."""

    y: int
    x: int
    rows: int
    columns: int
    h: int
    w: int


def _rectangles(H: int, W: int, window: int, shift: int) -> Iterator[Chunk]:
    """All windows of an image, by size."""
    for y, rows, h in _spans(H, window, shift):
        for x, columns, w in _spans(W, window, shift):
            yield Chunk(y, x, rows, columns, h, w)


def _spans(size: int, window: int, shift: int) -> Iterator[tuple[int, int, int]]:
    """(first pixel, windows, pixels per window) of the equally wide windows along a side."""
    first = min((window - shift) % window, size)
    whole = (size - first) // window
    for start, count, width in (
        (0, 1, first),
        (first, whole, window),
        (first + whole * window, 1, (size - first) % window),
    ):
        if count and width:
            yield start, count, width


def _chunks(rectangle: Chunk, count: int) -> Iterator[Chunk]:
    """A rectangle in chunks of about `count` windows: whole rows of windows, or parts of one."""
    y, x, all_rows, all_columns, h, w = (
        rectangle.y,
        rectangle.x,
        rectangle.rows,
        rectangle.columns,
        rectangle.h,
        rectangle.w,
    )
    rows, columns = 1, max(1, count)
    if count >= all_columns:
        rows, columns = count // all_columns, all_columns
    for i in range(0, all_rows, rows):
        for j in range(0, all_columns, columns):
            size = min(rows, all_rows - i), min(columns, all_columns - j)
            yield Chunk(y + i * h, x + j * w, *size, h, w)


def _windows_per_chunk(sizes: tuple[int, ...], d: int) -> int:
    """How many windows of all clips fit a chunk: scores, and rows of queries and keys."""
    B, _, heads, Tq, area, frames, _ = sizes
    return CHUNK // (B * heads * area * (Tq * frames * area + 2 * (Tq + frames) * d))


def _view(x: torch.Tensor, at: Chunk) -> torch.Tensor:
    """(B, T, H, W, heads, d) -> (B, rows, columns, heads, T, h, w, d), in place.

    One operation, which costs less than slices of slices.
    """
    (B, T, _, _, heads, d), (by_b, by_t, by_y, by_x, by_h, by_d) = x.shape, x.stride()
    return x.as_strided(
        (B, at.rows, at.columns, heads, T, at.h, at.w, d),
        (by_b, at.h * by_y, at.w * by_x, by_h, by_t, by_y, by_x, by_d),
        x.storage_offset() + at.y * by_y + at.x * by_x,
    )


def gather_chunk(
    x: torch.Tensor, at: Chunk, dtype: torch.dtype, frames: Frames = ALL
) -> torch.Tensor:
    """(B, T, H, W, heads, d) -> (B * rows * columns * heads, frames * h * w, d).

    A view where the layout allows.
    """
    x = _view(x, at)
    if frames is not ALL:
        x = x[:, :, :, :, frames] if isinstance(frames, slice) else x.index_select(4, frames)
    if x.dtype != dtype:
        x = x.to(dtype, memory_format=torch.contiguous_format)
    return x.reshape(-1, x.shape[4] * at.h * at.w, x.shape[7])


def scatter_chunk(
    target: torch.Tensor, at: Chunk, rows: torch.Tensor, frames: Frames = ALL
) -> None:
    """The inverse of `gather_chunk`."""
    target = _view(target, at)
    rows = rows.view(*target.shape[:4], -1, *target.shape[5:])
    if isinstance(frames, slice):
        (target if frames is ALL else target[:, :, :, :, frames]).copy_(rows)
    else:
        target.index_copy_(4, frames, rows.to(target.dtype))


# -- weights ---------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _offsets(h: int, w: int, window: int) -> torch.Tensor:
    """(h * w, h * w), query by key: indices into a flattened window_bias."""
    # On the CPU, whatever the default device is.
    y, x = torch.arange(h, device="cpu"), torch.arange(w, device="cpu")
    dy, dx = y - y[:, None] + window - 1, x - x[:, None] + window - 1
    return (dy[:, None, :, None] * (2 * window - 1) + dx[None, :, None, :]).reshape(h * w, h * w)


def expand_bias(window_bias: torch.Tensor | None, offsets: torch.Tensor) -> torch.Tensor | None:
    """window_bias as (1, 1, heads, 1, area, 1, area)."""
    if window_bias is None:
        return None
    return window_bias.flatten(1)[:, offsets][None, None, :, None, :, None]


def _bias(
    time_bias: torch.Tensor | None, clips: slice, frames: Frames, expanded: torch.Tensor | None
) -> torch.Tensor | None:
    """The sum of both biases, (B, 1, heads, Tq, area, frames, area), or with broadcast sizes of 1.

    Args:
        time_bias: (B or 1, heads, Tq, Tk).
        expanded: window_bias, as `expand_bias` returns it.
    """
    if time_bias is None:
        return expanded
    time_bias = (time_bias[clips] if len(time_bias) > 1 else time_bias)[..., frames]
    time_bias = time_bias[:, None, :, :, None, :, None]
    return time_bias if expanded is None else time_bias + expanded


def _weights(
    q: torch.Tensor,
    k: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    sizes: tuple[int, ...],
) -> torch.Tensor:
    """Softmax weights (B * rows * columns * heads, Tq * area, frames * area).

    Args:
        q, k: rows, as `gather_chunk` returns them.
        sizes: (B, -1, heads, Tq, area, frames, area).
    """
    scores = q.new_empty((len(q), q.shape[1], k.shape[1]))
    if bias is not None:  # adding the products to it takes a pass less than adding it to them
        scores.view(sizes).copy_(bias)
    scores.baddbmm_(q, k.transpose(1, 2), beta=0 if bias is None else 1, alpha=scale)
    return torch.softmax(scores, -1, out=scores)


def _scaled_bmm(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """scale a @ b, of batches of matrices."""
    return a.new_empty((len(a), a.shape[1], b.shape[2])).baddbmm_(a, b, beta=0, alpha=scale)


# -- clips -----------------------------------------------------------------------------------------


def group_by_mask(
    mask: torch.Tensor | None, B: int, Tk: int
) -> Iterator[tuple[slice, Frames, int]]:
    """Consecutive clips with the same real frames: the clips, the frames and their number.

    The frames are a slice where possible, which needs no copy.
    """
    real = [list(range(Tk))] * B
    if mask is not None:
        real = [[u for u, is_real in enumerate(row) if is_real] for row in mask.tolist()]
    first = 0
    for frames, clips in groupby(real):
        count, T = len(list(clips)), len(frames)
        if T == Tk:
            found = ALL
        elif T and frames[-1] - frames[0] == T - 1:
            found = slice(frames[0], frames[-1] + 1)
        else:
            found = torch.tensor(frames, dtype=torch.int64, device="cpu")
        yield slice(first, first + count), found, T
        first += count


# -- forward ---------------------------------------------------------------------------------------


def temporal_attention_forward(
    q, k, v, time_bias, window_bias, mask, window, shift, scale, with_frame_weights
):
    """The output, the frame weights (empty where not wanted) and an empty tensor."""
    (B, Tq, H, W, heads, d), Tk, dtype = q.shape, k.shape[1], accumulate_dtype(q)
    shape = (B, Tq, Tk) if with_frame_weights else (0,)
    out, frame_weights = q.new_empty(q.shape), q.new_zeros(shape, dtype=dtype)
    groups = list(group_by_mask(mask, B, Tk)) if out.numel() else []
    for clips, _, T in groups:
        if T == 0:
            out[clips] = 0
    with autocast_disabled("cpu"):
        for rectangle in _rectangles(H, W, window, shift):
            area = rectangle.h * rectangle.w
            expanded = expand_bias(window_bias, _offsets(rectangle.h, rectangle.w, window))
            for clips, frames, T in groups:
                if T == 0:
                    continue
                queries, keys, values = q[clips], k[clips], v[clips]
                sizes = (len(queries), -1, heads, Tq, area, T, area)
                bias = _bias(time_bias, clips, frames, expanded)
                for at in _chunks(rectangle, _windows_per_chunk(sizes, d)):
                    b_q, b_k = (
                        gather_chunk(queries, at, dtype),
                        gather_chunk(keys, at, dtype, frames),
                    )
                    weights = _weights(b_q, b_k, bias, scale, sizes)
                    b_v = gather_chunk(values, at, dtype, frames)
                    scatter_chunk(out[clips], at, torch.bmm(weights, b_v))
                    if not with_frame_weights:
                        continue
                    received = weights.view(sizes[0], -1, Tq, area, T * area).sum((1, 3))
                    frame_weights[clips][..., frames] += received.unflatten(-1, (T, area)).sum(-1)
    return out, frame_weights.div_(heads * H * W), q.new_empty((0,), dtype=dtype)


# -- backward --------------------------------------------------------------------------------------


def temporal_attention_backward(
    grad, q, k, v, time_bias, window_bias, mask, window, shift, scale, with_frame_weights, needs
):
    """The gradients of q, k, v, time_bias and window_bias."""
    (B, Tq, H, W, heads, _), Tk, dtype = q.shape, k.shape[1], accumulate_dtype(q)
    grads = empty_grads((q, k, v, time_bias, window_bias), needs, 3)
    dq, dk, dv, dtime_bias, dwindow_bias = grads
    if q.numel() == 0:
        return dq, *(x.zero_() for x in grads[1:])
    for x in (dtime_bias, dwindow_bias):
        x.zero_()  # sums
    groups = list(group_by_mask(mask, B, Tk))
    for clips, _, T in groups:
        if T == 0:
            dq[clips] = 0
        for x in (dk, dv) if T < Tk else ():
            if x.numel():  # masked frames are not computed
                x[clips].index_fill_(1, (~mask[clips.start]).nonzero().flatten(), 0)
    with autocast_disabled("cpu"):
        for rectangle in _rectangles(H, W, window, shift):
            area, offsets = rectangle.h * rectangle.w, _offsets(rectangle.h, rectangle.w, window)
            expanded = expand_bias(window_bias, offsets)
            dexpanded = q.new_zeros((heads, area, area) if needs & 16 else (), dtype=dtype)
            for clips, frames, T in groups:
                if T == 0:
                    continue
                part = _Part(
                    *(x[clips] for x in (grad, q, k, v)),
                    *(x[clips] if x.numel() else x for x in (dq, dk, dv)),
                    frames=frames,
                    bias=_bias(time_bias, clips, frames, expanded),
                    sizes=(len(q[clips]), -1, heads, Tq, area, T, area),
                    scale=scale,
                    needs=needs,
                )
                dbias = part.backward(rectangle, dtype)
                if needs & 8:
                    found = dbias.sum((3, 5))
                    one = len(dtime_bias) == 1
                    target = dtime_bias if one else dtime_bias[clips]
                    target[..., frames] += found.sum(0) if one else found
                if needs & 16:
                    dexpanded += dbias.sum((0, 2, 4))
            if needs & 16:
                dwindow_bias.flatten(1).index_add_(1, offsets.flatten(), dexpanded.flatten(1))
    return grads


@dataclass
class _Part:
    """The backward of clips with the same real frames in windows of one size."""

    grad: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    dq: torch.Tensor
    dk: torch.Tensor
    dv: torch.Tensor
    frames: Frames
    bias: torch.Tensor | None
    sizes: tuple[int, ...]
    scale: float
    needs: int

    def backward(self, rectangle: Chunk, dtype: torch.dtype) -> torch.Tensor:
        """Write dq, dk and dv; return the gradient of the bias, summed over windows."""
        needs_scores = self.needs & ~4
        shape = (self.sizes[0], *self.sizes[2:]) if self.needs & 24 else ()
        dbias = self.q.new_zeros(shape, dtype=dtype)
        for at in _chunks(rectangle, _windows_per_chunk(self.sizes, self.q.shape[-1])):
            # Rows are gathered when needed, lest a small image's take more than its gradients.
            if needs_scores:
                b_v = gather_chunk(self.v, at, dtype, self.frames)
                dweights = torch.bmm(gather_chunk(self.grad, at, dtype), b_v.transpose(1, 2))
                del b_v
            b_k = gather_chunk(self.k, at, dtype, self.frames)
            b_q = gather_chunk(self.q, at, dtype)
            weights = _weights(b_q, b_k, self.bias, self.scale, self.sizes)
            del b_q
            if needs_scores:
                dscores = torch.ops.aten._softmax_backward_data.out(
                    dweights, weights, -1, dtype, grad_input=dweights
                )
                if self.needs & 24:
                    dbias += dscores.view(self.sizes).sum(1)
                if self.needs & 1:
                    scatter_chunk(self.dq, at, _scaled_bmm(dscores, b_k, self.scale))
            del b_k
            if self.needs & 2:
                b_q = gather_chunk(self.q, at, dtype)
                rows = _scaled_bmm(dscores.transpose(1, 2), b_q, self.scale)
                scatter_chunk(self.dk, at, rows, self.frames)
                del b_q, rows
            if self.needs & 4:
                rows = torch.bmm(weights.transpose(1, 2), gather_chunk(self.grad, at, dtype))
                scatter_chunk(self.dv, at, rows, self.frames)
                del rows
        return dbias
