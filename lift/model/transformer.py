"""Stage 2, temporal transformer: cross-attention from the target's query to all frames.

Keys and values depend on one frame only, so a sliding window over a video computes each frame once.
Only the query depends on the target; real time differences enter as a bias on the scores.

A layer's output is added to the residual stream where the next layer normalizes the stream: the
layers hand on both, and `kernels.add_layer_norm` adds and normalizes at once.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.kernels import dispatch
from lift.kernels.ops.time_mlp.reference import time_features
from lift.model.blocks import PointwiseConv, PreciseLinear, without_autocast


class TimeBias(nn.Module):
    """Score bias per head, an MLP of the time difference between frame and query."""

    def __init__(self, heads: int, hidden: int = 32, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        self.mlp = nn.Sequential(PreciseLinear(6, hidden), nn.GELU(), PreciseLinear(hidden, heads))

    def forward(self, q_times: torch.Tensor, k_times: torch.Tensor) -> torch.Tensor:
        """(B, Tq), (B, Tk) -> (B, heads, Tq, Tk)."""
        return kernels.time_mlp(k_times, q_times, *self.mlp.parameters(), backend=self.backend)


def time_biases(
    modules: Sequence[TimeBias], q_times: torch.Tensor, k_times: torch.Tensor
) -> Sequence[torch.Tensor]:
    """The score biases of several layers; those of plain PyTorch run as one MLP.

    Args:
        modules: of the layers, of one size.
        q_times, k_times: (B, Tq), (B, Tk).

    Returns:
        (B, heads, Tq, Tk) of each layer, in full precision.
    """
    arguments = k_times, q_times, *modules[0].mlp.parameters(), torch.float32
    if dispatch.select("time_mlp", modules[0].backend, *arguments).fused:
        return [module(q_times, k_times) for module in modules]
    features = time_features(k_times[:, None] - q_times[..., None])
    first, last = ([module.mlp[i] for module in modules] for i in (0, 2))
    with without_autocast(features.device):
        weight = torch.cat([layer.weight for layer in first])
        bias = torch.cat([layer.bias for layer in first])
        hidden = F.gelu(F.linear(features.flatten(0, 2).to(weight.dtype), weight, bias))
        biases = torch.baddbmm(
            torch.stack([layer.bias for layer in last])[..., None],
            torch.stack([layer.weight for layer in last]),
            hidden.unflatten(1, (len(modules), -1)).permute(1, 2, 0),
        )  # (layers, heads, B Tq Tk)
    return biases.unflatten(2, features.shape[:3]).transpose(1, 2).contiguous().unbind()


def add_norm(
    norm: nn.LayerNorm, x: torch.Tensor, update: torch.Tensor | None, backend: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalized residual stream for the next linear layer, and the stream x + update."""
    return kernels.add_layer_norm(x, update, norm.weight, norm.bias, norm.eps, backend=backend)


