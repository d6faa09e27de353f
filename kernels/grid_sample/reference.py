"""Grid sampling: the definition is PyTorch's own."""
import torch
import torch.nn.functional as F


def grid_sample_reference(input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool) -> torch.Tensor:
    """`F.grid_sample` in 2-D, with the arithmetic in grid's dtype.

    Args:
        input: (B, C, H, W), any floating dtype.
        grid: (B, h, w, 2), x then y, -1 and 1 at the borders; float32, or float64 for a float64 input.
        mode: "bilinear" or "nearest".
        padding_mode: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the corner pixels (true) or their outer edges (false).

    Returns:
        (B, C, h, w), dtype of input.
    """
    return F.grid_sample(input.to(grid.dtype), grid, mode, padding_mode, align_corners).to(input.dtype)
