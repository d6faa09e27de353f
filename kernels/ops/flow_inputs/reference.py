"""The input of a flow block's first convolution: the definition.

Its channels, in order:

    warp(left, flow_t0), warp(right, flow_t1)   of the current flows
    local                                       correlation of the two
    zero_motion                                 similarity without motion
    flow_t0, flow_t1                            times scale / 32: usual motion has about unit size
    occ_t0, occ_t1                              visibility logits
    t                                           the same at every pixel
    missing                                     motion still missing, if given

Source: the decoder's input in Sun et al., "PWC-Net", CVPR 2018, for two flows from a frame between
the references.
"""

from collections.abc import Callable, Sequence

import torch

from lift.kernels.concat import cat_channels
from lift.kernels.ops.warp_blend.reference import warp_reference

FLOW_SCALE = 32  # full-resolution pixels of motion that become 1
STATE = 6  # channels of a state: two flows, two logits


def flow_inputs_reference(
    left: torch.Tensor,
    right: torch.Tensor,
    local: torch.Tensor,
    zero_motion: torch.Tensor,
    state: torch.Tensor,
    missing: torch.Tensor | None,
    t: torch.Tensor,
    scale: int,
    dtype: torch.dtype,
    warp: Callable = warp_reference,
    cat: Callable[[Sequence[torch.Tensor]], torch.Tensor] = cat_channels,
) -> torch.Tensor:
    """The channels of the module's docstring.

    Args:
        left, right: features (B, C, H, W).
        local: (B, D, H, W).
        zero_motion: (B, 1, H, W).
        state: (B, 6, H, W), flow_t0, flow_t1, occ_t0, occ_t1.
        missing: (B, 2, H, W) or None.
        t: (B,).
        scale: full-resolution pixels per pixel.
        dtype: of the output.
        warp: computes the warps.
        cat: concatenates channels.

    Returns:
        (B, 2 C + D + 8, H, W), with `missing` two channels more.
    """
    flow0, flow1, occ = state.split((2, 2, 2), 1)
    t = t.detach().view(-1, 1, 1, 1).expand(-1, 1, *state.shape[2:])
    maps = [
        warp(left, flow0),
        warp(right, flow1),
        local,
        zero_motion,
        state[:, :4] * (scale / FLOW_SCALE),
        occ,
        t,
    ]
    if missing is not None:
        maps.append(missing.detach())
    return cat([x.to(dtype) for x in maps])


def empty_output(left, local, missing, dtype: torch.dtype) -> torch.Tensor:
    """The uninitialised output, channels_last."""
    B, C, H, W = left.shape
    channels = 2 * C + local.shape[1] + STATE + 2 + (0 if missing is None else 2)
    return torch.empty(
        (B, channels, H, W),
        dtype=dtype,
        device=left.device,
        memory_format=torch.channels_last,
    )
