"""The smallest model that has every part, and clips for it."""

from dataclasses import replace

import torch

from lift.config import ModelConfig, tiny
from lift.data.clip import Clip
from lift.model.lift import LIFT

TINY = replace(
    tiny(),
    stem_channels=8,
    c4=8,
    c8=12,
    c16=16,
    attn_channels=32,
    heads=2,
    layers=2,
    corr_channels=8,
    radius16=2,
    radius8=1,
    radius4=1,
    hidden16=16,
    hidden8=16,
    hidden4=16,
    trajectory_channels=8,
    refine_channels=8,
    flow_blocks=1,
    # A Lucas-Kanade step on noise enlarges rounding, and passes of propagation do.
    align8=1,
    align4=1,
    align2=2,
    propagation=0,
)


def wake(module: torch.nn.Module) -> torch.nn.Module:
    """Fill the parameters that start at zero with small numbers, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return module


def awake_lift(config: ModelConfig = TINY, kernels: str = "auto") -> LIFT:
    """A LIFT in which every parameter has an effect, in evaluation mode."""
    return wake(LIFT(config, kernels)).eval()


def random_clip(frames: int = 5, left: int = 1, size=(32, 48), batch: int = 2) -> Clip:
    """Evenly spaced random frames."""
    times = (torch.arange(frames) - left).float().expand(batch, -1).clone()
    return Clip(
        torch.rand(batch, frames, 3, *size),
        times,
        torch.ones(batch, frames, dtype=torch.bool),
        left,
    )
