"""Sums over the programs of a launch, finished inside the launch.

Each program stores a row of partial sums, then counts itself in. The last one to arrive adds all
rows, always in one order, so that two runs give the same bits. Nothing waits, so programs need not
run at the same time.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from lift.kernels import launch

COUNTERS = 1024  # of a buffer, at least; an op needs one for each block of columns

_counters: dict[tuple[torch.device, int], torch.Tensor] = {}


def arrival_counters(like: torch.Tensor, n: int) -> torch.Tensor:
    """Zeros (n,), int32, on the device of `like`, for the next launch only.

    A launch leaves its counters at zero, so the next one on the same stream takes them as they are:
    launches of a stream run one after another. Another stream has its own buffer. What a CUDA graph
    records can run on any stream later, so there the buffer is new, and the graph zeroes it.
    """
    if like.is_meta or launch.is_observed():  # there is no data
        return like.new_empty(n, dtype=torch.int32)
    stream = 0
    if like.is_cuda:
        if torch.cuda.is_current_stream_capturing():
            return like.new_zeros(n, dtype=torch.int32)
        stream = torch.cuda.current_stream(like.device).cuda_stream
    counters = _counters.get((like.device, stream))
    if counters is None or len(counters) < n:
        counters = like.new_zeros(max(n, COUNTERS), dtype=torch.int32)
        _counters[like.device, stream] = counters
    return counters


def counters(n: int) -> Callable:
    """An argument of `launch`: `arrival_counters` for this launch."""
    return lambda like: arrival_counters(like, n)


@triton.jit
def is_last_program(counter, programs):
    """Whether all of so many programs have stored their rows; to be asked once by each.

    The barrier puts the stores of all threads before the count, which one of them does for all. The
    count releases these stores, and acquires those that the other programs released before.
    """
    tl.debug_barrier()
    return tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == programs - 1


@triton.jit
def sum_rows(out, counter, partial, rows, C, o_c, BR: tl.constexpr, BC: tl.constexpr):
    """Add the rows of partial (rows, C) into out (C,), for columns o_c (BC,); zero the counter.

    Only where `is_last_program`.
    """
    o_r = tl.arange(0, BR)[:, None]
    o = o_r.to(tl.int64) * C + o_c[None, :]
    m_c = (o_c < C)[None, :]
    b_sum = tl.zeros((BR, BC), tl.float32)
    for i_r in range(0, rows, BR):
        # other programs wrote them: the L1 cache of this one may have older values
        b_sum += tl.load(
            partial + o, mask=m_c & (i_r + o_r < rows), other=0.0, cache_modifier=".cg"
        )
        o += BR * C
    tl.store(out + o_c, tl.sum(b_sum, 0), mask=o_c < C)
    tl.store(counter, 0)
