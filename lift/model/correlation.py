"""Correlation of two feature maps over a square of displacements."""
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

SHORTEST = 1e-3                                         # shorter ones are scaled as if they had this length


def unit(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) with every location's channels scaled to length 1, float32."""
    x = x.float()
    return x * (x * x).sum(1, keepdim=True).clamp(min=SHORTEST ** 2).rsqrt()        # F.normalize is 20 times as slow on a CPU


def displacements(radius: int, device: torch.device | None = None) -> torch.Tensor:
    """((2r + 1)^2, 2) of dx, dy, in the order `correlate` uses: rows of dy, dx fastest."""
    r = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    dy, dx = torch.meshgrid(r, r, indexing="ij")
    return torch.stack((dx, dy), -1).flatten(0, 1)


class _Correlate(torch.autograd.Function):
    """Saves the two maps only, and adds gradients in place: autograd's own slices would pad and copy once per displacement."""

    @staticmethod
    def forward(ctx, a, b, radius):
        ctx.save_for_backward(a, b)
        ctx.radius = radius
        shifts = _shifts(F.pad(b, [radius] * 4), radius)
        if torch.compiler.is_compiling():               # which fuses these, and cannot write into slices
            return torch.stack([(a * moved).sum(1) for moved in shifts], 1)
        out, product = a.new_empty(len(a), len(shifts), *a.shape[2:]), torch.empty_like(a)
        for i, moved in enumerate(shifts):
            torch.sum(torch.mul(a, moved, out=product), 1, out=out[:, i])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        r = ctx.radius
        b = F.pad(b, [r] * 4)
        da, db = torch.zeros_like(a), torch.zeros_like(b)
        for g, moved, d in zip(grad.split(1, 1), _shifts(b, r), _shifts(db, r), strict=True):
            da.addcmul_(g, moved)
            d.addcmul_(g, a)
        return da, db[..., r:r + a.shape[-2], r:r + a.shape[-1]], None


def _shifts(padded: torch.Tensor, radius: int) -> list[torch.Tensor]:
    """Views of a map padded by `radius`, one per displacement, in the order of `displacements`."""
    h, w = (n - 2 * radius for n in padded.shape[-2:])
    side = range(2 * radius + 1)
    return [padded[..., y:y + h, x:x + w] for y in side for x in side]


def correlate(a: torch.Tensor, b: torch.Tensor, radius: int) -> torch.Tensor:
    """Inner products of a(x) with b(x + d) for every displacement d up to `radius`.

    Args:
        a, b: (B, C, H, W), usually of unit length, so that results lie in [-1, 1].
        radius: pixels of this scale.

    Returns:
        (B, (2 * radius + 1)^2, H, W); 0 where x + d lies outside. Differentiable once; saves a and b only.
    """
    return _Correlate.apply(a, b, radius)
