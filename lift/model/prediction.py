"""What the model answers."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class FlowEstimate:
    """Flows and visibilities of one scale of the cascade.

    Attributes:
        flow_t0, flow_t1: (B, 2, h, w), dx then dy, from the target to the left / right reference,
            pixels of this scale.
        occ_t0, occ_t1: (B, 1, h, w), logits of visibility in the left / right reference.
        scale: full-resolution pixels per pixel of this scale (16, 8, 4).
    """

    flow_t0: torch.Tensor
    flow_t1: torch.Tensor
    occ_t0: torch.Tensor
    occ_t1: torch.Tensor
    scale: int


@dataclass(frozen=True)
class Prediction:
    """The interpolated frame and what led to it; h, w are H / 4, W / 4 rounded up.

    Attributes:
        frame: (B, 3, H, W), RGB, nominally in [0, 1], not clamped.
        coarse: (B, 3, h, w), the quarter-resolution synthesis.
        flow_t0, flow_t1: (B, 2, h, w), from target to reference, quarter-resolution pixels.
        occ_t0, occ_t1: (B, 1, h, w), logits of visibility.
        attention: (B, T), the share of attention each context frame received; sums to 1, 0 where
            masked.
        cascade: the estimates of the coarser scales, coarsest first, on the padded size.
    """

    frame: torch.Tensor
    coarse: torch.Tensor
    flow_t0: torch.Tensor
    flow_t1: torch.Tensor
    occ_t0: torch.Tensor
    occ_t1: torch.Tensor
    attention: torch.Tensor
    cascade: tuple[FlowEstimate, ...] = ()
