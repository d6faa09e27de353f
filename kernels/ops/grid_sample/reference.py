"""Grid sampling: the definition is PyTorch's own; and the same by hand, where PyTorch's has no
derivative or no order of sums.
"""

import torch
import torch.nn.functional as F


def grid_sample_reference(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """`F.grid_sample` in 2-D, with the arithmetic in grid's dtype.

    Args:
        input: (B, C, H, W), any floating dtype.
        grid: (B, h, w, 2), x then y, -1 and 1 at the borders; float32, or float64 for a float64
            input. With border and reflection a NaN is taken as -1, and no number that is not finite
            has a gradient; with zeros it makes the result NaN, as in PyTorch.
        mode: "bilinear" or "nearest".
        padding_mode: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the corner pixels (true) or their outer
            edges (false).

    Returns:
        (B, C, h, w), dtype of input.
    """
    if (
        input.is_cuda and torch.are_deterministic_algorithms_enabled()
    ):  # F.grid_sample's gradient raises there
        return grid_sample_by_hand(input, grid, mode, padding_mode, align_corners)
    return F.grid_sample(
        input.to(grid.dtype), _bounded(grid, padding_mode), mode, padding_mode, align_corners
    ).to(input.dtype)


def grid_sample_value(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """What `grid_sample_reference` returns, for those who make the gradients themselves."""
    numbers = (
        grid if grid.is_cuda else _bounded(grid, padding_mode)
    )  # a GPU takes NaN as -1 by itself: one pass less over the grid
    return F.grid_sample(input.to(grid.dtype), numbers, mode, padding_mode, align_corners).to(
        input.dtype
    )


def grid_sample_by_hand(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """As `grid_sample_reference`, in plain arithmetic on pixels: any number of derivatives exists,
    and a GPU sums in a fixed order when `torch.use_deterministic_algorithms(True)` asks for it."""
    B, C, H, W = input.shape
    numbers = _bounded(grid, padding_mode)
    x, y = (
        _coordinate(numbers[..., 0], W, padding_mode, align_corners),
        _coordinate(numbers[..., 1], H, padding_mode, align_corners),
    )
    pixels = input.to(grid.dtype).flatten(2)

    def at(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
        place = (
            (row.clamp(0, H - 1) * W + column.clamp(0, W - 1)).flatten(1)[:, None].expand(-1, C, -1)
        )
        return torch.where(inside[:, None], pixels.gather(2, place).view(B, C, *row.shape[1:]), 0)

    if mode == "nearest":
        return at(_index(y.round(), H), _index(x.round(), W)).to(input.dtype)
    west, north = x.detach().floor(), y.detach().floor()
    fx, fy = (x - west)[:, None], (y - north)[:, None]
    west, north = _index(west, W), _index(north, H)
    top = (1 - fx) * at(north, west) + fx * at(north, west + 1)
    bottom = (1 - fx) * at(north + 1, west) + fx * at(north + 1, west + 1)
    return ((1 - fy) * top + fy * bottom).to(input.dtype)


def _bounded(grid: torch.Tensor, padding_mode: str) -> torch.Tensor:
    """PyTorch's gradient on the CPU leaves the image for a NaN, with reflection for infinities too."""
    return grid if padding_mode == "zeros" else grid.nan_to_num(nan=-1.0, posinf=1e30, neginf=-1e30)


def _coordinate(
    numbers: torch.Tensor, size: int, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """Where the numbers of a grid lie along an axis, in pixels; inside the image but for "zeros"."""
    extent, outer = (size - 1, 0.0) if align_corners else (size, -0.5)
    at = (numbers + 1) * (extent / 2) + outer
    if padding_mode == "zeros":
        return at
    if padding_mode == "reflection":
        distance = (at - outer).abs()
        there = distance - (distance / max(2 * extent, 1)).detach().trunc() * (2 * extent)
        at = torch.minimum(there, 2 * extent - there) + outer
    inside = (at > 0) & (at < size - 1)  # on the border, as outside, there is no gradient
    return torch.where(inside, at, at.detach().nan_to_num(nan=0.0).clamp(0, size - 1))


def _index(whole: torch.Tensor, size: int) -> torch.Tensor:
    return whole.detach().nan_to_num(nan=-2.0).clamp(-2, size).long()
