"""Flows propagated from pixel to pixel: the definition.

A flow found in one place is often right in places where none was found: farther along an edge of
motion, or beside a texture that tells more. Each pixel therefore compares its own flows with those
of the four pixels at a distance to the right, below, left and above; where such a pixel would be
beyond the border, it is the pixel itself. All flows of a direction are compared as one field. The
cost of a field at a pixel is how much the images differ that are warped by it,

    e = mean of |luma0(warped by flow0) - luma1(warped by flow1)|

over the pixel's 2 x 2 pixels of the images, which have twice its resolution, and then over the
pixels of the window of WINDOW x WINDOW around it that are inside. The flows that a pixel gets are
the mean of the five, weighted by

    softmax(-e / TEMPERATURE)

which is nearly a choice of the best, but continuous: a rounding error does not turn it.

The weights are constants, by design: no gradient flows through them. That of a result passes to the
flows that it is the mean of. Passed to the pixel's own flows, whatever was taken, it would train
flows by errors that they did not make, and training diverges (docs/experiments.md).

Sources: propagation, Barnes et al., "PatchMatch: A Randomized Correspondence Algorithm for
Structural Image Editing", SIGGRAPH 2009; over distances that shrink from pass to pass, for all
pixels at once, Rong and Tan, "Jump Flooding in GPU with Applications to Voronoi Diagram and
Distance Transform", I3D 2006.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from lift.kernels.ops.warp_blend.reference import warp_reference
from lift.kernels.transforms import differentiable_alias

WINDOW = 5  # pixels
TEMPERATURE = 0.002  # of costs, which are differences of luma in [0, 1]
DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # x, then y


def propagate_reference(
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    state: torch.Tensor,
    distance: int,
    warp: Callable = warp_reference,
) -> torch.Tensor:
    """One pass of propagation, over one distance.

    Args:
        luma0, luma1: (B, 1, 2 h, 2 w), any floating dtype.
        state: (B, 6, h, w), the flows to both, dx then dy in pixels of the state, then two channels
            that stay; float32, or float64 for float64 images.
        distance: in pixels of the state, at least 1.
        warp: computes the warps.

    Returns:
        (B, 6, h, w), dtype of state.
    """
    with torch.no_grad():  # detached, since tangents pass through no_grad
        fields = _fields(state.detach()[:, :4], distance)
        costs = torch.cat([_cost(luma0, luma1, field, warp) for field in fields], 1)
        weights = torch.softmax(-costs / TEMPERATURE, 1)
    return blended(state, weights, distance)


def blended(state: torch.Tensor, weights: torch.Tensor, distance: int) -> torch.Tensor:
    """The result for weights (B, 5, h, w) of the fields: (B, 6, h, w)."""
    flows, rest = state.split((4, state.shape[1] - 4), 1)
    fields = torch.stack(_fields(flows, distance), 2)
    out = torch.cat(((fields * weights[:, None]).sum(2), rest), 1)
    return out.contiguous()  # a state that is channels-last would make it so


def blended_transposed(grad: torch.Tensor, weights: torch.Tensor, distance: int) -> torch.Tensor:
    """The gradient of the state from that of the result, in ops that can be differentiated."""
    state = differentiable_alias(torch.zeros_like(grad))
    out = blended(state, weights, distance)
    return torch.autograd.grad(out, state, grad, create_graph=True)[0]


def empty_output(state: torch.Tensor) -> torch.Tensor:
    """The uninitialised output, contiguous."""
    return state.new_empty(state.shape)


def empty_weights(state: torch.Tensor, needed: bool) -> torch.Tensor:
    """Uninitialised weights of the fields (B, 5, h, w), contiguous; (0,) where not needed."""
    B, _, h, w = state.shape
    return state.new_empty((B, 1 + len(DIRECTIONS), h, w) if needed else (0,))


def _fields(flows: torch.Tensor, distance: int) -> list[torch.Tensor]:
    """A pixel's own flows (B, 4, h, w), then those of the pixels in each direction."""
    h, w = flows.shape[-2:]
    fields = [flows]
    for dx, dy in DIRECTIONS:
        rows, columns = _moved(h, dy * distance, flows), _moved(w, dx * distance, flows)
        fields.append(flows.index_select(2, rows).index_select(3, columns))
    return fields


def _moved(length: int, step: int, like: torch.Tensor) -> torch.Tensor:
    """Each position moved by step, or the position itself where that leaves the length."""
    positions = torch.arange(length, device=like.device)
    moved = positions + step
    return torch.where((moved >= 0) & (moved < length), moved, positions)


def _cost(
    luma0: torch.Tensor, luma1: torch.Tensor, flows: torch.Tensor, warp: Callable
) -> torch.Tensor:
    """How much the images differ that are warped by flows (B, 4, h, w): (B, 1, h, w)."""
    fine = 2 * F.interpolate(flows, scale_factor=2, mode="nearest")
    warped0 = warp(luma0.detach().to(flows.dtype), fine[:, :2])
    warped1 = warp(luma1.detach().to(flows.dtype), fine[:, 2:])
    difference = F.avg_pool2d((warped0 - warped1).abs(), 2)
    return F.avg_pool2d(difference, WINDOW, 1, WINDOW // 2, count_include_pad=False)
