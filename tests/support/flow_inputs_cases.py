"""Arguments of `flow_inputs`."""

import torch


def make(
    dtype: torch.dtype,
    generator: torch.Generator,
    size: tuple[int, int, int, int] = (2, 3, 4, 6),
    displacements: int = 9,
    scale: int = 4,
    missing: bool = True,
) -> tuple:
    """Features (B, C, H, W) of a dtype, and flows of several pixels, some far outside."""
    B, _, H, W = size

    def maps(channels: int) -> torch.Tensor:
        return torch.randn(B, channels, H, W, generator=generator)

    left, right = (torch.randn(size, generator=generator).to(dtype) for _ in range(2))
    local, zero_motion = maps(displacements), maps(1)
    # not near whole pixels, where a gradient jumps
    flows = (4 * maps(4)).round() + 0.25 + 0.5 * torch.rand(B, 4, H, W, generator=generator)
    state = torch.cat((flows, 4 * maps(2)), 1)
    found = maps(2) if missing else None
    t = torch.rand(B, generator=generator)
    return left, right, local, zero_motion, state, found, t, scale, dtype
