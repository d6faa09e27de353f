"""What one frame contributes, computed once and cached."""
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class FrameFeatures:
    """Features of N frames, each depending on its own frame alone.

    Attributes:
        s4, s8: (N, c4, H/4, W/4) and (N, c8, H/8, W/8), needed of references only; None in `context_only()`.
        s16: (N, c16, H/16, W/16), needed of references only; None in `context_only()`.
        keys, values: (N, layers, H/16, W/16, heads, d), what the temporal transformer reads.

    H and W are the frame's size padded to the model's multiple.
    """
    s4: torch.Tensor | None
    s8: torch.Tensor | None
    s16: torch.Tensor | None
    keys: torch.Tensor
    values: torch.Tensor

    def _map(self, change) -> "FrameFeatures":
        parts = (getattr(self, f.name) for f in fields(self))
        return FrameFeatures(*(None if part is None else change(part) for part in parts))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index) -> "FrameFeatures":
        """Some of the frames; an int keeps the leading axis."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return self._map(lambda part: part[index])

    def to(self, *args, **kwargs) -> "FrameFeatures":
        return self._map(lambda part: part.to(*args, **kwargs))

    def context_only(self) -> "FrameFeatures":
        """Without what only a reference needs: a frame that has left the middle of the window keeps its keys and values."""
        return FrameFeatures(None, None, None, self.keys, self.values)

    @staticmethod
    def cat(parts: list["FrameFeatures"]) -> "FrameFeatures":
        """The frames of all parts in order; a field that any part lacks is None."""
        columns = ([getattr(part, f.name) for part in parts] for f in fields(FrameFeatures))
        return FrameFeatures(*(None if any(x is None for x in column) else torch.cat(column) for column in columns))
