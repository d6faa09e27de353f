"""Training samples: tensors of one window of frames, and batches of them."""

from dataclasses import dataclass

import numpy as np
import torch

from lift.data.clip import Batch, Clip
from lift.data.sampling import Window


@dataclass(frozen=True)
class Sample:
    """The clips of K targets on the CPU, without a batch axis; fields as in `Batch`.

    Attributes:
        frames: (N, 3, H, W); slots that the window does not fill are zero.
        times, mask: (K, T); the references are inputs 0 and 1.
        frame_index: (K, T), which of the N frames each input is; None for one target, whose inputs
            are the frames in order.
        t: (K,), target: (K, 3, H, W), flow: (K, 4, H, W), visible: (K, 2, H, W).
        flow_known: whether `flow` and `visible` are ground truth.
        skipped: a sentence for each damaged sample that this one takes the place of.
    """

    frames: torch.Tensor
    times: torch.Tensor
    mask: torch.Tensor
    frame_index: torch.Tensor | None
    t: torch.Tensor
    target: torch.Tensor
    flow: torch.Tensor
    visible: torch.Tensor
    flow_known: bool
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Which frames a sample reads, and the inputs and the target of each of its clips.

    Attributes:
        frames: numbers of the input frames in the order of `Sample.frames`.
        windows: one per target; their inputs are among `frames`.
        slots: N, the number of frames that the sample has room for.
        inputs: T, the number of inputs that a clip has room for.
        reverse: whether the clips are played backwards.
    """

    frames: list[int]
    windows: list[Window]
    slots: int
    inputs: int
    reverse: bool = False

    @classmethod
    def single(cls, window: Window, slots: int, reverse: bool = False) -> "Layout":
        """One target: references first, then the context in the order of time as played."""
        left = window.left
        order = [left, left + 1, *range(left), *range(left + 2, len(window.indices))]
        if reverse:
            order = [left + 1, left, *order[:1:-1]]
        return cls([window.indices[p] for p in order], [window], slots, slots, reverse)

    @property
    def targets(self) -> list[int]:
        """Numbers of the target frames."""
        return [window.target for window in self.windows]


def make_sample(
    pixels: np.ndarray, layout: Layout, truth: tuple[np.ndarray, np.ndarray] | None = None
) -> Sample:
    """Tensors of a sample.

    Args:
        pixels: (n + K, H, W, 3) uint8, the n frames of the layout, then its targets.
        layout: where they belong.
        truth: flow (K, 4, H, W) and visibility (K, 2, H, W), where they are known.
    """
    n, K, (H, W) = len(layout.frames), len(layout.windows), pixels.shape[1:3]
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float().div_(255)
    frames = images[:n]
    if n < layout.slots:
        frames = torch.cat((frames, images.new_zeros(layout.slots - n, 3, H, W)))
    times, mask = torch.zeros(K, layout.inputs), torch.zeros(K, layout.inputs, dtype=torch.bool)
    index = torch.zeros(K, layout.inputs, dtype=torch.long)
    slot = {number: place for place, number in enumerate(layout.frames)}
    for k, window in enumerate(layout.windows):
        order = _input_order(window, slot, layout.reverse)
        own = np.asarray([window.times[p] for p in order], np.float32)
        times[k, : len(order)] = torch.from_numpy(1 - own if layout.reverse else own)
        mask[k, : len(order)] = True
        index[k, : len(order)] = torch.tensor([slot[window.indices[p]] for p in order])
    t = [1 - window.t if layout.reverse else window.t for window in layout.windows]
    unknown = np.zeros((K, 4, H, W), np.float32), np.zeros((K, 2, H, W), np.float32)
    flow, visible = (torch.from_numpy(np.ascontiguousarray(x)) for x in truth or unknown)
    return Sample(
        frames=frames,
        times=times,
        mask=mask,
        frame_index=None if K == 1 else index,
        t=torch.tensor(t, dtype=torch.float32),
        target=images[n:],
        flow=flow,
        visible=visible,
        flow_known=truth is not None,
    )


def _input_order(window: Window, slot: dict[int, int], reverse: bool) -> list[int]:
    """Positions of a window's inputs: references first, then the context in the order of slots."""
    references = [window.left, window.left + 1]
    context = [p for p in range(len(window.indices)) if p not in references]
    context.sort(key=lambda p: slot[window.indices[p]])
    return [*(references[::-1] if reverse else references), *context]


def collate(samples: list[Sample]) -> Batch:
    """A batch of samples of one shape; B samples of K targets are B * K clips.

    Raises:
        ValueError: the samples differ in size or in the number of input frames.
    """
    shapes = {tuple(s.frames.shape) for s in samples}
    if len(shapes) > 1:
        raise ValueError(
            "collate: samples of a batch must have one shape (N, 3, H, W), "
            f"got {sorted(shapes)}; validate one clip at a time"
        )
    first = samples[0]
    frame_index = None
    if first.frame_index is not None:
        offsets = range(0, len(samples) * len(first.frames), len(first.frames))
        frame_index = torch.cat(
            [s.frame_index + offset for s, offset in zip(samples, offsets, strict=True)]
        )

    def cat(name: str) -> torch.Tensor:
        return torch.cat([getattr(s, name) for s in samples])

    clip = Clip(
        frames=torch.stack([s.frames for s in samples]),
        times=cat("times"),
        mask=cat("mask"),
        left=0,
        frame_index=frame_index,
    )
    known = torch.tensor([s.flow_known for s in samples]).repeat_interleave(len(first.t))
    skipped = tuple(sentence for s in samples for sentence in s.skipped)
    return Batch(clip, cat("t"), cat("target"), cat("flow"), cat("visible"), known, skipped)
