"""Grid sampling: the definition is PyTorch's own.

`grid_sample_gather` is the same in gathers and arithmetic, for where PyTorch's has no second
derivative or no deterministic gradient.
"""

import torch
import torch.nn.functional as F

from lift.kernels.transforms import in_transform

MODES = ("bilinear", "nearest")  # as numbers: Mode and Padding in csrc
PADDING_MODES = ("zeros", "border", "reflection")


def grid_sample_reference(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """`F.grid_sample` in 2-D, with the arithmetic in grid's dtype.

    Args:
        input: (B, C, H, W), any floating dtype.
        grid: (B, h, w, 2), x then y, -1 and 1 at the borders; float32, or float64 for a float64
            input. With border and reflection NaN reads as -1, and coordinates that are not finite
            have no gradient; with zeros they make the output NaN, as in PyTorch.
        mode: "bilinear" or "nearest".
        padding_mode: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the corner pixels (true) or their outer
            edges (false).

    Returns:
        (B, C, h, w), dtype of input.
    """
    if in_transform() or input.is_cuda and torch.are_deterministic_algorithms_enabled():
        # F.grid_sample has no tangents, and its gradient raises where it must be deterministic.
        return grid_sample_gather(input, grid, mode, padding_mode, align_corners)
    bounded = _bounded(grid, input, padding_mode)
    out = F.grid_sample(input.to(grid.dtype), bounded, mode, padding_mode, align_corners)
    return out.to(input.dtype)


def grid_sample_value(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """The output of `grid_sample_reference`, for a backend with a backward of its own."""
    # A GPU reads NaN as -1 by itself, which spares a pass over the grid.
    bounded = grid if grid.is_cuda else _bounded(grid, input, padding_mode)
    out = F.grid_sample(input.to(grid.dtype), bounded, mode, padding_mode, align_corners)
    return out.to(input.dtype)


def grid_sample_gather(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """As `grid_sample_reference`, in gathers and arithmetic.

    Any number of derivatives exists, and a GPU sums in a fixed order under
    `torch.use_deterministic_algorithms(True)`.
    """
    B, C, H, W = input.shape
    bounded = _bounded(grid, input, padding_mode)
    x = _pixel_coordinate(bounded[..., 0], W, padding_mode, align_corners)
    y = _pixel_coordinate(bounded[..., 1], H, padding_mode, align_corners)
    pixels = input.to(grid.dtype).flatten(2)

    def gather(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
        index = row.clamp(0, H - 1) * W + column.clamp(0, W - 1)
        index = index.flatten(1)[:, None].expand(-1, C, -1)
        return torch.where(inside[:, None], pixels.gather(2, index).view(B, C, *row.shape[1:]), 0)

    if mode == "nearest":
        return gather(_index(y.round(), H), _index(x.round(), W)).to(input.dtype)
    west, north = x.detach().floor(), y.detach().floor()
    fx, fy = (x - west)[:, None], (y - north)[:, None]
    west, north = _index(west, W), _index(north, H)
    top = (1 - fx) * gather(north, west) + fx * gather(north, west + 1)
    bottom = (1 - fx) * gather(north + 1, west) + fx * gather(north + 1, west + 1)
    return ((1 - fy) * top + fy * bottom).to(input.dtype)


def _bounded(grid: torch.Tensor, input: torch.Tensor, padding_mode: str) -> torch.Tensor:
    """The grid in numbers that are finite in pixels too, except with "zeros".

    PyTorch's gradient on the CPU writes outside the image for NaN, with reflection for infinities
    and for finite numbers that overflow on their way to pixels.
    """
    if padding_mode == "zeros":
        return grid
    # These count as infinite; csrc has the same bound.
    most = torch.finfo(grid.dtype).max / (2 * max(*input.shape[2:], 1))
    far = grid.detach().abs() > most
    bounded = torch.where(far, grid.detach().sign() * 1e30, grid)
    return bounded.nan_to_num(nan=-1.0)


def _pixel_coordinate(
    normalized: torch.Tensor, size: int, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """Coordinates of a grid along one axis in pixels; inside the image, except with "zeros"."""
    extent, outer = (size - 1, 0.0) if align_corners else (size, -0.5)
    at = (normalized + 1) * (extent / 2) + outer
    if padding_mode == "zeros":
        return at
    if padding_mode == "reflection":
        distance = (at - outer).abs()
        folded = distance - (distance / max(2 * extent, 1)).detach().trunc() * (2 * extent)
        at = torch.minimum(folded, 2 * extent - folded) + outer
    inside = (at > 0) & (at < size - 1)  # on the border, as outside, there is no gradient
    return torch.where(inside, at, at.detach().nan_to_num(nan=0.0).clamp(0, size - 1))


def _index(whole: torch.Tensor, size: int) -> torch.Tensor:
    return whole.detach().nan_to_num(nan=-2.0).clamp(-2, size).long()
