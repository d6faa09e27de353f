"""Clips, the input of the model, and training batches."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace

import torch


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value):
    """Apply a function to every tensor in nested dataclasses and tuples."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple([map_tensors(function, x) for x in value])
    # Before is_dataclass, which torch.compile of torch 2.11 cannot trace on these.
    if value is None or isinstance(value, (int, float)):
        return value
    if is_dataclass(value):
        new = {f.name: map_tensors(function, getattr(value, f.name)) for f in fields(value)}
        return type(value)(**new)
    return value


def frames_around(context_frames: int) -> tuple[int, int]:
    """How many of a clip's frames are on either side of the target, (left, right).

    Each count includes the reference on its side: 15 frames are eight on the left and seven on the
    right.

    Raises:
        ValueError: fewer than 2 frames.
    """
    if context_frames < 2:
        raise ValueError(
            f"a clip needs at least 2 input frames, the two references; got {context_frames}"
        )
    return (context_frames + 1) // 2, context_frames // 2


@dataclass(frozen=True)
class Clip:
    """The input frames of C targets.

    Each target has T inputs on a time axis of its own, whose unit is the interval between its two
    reference frames. Either every target has frames of its own (C = B, T = N, no `frame_index`), or
    several share the frames of one window, which are encoded once; the targets of one window follow
    one another.

    Attributes:
        frames: (B, N, 3, H, W), RGB in [0, 1]; any content where no input is real.
        times: (C, T), float; `left` at 0, `left + 1` at 1, the others at any time. The target's t
            is in (0, 1).
        mask: (C, T), bool, true where the input is real. The two references always are.
        left: position of the left reference among the inputs; the right one follows it.
        frame_index: (C, T), int64, which of the B * N frames each input is, any where masked; None
            where every target has frames of its own.
    """

    frames: torch.Tensor
    times: torch.Tensor
    mask: torch.Tensor
    left: int = 0
    frame_index: torch.Tensor | None = None

    def __post_init__(self):
        f, index = self.frames, self.frame_index
        if f.ndim != 5 or f.shape[2] != 3:
            raise ValueError(f"Clip: frames must be (B, N, 3, H, W), got {tuple(f.shape)}")
        if index is None:
            shape, words = tuple(f.shape[:2]), "(B, N)"
        else:
            shape, words = tuple(index.shape), "the shape of frame_index, (C, T)"
            if len(shape) != 2 or shape[0] % len(f):
                raise ValueError(
                    f"Clip: frame_index must be (C, T) with C a multiple of B = {len(f)}, "
                    f"got {shape}"
                )
        for name in ("times", "mask"):
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"Clip: {name} must be {words} = {shape}, got {got}")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Clip: mask must be bool, got {self.mask.dtype}")
        if not 0 <= self.left < shape[1] - 1:
            raise ValueError(
                f"Clip: left must be in 0..{shape[1] - 2} (two references among {shape[1]} "
                f"frames), got {self.left}"
            )

    @classmethod
    def evenly_spaced(cls, frames: torch.Tensor) -> "Clip":
        """A clip of (B, T, 3, H, W) frames at even distances, the target in the middle interval."""
        left = frames_around(frames.shape[1])[0] - 1
        times = torch.arange(frames.shape[1], dtype=torch.float32, device=frames.device) - left
        times = times.expand(frames.shape[:2])
        return cls(frames, times, torch.ones_like(times, dtype=torch.bool), left)

    @property
    def indices(self) -> torch.Tensor:
        """(C, T), which of the B * N frames each input is."""
        if self.frame_index is not None:
            return self.frame_index
        return torch.arange(self.mask.numel(), device=self.mask.device).view(self.mask.shape)

    @property
    def references(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The frames at time 0 and 1 of every target, each (C, 3, H, W)."""
        if self.frame_index is None:
            return self.frames[:, self.left], self.frames[:, self.left + 1]
        frames = self.frames.flatten(0, 1)
        left, right = self.frame_index[:, self.left], self.frame_index[:, self.left + 1]
        return frames[left], frames[right]

    def separate(self) -> "Clip":
        """The same clip with frames of its own for every target, (C, T, 3, H, W)."""
        if self.frame_index is None:
            return self
        frames = self.frames.flatten(0, 1)[self.frame_index]
        return Clip(frames, self.times, self.mask, self.left)

    def to(self, *args, **kwargs) -> "Clip":
        """Move like `torch.Tensor.to`; a dtype changes the frames only (times stay float32)."""
        frames = self.frames.to(*args, **kwargs)
        index = self.frame_index
        return replace(
            self,
            frames=frames,
            times=self.times.to(frames.device),
            mask=self.mask.to(frames.device),
            frame_index=None if index is None else index.to(frames.device),
        )

    def reversed(self) -> "Clip":
        """The same clip played backwards: time s becomes 1 - s, and so must the target's t."""
        index = self.frame_index
        return Clip(
            frames=self.frames.flip(1) if index is None else self.frames,
            times=1 - self.times.flip(1),
            mask=self.mask.flip(1),
            left=self.mask.shape[1] - 2 - self.left,
            frame_index=None if index is None else index.flip(1),
        )


def pair(frame0: torch.Tensor, frame1: torch.Tensor) -> Clip:
    """A clip of two references, each (B, 3, H, W), without context."""
    return Clip.evenly_spaced(torch.stack((frame0, frame1), 1))


@dataclass(frozen=True)
class Batch:
    """A training batch.

    Attributes:
        clip: the input frames of C targets.
        t: (C,), the target's time in (0, 1).
        target: (C, 3, H, W), RGB in [0, 1].
        flow: (C, 4, H, W) in full-resolution pixels: dx, dy from target to left reference, then to
            right; 0 where unknown.
        visible: (C, 2, H, W), 1 where the target's point is visible in the left / right reference
            and `flow` is known, 0 elsewhere.
        flow_known: (C,), bool, true for clips whose true flow is known (synthetic ones).
        skipped: a sentence for each damaged sample that another one took the place of.
    """

    clip: Clip
    t: torch.Tensor
    target: torch.Tensor
    flow: torch.Tensor
    visible: torch.Tensor
    flow_known: torch.Tensor
    skipped: tuple[str, ...] = ()

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory, for copies to a GPU that do not block the host.

        `torch.utils.data.DataLoader` calls it by this name.
        """
        return map_tensors(lambda x: x.contiguous().pin_memory(), self)

    def to(self, device: torch.device | str) -> "Batch":
        """Move to a device; copies from page-locked memory to a GPU do not block the host."""
        gpu = torch.device(device).type == "cuda"
        return map_tensors(lambda x: x.to(device, non_blocking=gpu and x.is_pinned()), self)
