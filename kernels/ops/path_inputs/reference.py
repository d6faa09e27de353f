"""The input of the convolutions that weight divided differences, and these: the definition.

Let x(s) be the position of a point at time s, in frames at times ... l2 < l1 < 0 < 1 < r1 < r2 ...
The flows of the target lead to the frames at 0 and 1, the references; the motion in each gap
between the frames beside them leads on, from frame to frame. A gap's motion is given where points
are half way through it; at the velocity of the gap before, nearer to the references, they get there
in half its time. The divided differences of x (Newton's form) in the middle are of the orders 2, 4
and 6: over the frames lk to r(k-1), and over those from l(k-1) to rk.
"""

from collections.abc import Callable, Sequence

import torch

from lift.kernels.concat import cat_channels
from lift.kernels.ops.warp_blend.reference import warp_reference


def path_inputs_reference(
    hidden: torch.Tensor,
    state: torch.Tensor,
    motions: torch.Tensor,
    times: torch.Tensor,
    valid: torch.Tensor,
    gaps: int,
    factors: list[float],
    dtype: torch.dtype,
    warp: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = warp_reference,
    cat: Callable[[Sequence[torch.Tensor]], torch.Tensor] = cat_channels,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and the motion of the paths through the pixels of the target, side by side.

    Args:
        hidden: (B, C, h, w), any floating dtype.
        state: (B, 6, h, w), float32 or float64, from the target to the references along straight
            paths: dx, dy to the left one, dx, dy to the right one; the last two channels are not
            read.
        motions, times, valid: as in `divided_differences`, dtype of state.
        gaps: zeros stand for the differences of the gaps from G on.
        factors: of the differences of order 2, of the velocity, of the other differences.
        dtype: of the first output.
        warp: as in `divided_differences`.
        cat: concatenates channels.

    Returns:
        (B, C + 2 + 2 * gaps, h, w): hidden, the four components of order 2, the two of the velocity
        (the flow to the right reference less that to the left one), those of higher orders; and the
        differences, (B, G, 2, h, w), dtype of state.
    """
    inner, motion, outer = factors
    flow_t0, flow_t1 = state[:, 0:2], state[:, 2:4]
    differences = divided_differences(flow_t0, flow_t1, motions, times, valid, warp)
    B, G, _, h, w = differences.shape
    parts = (
        hidden,
        differences[:, :2].flatten(1, 2) * inner,
        (flow_t1 - flow_t0) * motion,
        differences[:, 2:].flatten(1, 2) * outer,
        *([differences.new_zeros(B, 2 * (gaps - G), h, w)] if G < gaps else []),
    )
    return cat([x.to(dtype) for x in parts]), differences


def divided_differences(
    flow_t0: torch.Tensor,
    flow_t1: torch.Tensor,
    motions: torch.Tensor,
    times: torch.Tensor,
    valid: torch.Tensor,
    warp: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Divided differences of the paths through the pixels of the target.

    Args:
        flow_t0, flow_t1: (B, 2, h, w), from the target to the references along straight paths.
        motions: (B, G, 2, h, w), in the gaps: before the left reference, after the right one, then
            before and after those two, and so on; pixels, finite.
        times: (B, G), of the outer frame of each gap, below 0 or above 1.
        valid: (B, G), bool, whether a gap's motion is known.
        warp: backward warp of (N, 2, h, w) along flows (N, 2, h, w).

    Returns:
        (B, G, 2, h, w): the difference of the left side, then of the right one, by order; pixels
        per interval to the power of the order, 0 where not known.
    """

    def sampled(motions, flows):
        return warp(motions.flatten(0, 1), flows.flatten(0, 1)).unflatten(0, motions.shape[:2])

    velocity = flow_t1 - flow_t0
    known = differences_valid(valid)[..., None, None, None]
    times = times[..., None, None, None]
    edge = torch.stack((torch.zeros_like(times[:, 0]), torch.ones_like(times[:, 1])), 1)
    at, between = [*edge.unbind(1)], [velocity]  # in the order of time
    flows, beside = torch.stack((flow_t0, flow_t1), 1), velocity[:, None]
    for outer, gap in zip(times.split(2, 1), motions.split(2, 1), strict=True):
        reach = outer - edge  # signed
        motion = sampled(gap, flows + reach / 2 * beside)
        beside = motion / reach.abs()
        flows, edge = flows + reach * beside, outer
        at = [outer[:, 0], *at, outer[:, 1]]
        between = [motion[:, 0], *between, motion[:, 1]]
    at = torch.stack(at, 1)
    order = _next_order(torch.stack(between, 1) / (at[:, 1:] - at[:, :-1]), at)
    differences = [_middle(order)]
    while order.shape[1] > 2:
        order = _next_order(_next_order(order, at), at)
        differences.append(_middle(order))
    return torch.where(known, torch.cat(differences, 1), 0)


def differences_valid(valid: torch.Tensor) -> torch.Tensor:
    """(B, G), bool: which differences are known, of gaps known (B, G).

    Those of a higher order need both of the order before.
    """
    known = [valid[:, :2]]
    for outer in valid[:, 2:].split(2, 1):
        known.append(outer & known[-1].all(1, keepdim=True))
    return torch.cat(known, 1)


def _middle(differences: torch.Tensor) -> torch.Tensor:
    """The two in the middle, around the references: (B, n, ...) -> (B, 2, ...)."""
    first = differences.shape[1] // 2 - 1
    return differences[:, first : first + 2]


def _next_order(differences: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Divided differences of the next order, (B, n, ...) over times (B, N, ...) -> (B, n - 1)."""
    order = times.shape[1] - differences.shape[1] + 1
    change = differences[:, 1:] - differences[:, :-1]
    return change / (times[:, order:] - times[:, :-order])


def empty_outputs(
    hidden: torch.Tensor, motions: torch.Tensor, gaps: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The uninitialised outputs; the first is channels_last."""
    B, C, h, w = hidden.shape
    inputs = torch.empty(
        (B, C + 2 + 2 * gaps, h, w),
        dtype=dtype,
        device=hidden.device,
        memory_format=torch.channels_last,
    )
    return inputs, torch.empty_like(motions, memory_format=torch.contiguous_format)
