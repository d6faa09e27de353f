"""Arguments of `path_inputs` and `curve_flows`."""

import torch

from lift.kernels.ops.path_inputs.op import sample_motion


def inputs(
    dtype: torch.dtype,
    generator: torch.Generator,
    size: tuple[int, int, int, int] = (2, 5, 6, 9),
    G: int = 4,
) -> tuple:
    """Features (B, C, h, w) of a dtype beside the motion in G gaps of 6."""
    B, C, h, w = size
    hidden = torch.randn(size, generator=generator).to(dtype)
    motion = sample_motion(generator, B, G, h, w)
    return hidden, *motion, 6, [0.25, 0.125, 1.0], dtype


def curves(
    dtype: torch.dtype,
    generator: torch.Generator,
    size: tuple[int, int, int] = (2, 4, 9),
    G: int = 6,
    bias: bool = True,
) -> tuple:
    """Predictions of a dtype for 6 gaps, and differences that agree here and there."""
    B, h, w = size
    state, differences, times, valid = sample_motion(generator, B, G, h, w)
    predicted = torch.randn(B, 8, h, w, generator=generator).to(dtype)
    offsets = torch.randn(8, generator=generator) if bias else None
    t = torch.rand(B, generator=generator)
    numbers = 2.0, 2.0, [-0.8, -0.9]
    return predicted, offsets, state, differences + 1.0, times, valid, t, *numbers
