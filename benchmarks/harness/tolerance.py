"""How far a kernel may be from its definition.

A kernel may err twice as much as the reference does in the same precision, both measured against
the reference in float64, so no tolerance is chosen by hand (as in flash-attention's tests).
Gradients must also be right as a whole, since a small bias passes any test of single elements.
"""

import torch

ROUNDINGS = 16  # of the arithmetic, allowed where the reference happens to have none


def largest_error(
    found: torch.Tensor, low: torch.Tensor, exact: torch.Tensor, computed_in: torch.dtype
) -> tuple[float, float]:
    """The largest error of an element, and what is allowed.

    Args:
        found: of the kernel.
        low: of the reference, computed in the same dtypes.
        exact: of the reference, computed in float64.
        computed_in: the dtype of the kernel's sums and products.
    """
    if exact.numel() == 0:
        return 0.0, 0.0
    found, low, exact = (x.detach().cpu().double() for x in (found, low, exact))
    rounding = ROUNDINGS * torch.finfo(computed_in).eps
    allowed = 2 * (low - exact).abs().max() + rounding * exact.abs().max()
    return (found - exact).abs().max().item(), allowed.item()


def gradient_fault(
    found: torch.Tensor, low: torch.Tensor, exact: torch.Tensor, computed_in: torch.dtype
) -> str | None:
    """What is wrong with a gradient as a whole: its relative L2 error, cosine or bias; or None.

    Args:
        found, low, exact, computed_in: as in `largest_error`.
    """
    found, low, exact = (x.detach().cpu().double().flatten() for x in (found, low, exact))
    size = exact.norm()
    if size == 0:
        return None if (found == 0).all() else "not 0"
    rounding = ROUNDINGS * torch.finfo(computed_in).eps
    unit = torch.finfo(low.dtype if computed_in == torch.float64 else computed_in).eps
    distance, allowed = (found - exact).norm() / size, 2 * (low - exact).norm() / size + rounding
    if not distance <= allowed:
        return f"relative L2 error {distance:.3g}, allowed {allowed:.3g}"
    cosine = found @ exact / (found.norm() * size)
    if not 1 - cosine <= allowed**2 + 1e-12:
        return f"cosine {cosine:.9f}"
    bias = (found - exact).sum().abs()  # errors of either sign grow as the root of their number
    if not bias <= 4 * allowed * size + unit * exact.abs().sum():
        return f"errors lean to one side by {bias:.3g}"
    return None
