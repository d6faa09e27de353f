"""What a stream caches: frames, keys and values, and the motion between consecutive frames."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch

from lift.io.decode import DecodedFrame, rgb_of
from lift.model.adjacent import AdjacentMotion, adjacent_frames, has_motion
from lift.model.types import FrameFeatures, Motion, ReferencePair
from lift.video.engine import Engine
from lift.video.transfers import Uploader, as_image, float_tensor

HALF = Fraction(1, 2)


class KVRingBuffer:
    """Keys and values of the latest frames, each in a slot at a fixed address.

    The transformer reads them without a copy. Slots have no order, since every frame carries its
    time. Unused slots are finite, and masked.

    Attributes:
        slots: capacity in frames.
        keys, values: (1, slots, layers, H/16, W/16, heads, d); None before the first frame.
    """

    def __init__(self, slots: int):
        self.slots = slots
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None

    def put(self, slot: int, features: FrameFeatures) -> None:
        """Store the keys and values of one frame; features of another size clear the buffer."""
        keys = features.keys
        if not self._fits(keys):
            shape = (1, self.slots, *keys.shape[1:])
            self.keys, self.values = keys.new_zeros(shape), keys.new_zeros(shape)
        self.keys[0, slot].copy_(keys[0])
        self.values[0, slot].copy_(features.values[0])

    def _fits(self, keys: torch.Tensor) -> bool:
        if self.keys is None or self.keys.shape[2:] != keys.shape[1:]:
            return False
        return self.keys.dtype == keys.dtype and self.keys.device == keys.device


@dataclass
class FramePair:
    """Two consecutive encoded frames, prepared as references.

    Attributes:
        pair: the prepared references.
        motion_at_half: the motion at t = 0.5, once it has been needed.
    """

    pair: ReferencePair
    motion_at_half: Motion | None = None


@dataclass
class BufferedFrame:
    """A frame of the window.

    Attributes:
        frame: as it came; None after `release`.
        time: seconds.
        shot: index of its shot.
        slot: its slot in the ring buffer.
        encoded: whether its keys and values are in that slot.
        uploaded: the frame on the device, once it has been needed.
        features: its features without keys and values.
        pairs: the pair with the next frame, by whether time is reversed.
    """

    frame: torch.Tensor | np.ndarray | DecodedFrame | None
    time: Fraction | float
    shot: int
    slot: int
    encoded: bool = False
    uploaded: torch.Tensor | None = None
    features: FrameFeatures | None = None
    pairs: dict[bool, FramePair] = field(default_factory=dict)

    def release(self) -> None:
        """Free what only a reference needs; a frame that is not encoded may still be context."""
        if self.encoded:
            self.frame = self.uploaded = self.features = None
            self.pairs.clear()

    def image(self, upload: Uploader) -> torch.Tensor:
        """(1, 3, H, W) float32 in [0, 1] on the device; the frame is uploaded once."""
        if self.uploaded is None:
            self.uploaded = upload(rgb_of(self.frame))
        return as_image(self.uploaded)


class MotionCache:
    """Motion between consecutive frames, computed once and stored with the earlier frame.

    It is used for the pair itself and, as adjacent motion, for the pairs before and after it.
    """

    def __init__(self, engine: Engine, upload: Uploader):
        self.engine, self.upload = engine, upload

    def pair(self, first: BufferedFrame, second: BufferedFrame, reverse: bool) -> ReferencePair:
        """Two frames prepared as references; with `reverse` in reversed time."""
        return self._frame_pair(first, second, reverse).pair

    def motion_at_half(self, first: BufferedFrame, second: BufferedFrame, reverse: bool) -> Motion:
        """The motion at t = 0.5 between two frames."""
        cached = self._frame_pair(first, second, reverse)
        if cached.motion_at_half is None:
            half = torch.full((1,), float(HALF), device=self.engine.device)
            cached.motion_at_half = self.engine.estimate_motion(cached.pair, half)
        return cached.motion_at_half

    def adjacent_motion(
        self, window: list[BufferedFrame], left: int, reverse: bool
    ) -> AdjacentMotion | None:
        """The motion before window[left] and after window[left + 1].

        None where the window has no other frame.
        """
        if len(window) == 2:
            return None
        first, second = window[left : left + 2]
        interval = second.time - first.time
        frame_times = [float((each.time - first.time) / interval) for each in window]
        same_shot = [each.shot == first.shot for each in window]
        position, times, exists = (
            x[0].tolist()
            for x in adjacent_frames(torch.tensor([frame_times]), torch.tensor([same_shot]))
        )
        sides = (window[position[0]], first), (second, window[position[1]])
        reference_difference = self.pair(first, second, reverse).difference
        found = []
        for side, time, there in zip(sides, times, exists, strict=True):
            if there:
                difference = self.pair(*side, reverse).difference
                valid = has_motion(difference, reference_difference)
                flow = self.motion_at_half(*side, reverse).flow_01
            else:
                valid = torch.zeros_like(reference_difference, dtype=torch.bool)
                flow = torch.zeros_like(self.motion_at_half(first, second, reverse).flow_01)
            found.append((flow, time, valid))
        if reverse:
            found = [(flow, 1 - time, valid) for flow, time, valid in reversed(found)]
        flows, times, valid = zip(*found, strict=True)
        times = float_tensor(times, self.engine.device)[None]
        return AdjacentMotion(*flows, times, torch.stack(valid, 1))

    def _frame_pair(self, first: BufferedFrame, second: BufferedFrame, reverse: bool) -> FramePair:
        if reverse not in first.pairs:
            frames = (second, first) if reverse else (first, second)
            images = [each.image(self.upload) for each in frames]
            features = [each.features for each in frames]
            first.pairs[reverse] = FramePair(self.engine.prepare_pair(*images, *features))
        return first.pairs[reverse]
