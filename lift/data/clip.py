"""A clip: the input frames of one interpolation with their real times."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace

import torch


def each_tensor(change: Callable[[torch.Tensor], torch.Tensor], value):
    """A dataclass with every tensor in it changed; dataclasses in it too."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if not is_dataclass(value):
        return value
    changed = {f.name: each_tensor(change, getattr(value, f.name)) for f in fields(value)}
    return replace(value, **changed)


@dataclass(frozen=True)
class Clip:
    """Input frames on the time axis whose unit is the gap between the two reference frames.

    Attributes:
        frames: (B, T, 3, H, W), RGB in [0, 1]; anything at masked places.
        times: (B, T), float; `left` at 0, `left + 1` at 1, the others wherever they lie. The
            target's t is in (0, 1).
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
            raise ValueError(
                f"Clip: left must be in 0..{f.shape[1] - 2} (two references among {f.shape[1]} frames), got {self.left}"
            )

    @property
    def at(self) -> torch.Tensor:
        """(B, T), where the frames lie among all B * T."""
        return torch.arange(self.mask.numel(), device=self.mask.device).view(self.mask.shape)

    @property
    def references(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The frames at time 0 and 1, each (B, 3, H, W)."""
        return self.frames[:, self.left], self.frames[:, self.left + 1]

    def to(self, *args, **kwargs) -> "Clip":
        """Move like `torch.Tensor.to`; a dtype changes the frames only (times stay float32)."""
        frames = self.frames.to(*args, **kwargs)
        return replace(
            self,
            frames=frames,
            times=self.times.to(frames.device),
            mask=self.mask.to(frames.device),
        )

    def reversed(self) -> "Clip":
        """The same clip played backwards: time s becomes 1 - s, and so must the target's t."""
        return Clip(
            self.frames.flip(1),
            1 - self.times.flip(1),
            self.mask.flip(1),
            self.frames.shape[1] - 2 - self.left,
        )


@dataclass(frozen=True)
class SharedClips:
    """Several clips out of the same frames, which are encoded once: C clips in all, those of one
    row of frames side by side.

    Attributes:
        frames: (B, N, 3, H, W), RGB in [0, 1].
        at: (C, T), int64, which of the B * N frames each clip has at each place; any of them at
            masked places.
        times, mask: (C, T), as in `Clip`, every clip on a time axis of its own.
        left: the place of the left reference in every clip; the right one follows it.
    """

    frames: torch.Tensor
    at: torch.Tensor
    times: torch.Tensor
    mask: torch.Tensor
    left: int = 0

    def __post_init__(self):
        if self.frames.ndim != 5 or self.frames.shape[2] != 3:
            raise ValueError(
                f"SharedClips: frames must be (B, N, 3, H, W), got {tuple(self.frames.shape)}"
            )
        shapes = {tuple(x.shape) for x in (self.at, self.times, self.mask)}
        if len(shapes) > 1 or self.at.ndim != 2 or len(self.at) % len(self.frames):
            raise ValueError(
                f"SharedClips: at, times and mask must have one shape (C, T), C a multiple of B, got {sorted(shapes)}"
            )

    @property
    def references(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The frames at time 0 and 1 of every clip, each (C, 3, H, W)."""
        frames = self.frames.flatten(0, 1)
        return frames[self.at[:, self.left]], frames[self.at[:, self.left + 1]]

    def separate(self) -> Clip:
        """The same clips, each with frames of its own: (C, T, 3, H, W)."""
        return Clip(self.frames.flatten(0, 1)[self.at], self.times, self.mask, self.left)

    def to(self, *args, **kwargs) -> "SharedClips":
        """As `Clip.to`."""
        frames = self.frames.to(*args, **kwargs)
        return replace(
            self,
            frames=frames,
            **{name: getattr(self, name).to(frames.device) for name in ("at", "times", "mask")},
        )


def pair(frame0: torch.Tensor, frame1: torch.Tensor) -> Clip:
    """The smallest clip: two references, each (B, 3, H, W), and no context."""
    frames = torch.stack((frame0, frame1), 1)
    times = torch.arange(2, dtype=torch.float32, device=frames.device).expand(len(frames), 2)
    return Clip(frames, times, torch.ones_like(times, dtype=torch.bool), 0)
