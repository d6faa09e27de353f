"""Windowed temporal attention in plain PyTorch on a CPU, piece by piece: what `auto` serves there.

A picture's windows form at most nine rectangles of equal windows: the whole ones, and the narrower
ones along the edges and in the corners. So nothing is padded and nothing masked, and a frame that
is not real is left out. A piece is as many windows of one rectangle as a processor's cache holds;
its rows are cut out, multiplied and put back before the next piece, and backward computes the
weights once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch

from lift.kernels.ops.temporal_attention import registration
from lift.kernels.ops.temporal_attention.reference import _exactly

PIECE = 1 << 20  # numbers that a piece holds at a time: 4 MB
ALL = slice(None)


@dataclass(frozen=True)
class Piece:
    """Equal windows side by side: rows by columns of them, each h by w pixels, the first at (y, x)."""

    y: int
    x: int
    rows: int
    columns: int
    h: int
    w: int


def _rectangles(H: int, W: int, window: int, shift: int) -> Iterator[Piece]:
    """All windows of a picture, by size."""
    for y, rows, h in _spans(H, window, shift):
        for x, columns, w in _spans(W, window, shift):
            yield Piece(y, x, rows, columns, h, w)


def _spans(size: int, window: int, shift: int) -> Iterator[tuple[int, int, int]]:
    """(first pixel, windows, pixels a window) of the windows of a side that are equally wide."""
    first = min((window - shift) % window, size)
    whole = (size - first) // window
    for start, count, width in (
        (0, 1, first),
        (first, whole, window),
        (first + whole * window, 1, (size - first) % window),
    ):
        if count and width:
            yield start, count, width


def _pieces(all_: Piece, count: int) -> Iterator[Piece]:
    """A rectangle in pieces of about `count` windows: whole rows of windows, or parts of one."""
    rows, columns = (
        (count // all_.columns, all_.columns) if count >= all_.columns else (1, max(1, count))
    )
    for i in range(0, all_.rows, rows):
        for j in range(0, all_.columns, columns):
            yield Piece(
                all_.y + i * all_.h,
                all_.x + j * all_.w,
                min(rows, all_.rows - i),
                min(columns, all_.columns - j),
                all_.h,
                all_.w,
            )


def _view(x: torch.Tensor, at: Piece) -> torch.Tensor:
    """(B, T, H, W, heads, d) -> (B, rows, columns, heads, T, h, w, d), in place; one operation,
    which costs less than slices of slices.
    """
    (B, T, _, _, heads, d), (by_b, by_t, by_y, by_x, by_h, by_d) = x.shape, x.stride()
    return x.as_strided(
        (B, at.rows, at.columns, heads, T, at.h, at.w, d),
        (by_b, at.h * by_y, at.w * by_x, by_h, by_t, by_y, by_x, by_d),
        x.storage_offset() + at.y * by_y + at.x * by_x,
    )


def _cut(
    x: torch.Tensor, at: Piece, dtype: torch.dtype, frames: slice | torch.Tensor = ALL
) -> torch.Tensor:
    """(B, T, H, W, heads, d) -> (B * rows * columns * heads, frames * h * w, d); a view where the
    layout allows.
    """
    x = _view(x, at)
    if frames is not ALL:
        x = x[:, :, :, :, frames] if isinstance(frames, slice) else x.index_select(4, frames)
    if x.dtype != dtype:
        x = x.to(dtype, memory_format=torch.contiguous_format)
    return x.reshape(-1, x.shape[4] * at.h * at.w, x.shape[7])


def _put(
    target: torch.Tensor, at: Piece, rows: torch.Tensor, frames: slice | torch.Tensor = ALL
) -> None:
    """The inverse of `_cut`."""
    target = _view(target, at)
    rows = rows.view(*target.shape[:4], -1, *target.shape[5:])
    if isinstance(frames, slice):
        (target if frames is ALL else target[:, :, :, :, frames]).copy_(rows)
    else:
        target.index_copy_(4, frames, rows.to(target.dtype))


# -- weights ---------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _offsets(h: int, w: int, window: int) -> torch.Tensor:
    """(h * w, h * w), query by key: where a pair's bias stands in a flattened table of (2 window -
    1)^2.
    """
    y, x = (
        torch.arange(h, device="cpu"),
        torch.arange(w, device="cpu"),
    )  # whatever the default device is
    dy, dx = y - y[:, None] + window - 1, x - x[:, None] + window - 1
    return (dy[:, None, :, None] * (2 * window - 1) + dx[None, :, None, :]).reshape(h * w, h * w)


def _spread(window_bias: torch.Tensor | None, offsets: torch.Tensor) -> torch.Tensor | None:
    """(1, 1, heads, 1, area, 1, area)."""
    return (
        None
        if window_bias is None
        else window_bias.flatten(1)[:, offsets][None, None, :, None, :, None]
    )


def _bias(time: torch.Tensor | None, spread: torch.Tensor | None) -> torch.Tensor | None:
    """(B, 1, heads, Tq, area, frames, area), or with sizes of 1 that spread."""
    if time is None:
        return spread
    time = time[:, None, :, :, None, :, None]
    return time if spread is None else time + spread


def _weights(
    q: torch.Tensor,
    k: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    sizes: tuple[int, ...],
) -> torch.Tensor:
    """(B * rows * columns * heads, Tq * area, frames * area) of rows of queries and keys; sizes:
    (B, -1, heads, Tq, area, frames, area).
    """
    scores = q.new_empty((len(q), q.shape[1], k.shape[1]))
    if bias is not None:
        scores.view(sizes).copy_(
            bias
        )  # to add the products to it takes a pass less than to add it to them
    scores.baddbmm_(q, k.transpose(1, 2), beta=0 if bias is None else 1, alpha=scale)
    return torch.softmax(scores, -1, out=scores)


def _scaled(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """scale a @ b, of batches of matrices."""
    return a.new_empty((len(a), a.shape[1], b.shape[2])).baddbmm_(a, b, beta=0, alpha=scale)


def _count(sizes: tuple[int, ...], d: int) -> int:
    """How many windows a piece has: of all clips, scores and rows of queries and keys."""
    B, _, heads, Tq, area, frames, _ = sizes
    return PIECE // (B * heads * area * (Tq * frames * area + 2 * (Tq + frames) * d))


# -- clips -----------------------------------------------------------------------------------------


def _groups(
    mask: torch.Tensor | None, B: int, Tk: int
) -> Iterator[tuple[slice, slice | torch.Tensor, int]]:
    """Clips that follow one another and have the same real frames, with these frames (a slice where
    it can be, which needs no copy) and how many they are."""
    real = (
        [list(range(Tk))] * B
        if mask is None
        else [[u for u, is_real in enumerate(row) if is_real] for row in mask.tolist()]
    )
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


def _of_table(
    table: torch.Tensor | None, clips: slice, frames: slice | torch.Tensor
) -> torch.Tensor | None:
    """(B or 1, heads, Tq, frames) of time_bias (B or 1, heads, Tq, Tk)."""
    return None if table is None else (table[clips] if len(table) > 1 else table)[..., frames]


def _forward(q, k, v, time_bias, window_bias, mask, window, shift, scale):
    (B, Tq, H, W, heads, d), Tk, dtype = q.shape, k.shape[1], registration.arithmetic(q)
    out, share = q.new_empty(q.shape), q.new_zeros((B, Tq, Tk), dtype=dtype)
    groups = list(_groups(mask, B, Tk)) if out.numel() else []
    for clips, _, T in groups:
        if T == 0:
            out[clips] = 0
    with _exactly("cpu"):
        for rectangle in _rectangles(H, W, window, shift):
            area = rectangle.h * rectangle.w
            spread = _spread(window_bias, _offsets(rectangle.h, rectangle.w, window))
            for clips, frames, T in groups:
                if T == 0:
                    continue
                queries, keys, values = q[clips], k[clips], v[clips]
                sizes = (len(queries), -1, heads, Tq, area, T, area)
                bias = _bias(_of_table(time_bias, clips, frames), spread)
                for at in _pieces(rectangle, _count(sizes, d)):
                    weights = _weights(
                        _cut(queries, at, dtype), _cut(keys, at, dtype, frames), bias, scale, sizes
                    )
                    _put(out[clips], at, torch.bmm(weights, _cut(values, at, dtype, frames)))
                    received = (
                        weights.view(sizes[0], -1, Tq, area, T * area)
                        .sum((1, 3))
                        .unflatten(-1, (T, area))
                        .sum(-1)
                    )
                    share[clips][..., frames] += received
    return out, share.div_(heads * H * W), q.new_empty((0,), dtype=dtype)


def _backward(
    grad, q, k, v, out, statistic, time_bias, window_bias, mask, window, shift, scale, needs
):
    (B, Tq, H, W, heads, d), Tk, dtype = q.shape, k.shape[1], registration.arithmetic(q)
    dq, dk, dv, d_time, d_window = registration.empty_gradients(
        (q, k, v, time_bias, window_bias), needs
    )
    if q.numel() == 0:
        return dq, dk.zero_(), dv.zero_(), d_time.zero_(), d_window.zero_()
    for table in (d_time, d_window):
        table.zero_()  # sums
    groups = list(_groups(mask, B, Tk))
    for clips, _, T in groups:
        if T == 0:
            dq[clips] = 0
        for x in (dk, dv) if T < Tk else ():
            if x.numel():  # what is masked is not computed
                x[clips].index_fill_(1, (~mask[clips.start]).nonzero().flatten(), 0)
    with _exactly("cpu"):
        for rectangle in _rectangles(H, W, window, shift):
            area, offsets = rectangle.h * rectangle.w, _offsets(rectangle.h, rectangle.w, window)
            spread, d_spread = (
                _spread(window_bias, offsets),
                q.new_zeros((heads, area, area) if needs & 16 else (), dtype=dtype),
            )
            for clips, frames, T in groups:
                if T == 0:
                    continue
                given, queries, keys, values = (x[clips] for x in (grad, q, k, v))
                sizes = (len(queries), -1, heads, Tq, area, T, area)
                bias = _bias(_of_table(time_bias, clips, frames), spread)
                d_bias = q.new_zeros((sizes[0], *sizes[2:]) if needs & 24 else (), dtype=dtype)
                for at in _pieces(rectangle, _count(sizes, d)):
                    if (
                        needs & ~4
                        # rows are cut when needed, lest a small picture's take more than its gradients
                    ):
                        d_weights = torch.bmm(
                            _cut(given, at, dtype), _cut(values, at, dtype, frames).transpose(1, 2)
                        )
                    b_k = _cut(keys, at, dtype, frames)
                    weights = _weights(_cut(queries, at, dtype), b_k, bias, scale, sizes)
                    if needs & ~4:
                        d_scores = torch.ops.aten._softmax_backward_data.out(
                            d_weights, weights, -1, dtype, grad_input=d_weights
                        )
                        if needs & 24:
                            d_bias += d_scores.view(sizes).sum(1)
                        if needs & 1:
                            _put(dq[clips], at, _scaled(d_scores, b_k, scale))
                    del b_k
                    if needs & 2:
                        _put(
                            dk[clips],
                            at,
                            _scaled(d_scores.transpose(1, 2), _cut(queries, at, dtype), scale),
                            frames,
                        )
                    if needs & 4:
                        _put(
                            dv[clips],
                            at,
                            torch.bmm(weights.transpose(1, 2), _cut(given, at, dtype)),
                            frames,
                        )
                if needs & 8:
                    found = d_bias.sum((3, 5))
                    (d_time[clips] if len(d_time) > 1 else d_time)[..., frames] += (
                        found if len(d_time) > 1 else found.sum(0)
                    )
                if needs & 16:
                    d_spread += d_bias.sum((0, 2, 4))
            if needs & 16:
                d_window.flatten(1).index_add_(1, offsets.flatten(), d_spread.flatten(1))
    return dq, dk, dv, d_time, d_window


_library = registration.attach("lift_eager", _forward, _backward, ("CPU",), rows=False)


# -- public ----------------------------------------------------------------------------------------


def reason(*arguments) -> str | None:
    """Why this cannot serve; arguments as `temporal_attention_reference` has them, none to ask
    about the machine.
    """
    if arguments and arguments[0].device.type != "cpu":
        return f"for the CPU; the tensors are on {arguments[0].device.type}"
    return None


def temporal_attention_eager(
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
    """As `temporal_attention_reference`, for tensors on the CPU."""
    return registration.call(
        "lift_eager", q, k, v, window, shift, time_bias, window_bias, mask, scale
    )
