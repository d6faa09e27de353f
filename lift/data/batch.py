"""What a training step consumes."""

from dataclasses import dataclass

import torch

from lift.data.clip import Clip, SharedClips, each_tensor


@dataclass(frozen=True)
class Batch:
    """Inputs and truth of one step.

    Attributes:
        clip: the input frames of B targets.
        t: (B,), the target's time in (0, 1).
        target: (B, 3, H, W), RGB in [0, 1].
        flow: (B, 4, H, W) in full-resolution pixels: dx, dy from target to left reference, then to
            right; 0 where unknown.
        visible: (B, 2, H, W), 1 where the target's point is seen in the left / right reference and
            `flow` is known, 0 elsewhere.
        flow_known: (B,), bool, true for clips whose true flow is known (synthetic ones).
    """

    clip: Clip | SharedClips
    t: torch.Tensor
    target: torch.Tensor
    flow: torch.Tensor
    visible: torch.Tensor
    flow_known: torch.Tensor

    def pin_memory(self) -> "Batch":
        """In page-locked memory, which a GPU reads while the host goes on.

        `torch.utils.data.DataLoader` calls it by this name.
        """
        return each_tensor(lambda x: x.contiguous().pin_memory(), self)

    def to(self, device: torch.device | str) -> "Batch":
        """On a device. The host does not wait for copies from page-locked memory to a GPU."""
        gpu = torch.device(device).type == "cuda"
        return each_tensor(lambda x: x.to(device, non_blocking=gpu and x.is_pinned()), self)
