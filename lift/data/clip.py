"""A clip: the input frames of one interpolation with their real times."""
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Clip:
    """Input frames on the time axis whose unit is the gap between the two reference frames.

    Attributes:
        frames: (B, T, 3, H, W), RGB in [0, 1]; anything at masked places.
        times: (B, T), float; `left` at 0, `left + 1` at 1, the others wherever they lie. The target's t is in (0, 1).
        mask: (B, T), bool, true where the frame is real. The two references always are.
        left: index of the left reference; the right one follows it.
    """
    frames: torch.Tensor
    times: torch.Tensor
    mask: torch.Tensor
    left: int

    def __post_init__(self):
        f = self.frames
        if f.ndim != 5 or f.shape[2] != 3:
            raise ValueError(f"Clip: frames must be (B, T, 3, H, W), got {tuple(f.shape)}")
        for name in ("times", "mask"):
            shape = tuple(getattr(self, name).shape)
            if shape != tuple(f.shape[:2]):
                raise ValueError(f"Clip: {name} must be (B, T) = {tuple(f.shape[:2])}, got {shape}")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Clip: mask must be bool, got {self.mask.dtype}")
        if not 0 <= self.left < f.shape[1] - 1:
            raise ValueError(f"Clip: left must be in 0..{f.shape[1] - 2} (two references among {f.shape[1]} frames), got {self.left}")

    @property
    def references(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The frames at time 0 and 1, each (B, 3, H, W)."""
        return self.frames[:, self.left], self.frames[:, self.left + 1]

    def to(self, *args, **kwargs) -> "Clip":
        """Move like `torch.Tensor.to`; a dtype changes the frames only (times stay float32)."""
        frames = self.frames.to(*args, **kwargs)
        return replace(self, frames=frames, times=self.times.to(frames.device), mask=self.mask.to(frames.device))

    def reversed(self) -> "Clip":
        """The same clip played backwards: time s becomes 1 - s, and so must the target's t."""
        return Clip(self.frames.flip(1), 1 - self.times.flip(1), self.mask.flip(1), self.frames.shape[1] - 2 - self.left)


def pair(frame0: torch.Tensor, frame1: torch.Tensor) -> Clip:
    """The smallest clip: two references, each (B, 3, H, W), and no context."""
    frames = torch.stack((frame0, frame1), 1)
    times = torch.tensor([0.0, 1.0], device=frames.device).expand(len(frames), 2)
    return Clip(frames, times, torch.ones_like(times, dtype=torch.bool), 0)
