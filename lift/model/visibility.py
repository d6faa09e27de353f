"""Visibility logits: predicted together with the flows, or fixed by time for an ablation."""

import torch
import torch.nn as nn

from lift.config import ModelConfig
from lift.model.blocks import conv_act, zero_conv

FLOWS, STATE = 4, 6  # channels of a state that are flows, and all of them


def state_head(channels: int, config: ModelConfig) -> nn.Conv2d:
    """The convolution that predicts residuals of a state; of its flows alone without occlusion."""
    return zero_conv(channels, STATE if config.occlusion else FLOWS)


def corrected(
    head: nn.Conv2d, hidden: torch.Tensor, state: torch.Tensor, backend: str = "auto"
) -> torch.Tensor:
    """A state (B, 6, h, w) plus the residuals of it that a `state_head` predicts."""
    if head.out_channels == STATE:
        return conv_act(head, hidden, state, slope=1, backend=backend)
    flows = state[:, :FLOWS].contiguous()
    flows = conv_act(head, hidden, flows, slope=1, backend=backend)
    return torch.cat((flows, state[:, FLOWS:]), 1)


def with_time_logits(state: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A state with the visibilities of a blend by time: 1 - t for the left reference, t otherwise.

    Args:
        state: (B, 6, h, w).
        t: (B,), in (0, 1).
    """
    logit = torch.logit(t.to(state.dtype))
    logits = torch.stack((-logit, logit), 1)[..., None, None]
    return torch.cat((state[:, :FLOWS], logits.expand(-1, -1, *state.shape[2:])), 1)
