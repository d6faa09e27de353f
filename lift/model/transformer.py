"""Stage 2, temporal transformer: cross-attention from the target's query to all frames.

Keys and values depend on one frame only, so a sliding window over a video computes each frame once.
Only the query depends on the target; real time differences enter as a bias on the scores.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.model.blocks import PreciseLinear, zero_conv


def time_features(delta: torch.Tensor) -> torch.Tensor:
    """Embed time differences in reference intervals, (...,) -> (..., 6)."""
    size = delta.abs()
    features = (delta, size, torch.log1p(size), delta.sign(), torch.exp(-size))
    return torch.stack((*features, 1 / (1 + size * size)), -1)


class TimeBias(nn.Module):
    """Score bias per head, an MLP of the time difference between frame and query."""

    def __init__(self, heads: int, hidden: int = 32):
        super().__init__()
        self.mlp = nn.Sequential(PreciseLinear(6, hidden), nn.GELU(), PreciseLinear(hidden, heads))

    def forward(self, q_times: torch.Tensor, k_times: torch.Tensor) -> torch.Tensor:
        """(B, Tq), (B, Tk) -> (B, heads, Tq, Tk)."""
        delta = k_times[:, None, :] - q_times[:, :, None]
        return self.mlp(time_features(delta)).permute(0, 3, 1, 2)


class FeedForward(nn.Module):
    """Pre-norm MLP with a residual connection, on tokens (..., C)."""

    def __init__(self, channels: int, factor: int = 2):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, factor * channels),
            nn.GELU(),
            nn.Linear(factor * channels, channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.norm(x))


class AttentionLayer(nn.Module):
    """Pre-norm cross-attention inside a spatial window, then a feed-forward layer."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, backend: str):
        super().__init__()
        self.heads, self.window, self.shift, self.backend = heads, window, shift, backend
        self.norm = nn.LayerNorm(channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)
        self.time_bias = TimeBias(heads)
        self.window_bias = nn.Parameter(torch.zeros(heads, 2 * window - 1, 2 * window - 1))
        self.feed_forward = FeedForward(channels)

    def forward(self, x, keys, values, q_times, k_times, mask):
        """Attend from x to the frames.

        Args:
            x: (B, Tq, h, w, C), the queries.
            keys, values: (B, Tk, h, w, heads, d).
            q_times, k_times: (B, Tq) and (B, Tk).
            mask: (B, Tk).

        Returns:
            The new x, and the attention weight per frame (B, Tq, Tk).
        """
        q = self.q_proj(self.norm(x)).unflatten(-1, (self.heads, -1))
        out, frame_weights = kernels.temporal_attention(
            q,
            keys,
            values,
            window=self.window,
            shift=self.shift,
            time_bias=self.time_bias(q_times, k_times),
            window_bias=self.window_bias,
            mask=mask,
            backend=self.backend,
        )
        x = x + self.out_proj(out.flatten(-2))
        return self.feed_forward(x), frame_weights


class TemporalTransformer(nn.Module):
    """Attention layers over all T frames; the output projection is zero-initialised."""

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        c, self.heads, self.layers = config.attn_channels, config.heads, config.layers
        self.token_proj = nn.Linear(config.c16, c)
        self.token_norm = nn.LayerNorm(c)
        self.kv_proj = nn.Linear(c, 2 * config.layers * c)
        self.query_proj = nn.Linear(config.c16, c)
        self.time_embed = PreciseLinear(6, c)
        shifts = [0 if i % 2 == 0 else config.window // 2 for i in range(config.layers)]
        self.attention = nn.ModuleList(
            AttentionLayer(c, config.heads, config.window, s, backend) for s in shifts
        )
        self.frame_attention = (
            AttentionLayer(c, config.heads, config.window, 0, backend)
            if config.self_attention
            else None
        )
        if self.frame_attention is not None:
            self.frame_kv_proj = nn.Linear(c, 2 * c)
        self.norm = nn.LayerNorm(c)
        self.out_proj = zero_conv(c, config.attn_channels, 1)

    def key_values(self, s16: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of N frames, (N, c16, h, w) -> (N, layers, h, w, heads, d) each.

        They depend on their own frame alone. With self-attention among frames (an ablation) both
        hold the frames' tokens instead, since keys can no longer be cached.
        """
        tokens = self.token_norm(self.token_proj(s16.movedim(1, -1)))
        if self.frame_attention is not None:
            tokens = tokens.unflatten(-1, (self.heads, -1))[:, None]
            return tokens, tokens
        return self._split(self.kv_proj(tokens))

    def _split(self, kv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kv = kv.unflatten(-1, (self.layers, 2, self.heads, -1))
        return kv.movedim(-4, 1).unbind(-3)  # of (N, layers, h, w, 2, heads, d)

    def _mix_frames(self, tokens, times, mask):
        """Self-attention among frames, then their keys and values."""
        x = tokens.flatten(-2).squeeze(2)  # (B, T, h, w, C)
        k, v = self.frame_kv_proj(x).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        x, _ = self.frame_attention(x, k, v, times, times, mask)
        kv = self._split(self.kv_proj(self.token_norm(x)).flatten(0, 1))
        return tuple(part.unflatten(0, times.shape) for part in kv)

    def forward(
        self,
        left: torch.Tensor,
        right: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        times: torch.Tensor,
        mask: torch.Tensor,
        t: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Context features of the target.

        Args:
            left, right: (B, c16, h, w), features of the references.
            keys, values: (B, T, layers, h, w, heads, d), in any order of frames and with any
                strides.
            times, mask: (B, T), of the frames.
            t: (B,), the target's time.

        Returns:
            Context (B, C, h, w), and attention weight per frame (B, T), which sums to 1 and is 0
            where masked.
        """
        if self.frame_attention is not None:
            keys, values = self._mix_frames(keys, times, mask)
        t_map = t.view(-1, 1, 1, 1)
        x = self.query_proj(((1 - t_map) * left + t_map * right).movedim(1, -1))
        time = self.time_embed(time_features(t)).to(x.dtype)
        x = (x + time[:, None, None])[:, None]
        frame_weights = []
        for i, layer in enumerate(self.attention):
            x, weights = layer(x, keys[:, :, i], values[:, :, i], t[:, None], times, mask)
            frame_weights.append(weights[:, 0])
        context = self.out_proj(self.norm(x[:, 0]).movedim(-1, 1))
        mean_weights = torch.stack(frame_weights).float().mean(0)
        return context, F.normalize(mean_weights, p=1, dim=1)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line

    config = preset_from_command_line()
    b, frames, h = 2, 15, 16
    left, right = torch.rand(2, b, config.c16, h, h)
    stage = TemporalTransformer(config)
    keys, values = (
        x.unflatten(0, (b, frames))
        for x in stage.key_values(torch.rand(b * frames, config.c16, h, h))
    )
    times = torch.arange(-7.0, 8).expand(b, frames)
    describe(
        stage,
        left,
        right,
        keys,
        values,
        times,
        torch.ones(b, frames, dtype=torch.bool),
        torch.full((b,), 0.5),
    )
