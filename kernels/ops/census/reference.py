"""The census loss of two images: the definition.

The census transform of a pixel holds, for every other pixel of the 7 x 7 around it, whether that is
brighter, darker or the same, as a soft ternary digit of the difference d of their lumas:

    d / sqrt(d^2 + SOFT)

Two images differ at a pair of pixels by the difference s of their digits; the loss is the mean of

    s^2 / (s^2 + HALF),

a soft Hamming distance, over all pairs of which both pixels lie in the image. It ignores brightness
and is robust to outliers.

Source: Meister et al., "UnFlow: Unsupervised Learning of Optical Flow with a Bidirectional Census
Loss", AAAI 2018; Zabih and Woodfill, "Non-parametric Local Transforms for Computing Visual
Correspondence", ECCV 1994.
"""

import torch

from lift.kernels.checks import accumulate_dtype
from lift.kernels.transforms import in_transform

RADIUS = 3  # pixels, of the window
SOFT = (0.9 / 255) ** 2  # for images in [0, 1]
HALF = 0.1  # squared difference of digits that counts half
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue

# Half of the window: the offset (-y, -x) pairs the same pixels as (y, x).
OFFSETS = tuple(
    (y, x) for y in range(RADIUS + 1) for x in range(-RADIUS, RADIUS + 1) if y > 0 or x > 0
)


def census_reference(image0: torch.Tensor, image1: torch.Tensor) -> torch.Tensor:
    """The census loss of two images.

    Args:
        image0, image1: (B, 3, H, W), RGB in [0, 1], any floating dtype, H and W larger than 3.

    Returns:
        (), float32 (float64 for float64), in [0, 1).
    """
    total = _total if in_transform() else _Census.apply
    return total(luma(image0), luma(image1)) / count(image0)


class _Census(torch.autograd.Function):
    """The sum over all pairs of pixels of the lumas (B, H, W) of two images.

    Sum and gradients come from one pass over the offsets; autograd would save two hundred images.
    """

    @staticmethod
    def forward(ctx, luma0: torch.Tensor, luma1: torch.Tensor) -> torch.Tensor:
        total = luma0.new_zeros(())
        gradients = [
            torch.zeros_like(luma) if needed else None
            for luma, needed in zip((luma0, luma1), ctx.needs_input_grad, strict=True)
        ]
        for y, x in OFFSETS:
            digit0, norm0 = _digits(luma0, y, x)
            digit1, norm1 = _digits(luma1, y, x)
            s = digit0.sub_(digit1)
            square = s * s
            inverse = (square + HALF).reciprocal_()
            total += square.mul_(inverse).sum()
            slope = inverse.square_().mul_(s)
            slopes = slope, None if gradients[1] is None else -slope
            for gradient, part, norm in zip(gradients, slopes, (norm0, norm1), strict=True):
                if gradient is not None:
                    first, second = pair(gradient, y, x)
                    part.mul_(norm).mul_(norm).mul_(norm)
                    second.add_(part)
                    first.sub_(part)
        factor = 2 * HALF * SOFT
        gradients = [None if g is None else g.mul_(factor) for g in gradients]
        ctx.save_for_backward(luma0, luma1, *gradients)
        return total

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        *lumas, gradient0, gradient1 = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return tuple([None if g is None else grad * g for g in (gradient0, gradient1)])
        # One tensor may be both, each with a gradient of its own.
        lumas = [x.view_as(x) for x in lumas]
        wanted = [x for x, need in zip(lumas, ctx.needs_input_grad, strict=True) if need]
        found = iter(torch.autograd.grad(_total(*lumas), wanted, grad, create_graph=True))
        return tuple([next(found) if need else None for need in ctx.needs_input_grad])


def _total(luma0: torch.Tensor, luma1: torch.Tensor) -> torch.Tensor:
    """The same in ops that can be differentiated any number of times."""
    total = luma0.new_zeros(())
    for y, x in OFFSETS:
        digits = []
        for first, second in (pair(luma0, y, x), pair(luma1, y, x)):
            d = second - first
            digits.append(d * (d * d + SOFT).rsqrt())
        square = (digits[0] - digits[1]).square()
        total = total + (square / (square + HALF)).sum()
    return total


def _digits(luma: torch.Tensor, y: int, x: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft ternary digits d / sqrt(d^2 + SOFT) of all pairs at an offset, and 1 / sqrt(...)."""
    first, second = pair(luma, y, x)
    d = second - first
    norm = (d * d).add_(SOFT).rsqrt_()
    return d.mul_(norm), norm


def luma(image: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, H, W), float32 (float64 for float64)."""
    red, green, blue = image.to(accumulate_dtype(image)).unbind(1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def pair(image: torch.Tensor, y: int, x: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Views of the first and the second pixel of every pair at an offset, (B, h, w) each."""
    H, W = image.shape[-2:]
    first = image[:, : H - y, max(0, -x) : W - max(0, x)]
    return first, image[:, y:, max(0, x) : W - max(0, -x)]


def count(image: torch.Tensor) -> int:
    """How many pairs of pixels the images of (B, C, H, W) have."""
    B, _, H, W = image.shape
    return B * sum((H - y) * (W - abs(x)) for y, x in OFFSETS)
