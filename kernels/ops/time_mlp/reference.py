"""A small MLP of the differences between times: the definition.

A difference is embedded in six features, `time_features`. Then follow one linear layer, or two with
a GELU (the exact one, of the error function) between them. In a transformer the result is a bias of
attention scores, one for each head, or an embedding of the target's time.
"""

import torch
import torch.nn.functional as F

from lift.kernels.ops.temporal_attention.reference import autocast_disabled

FEATURES = 6


def time_features(delta: torch.Tensor) -> torch.Tensor:
    """Embed time differences, in intervals between the references, (...,) -> (..., 6)."""
    size = delta.abs()
    features = (delta, size, torch.log1p(size), delta.sign(), torch.exp(-size))
    return torch.stack((*features, (1 + size * size).reciprocal()), -1)


def time_mlp_reference(
    k_times: torch.Tensor,
    q_times: torch.Tensor | None,
    weight1: torch.Tensor,
    bias1: torch.Tensor,
    weight2: torch.Tensor | None,
    bias2: torch.Tensor | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """A small MLP of the differences k_times - q_times.

    Args:
        k_times: (B, Tk).
        q_times: (B, Tq); None for zeros (B, 1).
        weight1, bias1: (N, 6) and (N,), of the first linear layer.
        weight2, bias2: (C, N) and (C,), of the second; None for no GELU and no second layer.
        dtype: of the result.

    Returns:
        (B, C, Tq, Tk), where C is N without a second layer.
    """
    delta = k_times[:, None] if q_times is None else k_times[:, None] - q_times[..., None]
    with autocast_disabled(k_times.device.type):  # in half, times would be rounded
        out = F.linear(time_features(delta).to(weight1.dtype), weight1, bias1)
        if weight2 is not None:
            out = F.linear(F.gelu(out), weight2, bias2)
    return out.movedim(-1, 1).to(dtype).contiguous()
