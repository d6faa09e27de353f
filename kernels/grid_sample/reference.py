"""Grid sampling: the definition is PyTorch's own."""
import torch
import torch.nn.functional as F


def grid_sample_reference(input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool) -> torch.Tensor:
    """`F.grid_sample` in 2-D, with the arithmetic in grid's dtype.

    Args:
        input: (B, C, H, W), any floating dtype.
        grid: (B, h, w, 2), x then y, -1 and 1 at the borders; float32, or float64 for a float64 input. With border and reflection a
            NaN is taken as -1, and no number that is not finite has a gradient; with zeros it makes the result NaN, as in PyTorch.
        mode: "bilinear" or "nearest".
        padding_mode: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the corner pixels (true) or their outer edges (false).

    Returns:
        (B, C, h, w), dtype of input.
    """
    if padding_mode != "zeros":                         # PyTorch's gradient on the CPU leaves the image for NaN, reflected infinities too
        grid = grid.nan_to_num(nan=-1.0, posinf=1e30, neginf=-1e30)
    return F.grid_sample(input.to(grid.dtype), grid, mode, padding_mode, align_corners).to(input.dtype)