def zero_projection(c_in: int, c_out: int, backend: str) -> PointwiseConv:
    """An output projection that starts at zero: an untrained context changes nothing."""
    layer = PointwiseConv(c_in, c_out, backend)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class FeedForward(nn.Module):
    """Pre-norm MLP of a residual stream, on tokens (..., C)."""

    def __init__(self, channels: int, backend: str, factor: int = 2):
        super().__init__()
        self.backend = backend
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, factor * channels),
            nn.GELU(),
            nn.Linear(factor * channels, channels),
        )

    def forward(self, x: torch.Tensor, update: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The stream x + update, and what the MLP adds to it."""
        normed, x = add_norm(self.norm, x, update, self.backend)
        return x, self.mlp(normed)


class AttentionLayer(nn.Module):
    """Pre-norm cross-attention inside a spatial window, then a feed-forward layer."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, backend: str):
        super().__init__()
        self.heads, self.window, self.shift, self.backend = heads, window, shift, backend
        self.norm = nn.LayerNorm(channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)
        self.time_bias = TimeBias(heads, backend=backend)
        self.window_bias = nn.Parameter(torch.zeros(heads, 2 * window - 1, 2 * window - 1))
        self.feed_forward = FeedForward(channels, backend)

    def forward(self, x, update, keys, values, time_bias, mask, with_frame_weights):
        """Attend from the residual stream to the frames.

        Args:
            x, update: (B, Tq, h, w, C), the stream and what the layer before adds to it, which may
                be None or of a shape that broadcasts.
            keys, values: (B, Tk, h, w, heads, d).
            time_bias: (B, heads, Tq, Tk).
            mask: (B, Tk).
            with_frame_weights: whether the attention weight per frame is wanted.

        Returns:
            The stream, what this layer adds to it, and the attention weight per frame (B, Tq, Tk)
            or None.
        """
        normed, x = add_norm(self.norm, x, update, self.backend)
        out, frame_weights = kernels.temporal_attention(
            self.q_proj(normed).unflatten(-1, (self.heads, -1)),
            keys,
            values,
            window=self.window,
            shift=self.shift,
            time_bias=time_bias,
            window_bias=self.window_bias,
            mask=mask,
            with_frame_weights=with_frame_weights,
            backend=self.backend,
        )
        return *self.feed_forward(x, self.out_proj(out.flatten(-2))), frame_weights


class TemporalTransformer(nn.Module):
    """Attention layers over all T frames; the output projection is zero-initialised."""

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        c, self.heads, self.layers = config.attn_channels, config.heads, config.layers
        self.backend = backend
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
        self.out_proj = zero_projection(c, config.attn_channels, backend)

    def key_values(self, s16: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of N frames, (N, c16, h, w) -> (N, layers, h, w, heads, d) each.

        They depend on their own frame alone. With self-attention among frames (an ablation) both
        hold the frames' tokens instead, since keys can no longer be cached.
        """
        tokens = self.token_proj(s16.movedim(1, -1))
        tokens, _ = add_norm(self.token_norm, tokens, None, self.backend)
        if self.frame_attention is not None:
            tokens = tokens.unflatten(-1, (self.heads, -1))[:, None]
            return tokens, tokens
        return self._split(self.kv_proj(tokens))

    def _split(self, kv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = kv.unflatten(-1, (self.layers, 2, self.heads, -1)).unbind(-3)
        return keys.movedim(-3, 1), values.movedim(-3, 1)  # of (N, h, w, layers, heads, d)

    def _mix_frames(self, tokens, times, mask):
        """Self-attention among frames, then their keys and values."""
        x = tokens.flatten(-2).squeeze(2)  # (B, T, h, w, C)
        k, v = self.frame_kv_proj(x).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        bias = self.frame_attention.time_bias(times, times)
        x, update, _ = self.frame_attention(x, None, k, v, bias, mask, False)
        tokens, _ = add_norm(self.token_norm, x, update, self.backend)
        return tuple(
            part.unflatten(0, times.shape)
            for part in self._split(self.kv_proj(tokens).flatten(0, 1))
        )

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
        """Context features of the target.

        Args:
            left, right: (B, c16, h, w), features of the references.
            keys, values: (B, T, layers, h, w, heads, d), in any order of frames and with any
                strides.
            times, mask: (B, T), of the frames.
            t: (B,), the target's time.
            with_attention: whether to return attention weights too.

        Returns:
            Context (B, C, h, w), and attention weight per frame (B, T), which sums to 1 and is 0
            where masked; None without `with_attention`.
        """
        if self.frame_attention is not None:
            keys, values = self._mix_frames(keys, times, mask)
        left, right = left.movedim(1, -1), right.movedim(1, -1)
        query = torch.lerp(left, right, t.view(-1, 1, 1, 1).to(left.dtype))
        x = self.query_proj(query)[:, None]  # (B, 1, h, w, C)
        t = t[:, None]
        biases = time_biases([layer.time_bias for layer in self.attention], t, times)
        embedding = (self.time_embed.weight, self.time_embed.bias)
        update = kernels.time_mlp(t, None, *embedding, dtype=x.dtype, backend=self.backend)
        update = update.view(len(t), 1, 1, 1, -1)
        frame_weights = []
        parts = (self.attention, keys.unbind(2), values.unbind(2), biases)
        for layer, k, v, bias in zip(*parts, strict=True):
            x, update, weights = layer(x, update, k, v, bias, mask, with_attention)
            frame_weights.append(weights)
        normed, _ = add_norm(self.norm, x, update, self.backend)
        weight = self.out_proj.weight.flatten(1)  # of 1 x 1: a linear layer reads tokens in place
        context = F.linear(normed.squeeze(1), weight, self.out_proj.bias).movedim(-1, 1)
        if not with_attention:
            return context, None
        return context, torch.stack(frame_weights).float().mean(0)[:, 0]


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
