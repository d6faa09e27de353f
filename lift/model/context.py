"""Stage 2 by context mode: the temporal transformer, or what an ablation puts in its place.

Each mode has the interface of `TemporalTransformer`, so that a stream caches and a profiler counts
what the mode needs. What it does not need is a tensor without elements.
"""

import torch
import torch.nn as nn

from lift.config import ModelConfig
from lift.model.blocks import PointwiseConv
from lift.model.transformer import TemporalTransformer, add_norm, zero_projection


def context_stage(config: ModelConfig, backend: str = "auto") -> nn.Module:
    """The stage of a model's context mode."""
    if config.context_mode == "none":
        return NoContext()
    stages = {"attention": TemporalTransformer, "average": AverageContext}
    return stages[config.context_mode](config, backend)


def context_proj(config: ModelConfig, channels: int, backend: str = "auto") -> nn.Module | None:
    """What a stage reads the context with, attn_channels -> channels; None without a context."""
    if config.context_mode == "none":
        return None
    return PointwiseConv(config.attn_channels, channels, backend)


class AverageContext(nn.Module):
    """The mean of the tokens of all frames, added to the target's query.

    Neither their order nor their times have an effect. The output projection starts at zero, as
    that of the transformer.
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        c, self.backend = config.attn_channels, backend
        self.token_proj = nn.Linear(config.c16, c)
        self.token_norm = nn.LayerNorm(c)
        self.query_proj = nn.Linear(config.c16, c)
        self.norm = nn.LayerNorm(c)
        self.out_proj = zero_projection(c, config.attn_channels, backend)

    def key_values(self, s16: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of N frames (N, c16, h, w): no keys, and the tokens (N, 1, h, w, 1, C) as values."""
        tokens = self.token_proj(s16.movedim(1, -1))
        tokens, _ = add_norm(self.token_norm, tokens, None, self.backend)
        values = tokens[:, None, ..., None, :]
        return values[..., :0], values

    def forward(
        self,
        left: torch.Tensor,
        right: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        times: torch.Tensor,
        mask: torch.Tensor,
        t: torch.Tensor,
        with_attention: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `TemporalTransformer.forward`; every frame has the same weight."""
        weights = mask / mask.sum(1, keepdim=True)  # (B, T)
        tokens = values[:, :, 0, ..., 0, :]  # (B, T, h, w, C)
        mean = (weights.to(tokens.dtype)[..., None, None, None] * tokens).sum(1)
        left, right = left.movedim(1, -1), right.movedim(1, -1)
        query = self.query_proj(torch.lerp(left, right, t.view(-1, 1, 1, 1).to(left.dtype)))
        normed, _ = add_norm(self.norm, query, mean.to(query.dtype), self.backend)
        context = self.out_proj(normed.movedim(-1, 1))
        return context, weights if with_attention else None


class NoContext(nn.Module):
    """No context at all: nothing is cached of a frame, and no stage reads any."""

    def key_values(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of N frames with any features (N, ...): keys and values without elements."""
        nothing = features.new_zeros(len(features), 1, 1, 1, 1, 0)
        return nothing, nothing

    def forward(
        self, left, right, keys, values, times, mask, t, with_attention: bool = True
    ) -> tuple[None, torch.Tensor | None]:
        """As `TemporalTransformer.forward`: no context, and no frame has any weight."""
        return None, torch.zeros_like(times) if with_attention else None
