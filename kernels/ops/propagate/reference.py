"""Flows propagated from pixel to pixel: the definition.

A flow found in one place is often right in places where none was found: farther along an edge of
motion, or beside a texture that tells more. Each pixel therefore compares its own flows with those
of the four pixels at a distance to the right, below, left and above; beyond the border that is the
nearest pixel. All flows of a direction are compared as one field. The cost of a field at a pixel is
how much the images differ that are warped by it,

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
    flows, rest = state.split((4, state.shape[1] - 4), 1)
    fields = [flows, *(_shifted(flows, x * distance, y * distance) for x, y in DIRECTIONS)]
    with torch.no_grad():  # detached, since tangents pass through no_grad
        costs = torch.stack([_cost(luma0, luma1, field.detach(), warp) for field in fields])
        weights = torch.softmax(-costs / TEMPERATURE, 0)
    return torch.cat(((torch.stack(fields) * weights).sum(0), rest), 1)


def empty_output(state: torch.Tensor) -> torch.Tensor:
    """The uninitialised output, contiguous."""
    return state.new_empty(state.shape)


def _shifted(maps: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """Maps (B, N, h, w), at each pixel the values of the one dx to the right and dy below."""
    h, w = maps.shape[-2:]
    rows = (torch.arange(h, device=maps.device) + dy).clamp(0, h - 1)
    columns = (torch.arange(w, device=maps.device) + dx).clamp(0, w - 1)
    return maps.index_select(2, rows).index_select(3, columns)


def _cost(
    luma0: torch.Tensor, luma1: torch.Tensor, flows: torch.Tensor, warp: Callable
) -> torch.Tensor:
    """How much the images differ that are warped by flows (B, 4, h, w): (B, 1, h, w)."""
    fine = 2 * F.interpolate(flows, scale_factor=2, mode="nearest")
    warped0 = warp(luma0.detach().to(flows.dtype), fine[:, :2])
    warped1 = warp(luma1.detach().to(flows.dtype), fine[:, 2:])
    difference = F.avg_pool2d((warped0 - warped1).abs(), 2)
    return F.avg_pool2d(difference, WINDOW, 1, WINDOW // 2, count_include_pad=False)
