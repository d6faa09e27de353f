"""What a stream caches: frames, keys and values, and the motion between consecutive frames."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from lift.io.decode import DecodedFrame, rgb_of
from lift.model.adjacent import AdjacentMotion, adjacent_frames, gaps_per_side, has_motion
from lift.model.types import FrameFeatures, Motion, ReferencePair
from lift.video.engine import Engine
from lift.video.tiles import TileGrid
from lift.video.transfers import Uploader, as_alpha, as_image, float_tensor

HALF = Fraction(1, 2)
ALIGNMENT = 64  # bytes, that of PyTorch's own memory


class KVRingBuffer:
    """Keys and values of the latest frames, each in a slot at a fixed address.

    The transformer reads them without a copy. Slots have no order, since every frame carries its
    time. Unused slots are finite, and masked.

    Attributes:
        slots: capacity in frames.
        keys, values: (1, slots, layers, H/16, W/16, heads, d); None before the first frame. Where
            the context mode is an ablation, keys have no elements.
    """

    def __init__(self, slots: int):
        self.slots = slots
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None

    def put(self, slot: int, features: FrameFeatures) -> None:
        """Store the keys and values of one frame; features of another size clear the buffer."""
        if not self._fits(features.values):
            self.keys = self.values = None  # before memory is taken anew
            self.keys, self.values = (
                _zeros((1, self.slots, *x.shape[1:]), x) for x in (features.keys, features.values)
            )
        self.keys[0, slot].copy_(features.keys[0])
        self.values[0, slot].copy_(features.values[0])

    def _fits(self, values: torch.Tensor) -> bool:
        if self.values is None or self.values.shape[2:] != values.shape[1:]:
            return False
        return self.values.dtype == values.dtype and self.values.device == values.device


def _zeros(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Zeros of a shape, dtype and device of another tensor.

    On a CPU their memory is in use only once something is written: a short video fills few slots.
    """
    if like.device.type != "cpu" or isinstance(like, FakeTensor):
        return like.new_zeros(shape)
    size = prod(shape) * like.element_size()
    memory = torch.from_numpy(np.zeros(size + ALIGNMENT, np.uint8))
    start = -memory.data_ptr() % ALIGNMENT
    return memory[start : start + size].view(like.dtype).view(shape)


class RingBuffers:
    """The ring buffers of a stream, one for each tile of its frames.

    Attributes:
        slots: capacity of each in frames.
    """

    def __init__(self, slots: int):
        self.slots = slots
        self._rings: list[KVRingBuffer] = []
        self._fixed = KVRingBuffer(slots)

    def of(self, tile: int) -> KVRingBuffer:
        """The ring buffer of a tile, by its index."""
        while len(self._rings) <= tile:
            self._rings.append(KVRingBuffer(self.slots))
        return self._rings[tile]

    def at_fixed_address(self, ring: KVRingBuffer) -> KVRingBuffer:
        """A copy of one of several ring buffers, always in the same place, for CUDA graphs."""
        fixed = self._fixed
        if fixed.values is None or fixed.values.shape != ring.values.shape:
            fixed.keys, fixed.values = torch.empty_like(ring.keys), torch.empty_like(ring.values)
        fixed.keys.copy_(ring.keys)
        fixed.values.copy_(ring.values)
        return fixed


@dataclass(frozen=True)
class GapMotion:
    """What a gap between two frames shows of the path between two others.

    Attributes:
        flow_01: (1, 2, H/4, W/4), the motion as seen half way.
        difference: (1,), the mean difference of the frames.
    """

    flow_01: torch.Tensor
    difference: torch.Tensor


@dataclass
class FramePair:
    """Two consecutive encoded frames, prepared as references.

    Attributes:
        pair: the prepared references; None after `BufferedFrame.release_all_but_motion`.
        motion_at_half: the motion at t = 0.5, once it has been needed; None as above.
        gap: the part of it that other pairs need, once they have.
    """

    pair: ReferencePair | None
    motion_at_half: Motion | None = None
    gap: GapMotion | None = None


@dataclass
class BufferedFrame:
    """A frame of the window.

    Attributes:
        frame: as it came; None after `release`.
        time: seconds, as the model sees it.
        shot: index of its shot.
        slot: its slot in the ring buffer.
        display_time: seconds, as the output's schedule sees it; `time` where None.
        moving, source_times: as of `StreamFrame`.
        encoded: whether its keys and values are in that slot.
        features: its features without keys and values.
        pairs: the pair with the next frame, by whether time is reversed.
        tiles: its tiles; empty where frames are whole.
    """

    frame: torch.Tensor | np.ndarray | DecodedFrame | None
    time: Fraction | float
    shot: int
    slot: int
    display_time: Fraction | float | None = None
    moving: Fraction | None = None
    source_times: Sequence[Fraction] | None = None
    encoded: bool = False
    features: FrameFeatures | None = None
    pairs: dict[bool, FramePair] = field(default_factory=dict)
    tiles: list["FrameTile"] = field(default_factory=list)

    def __post_init__(self):
        if self.display_time is None:
            self.display_time = self.time

    def release(self) -> None:
        """Free what only a reference needs; a frame that is not encoded may still be context."""
        for tile in self.tiles:
            tile.release()
        if self.encoded or (self.tiles and all(tile.encoded for tile in self.tiles)):
            self.frame = self.features = None
            self.pairs.clear()

    def release_all_but_motion(self) -> None:
        """Free what only a reference needs, but not the motion to the next frame.

        Where that has not been computed, everything stays.
        """
        for tile in self.tiles:
            tile.release_all_but_motion()
        if self.tiles:
            if all(tile.encoded and not tile.features for tile in self.tiles):
                self.frame = None
        elif self.encoded and self.pairs and all(pair.gap for pair in self.pairs.values()):
            self.frame = self.features = None
            for pair in self.pairs.values():
                pair.pair = pair.motion_at_half = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        pixels = rgb_of(self.frame)
        return tuple(pixels.shape[-2:] if isinstance(pixels, torch.Tensor) else pixels.shape[:2])

    def tile(self, grid: TileGrid, index: int) -> "FrameTile":
        """One of its tiles, with what is cached of it."""
        while len(self.tiles) < len(grid):
            self.tiles.append(FrameTile(self, grid, len(self.tiles)))
        return self.tiles[index]

    def image(self, upload: Uploader) -> torch.Tensor:
        """(1, 3, H, W) float32 in [0, 1] on the device."""
        return as_image(upload(rgb_of(self.frame)))

    def alpha(self, upload: Uploader) -> torch.Tensor | None:
        """(1, 1, H, W) float32 in [0, 1] on the device; None where the frame has none."""
        alpha = alpha_of(self.frame)
        return None if alpha is None else as_alpha(upload(alpha))


@dataclass
class FrameTile:
    """A tile of a frame of the window, which is cached as a frame is.

    Its features are at 1/4 and coarser: the images of the references are made when they are needed.

    Attributes:
        whole: the frame.
        grid: its tiles.
        index: which of them this is.
        encoded, features, pairs: as of `BufferedFrame`.
    """

    whole: BufferedFrame
    grid: TileGrid
    index: int
    encoded: bool = False
    features: FrameFeatures | None = None
    pairs: dict[bool, FramePair] = field(default_factory=dict)

    time = property(lambda self: self.whole.time)
    shot = property(lambda self: self.whole.shot)
    slot = property(lambda self: self.whole.slot)

    def release(self) -> None:
        """As of `BufferedFrame`."""
        if self.encoded:
            self.features = None
            self.pairs.clear()

    def release_all_but_motion(self) -> None:
        """As of `BufferedFrame`."""
        for pair in self.pairs.values():
            if pair.gap is None and pair.motion_at_half is not None:
                pair.gap = GapMotion(pair.motion_at_half.flow_01, pair.pair.difference)
        if self.encoded and self.pairs and all(pair.gap for pair in self.pairs.values()):
            self.features = None
            for pair in self.pairs.values():
                pair.pair = pair.motion_at_half = None

    def image(self, upload: Uploader) -> torch.Tensor:
        """(1, 3, tile_height, tile_width) float32 in [0, 1] on the device."""
        pixels = self.grid.crop(rgb_of(self.whole.frame), self.index)
        return self.grid.complete(as_image(upload(pixels)))

    def alpha(self, upload: Uploader) -> torch.Tensor | None:
        """(1, 1, tile_height, tile_width) float32 in [0, 1]; None where the frame has none."""
        alpha = alpha_of(self.whole.frame)
        if alpha is None:
            return None
        return self.grid.complete(as_alpha(upload(self.grid.crop(alpha, self.index))))


def alpha_of(frame: torch.Tensor | np.ndarray | DecodedFrame) -> np.ndarray | None:
    """(H, W) alpha of a frame, uint8 or uint16 over its full range, or float in [0, 1]; or None."""
    return getattr(frame, "alpha", None)


def has_alpha(frame: BufferedFrame | FrameTile) -> bool:
    """Whether a frame of the window has alpha."""
    return alpha_of(frame.whole.frame if isinstance(frame, FrameTile) else frame.frame) is not None


class MotionCache:
    """Motion between consecutive frames, computed once and stored with the earlier frame.

    It is used for the pair itself and, as adjacent motion, for the pairs before and after it: one
    on each side, two or three with paths through six or eight frames.
    """

    def __init__(self, engine: Engine):
        self.engine = engine

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

    def gap_motion(self, first: BufferedFrame, second: BufferedFrame, reverse: bool) -> GapMotion:
        """What the gap between two frames shows of the path between two others."""
        cached = self._frame_pair(first, second, reverse)
        if cached.gap is None:
            motion = self.motion_at_half(first, second, reverse)
            cached.gap = GapMotion(motion.flow_01, cached.pair.difference)
        return cached.gap

    def adjacent_motion(
        self, window: list[BufferedFrame], left: int, reverse: bool
    ) -> AdjacentMotion | None:
        """The motion before window[left] and after window[left + 1].

        None where the window has no other frame, or paths are straight.
        """
        if len(window) == 2 or self.engine.path_frames == 2:
            return None
        first, second = window[left : left + 2]
        interval = second.time - first.time
        frame_times = [float((each.time - first.time) / interval) for each in window]
        same_shot = [each.shot == first.shot for each in window]
        per_side = gaps_per_side(len(window), self.engine.path_frames)
        position, times, exists = (
            x[0].tolist()
            for x in adjacent_frames(
                torch.tensor([frame_times]), torch.tensor([same_shot]), per_side
            )
        )
        reference = self.gap_motion(first, second, reverse)
        inner = [left, left + 1, *position[:-2]]  # of each gap; window[position] is the outer frame
        none = None
        found = []
        for k, (time, there) in enumerate(zip(times, exists, strict=True)):
            if there:
                sides = window[min(inner[k], position[k])], window[max(inner[k], position[k])]
                found.append((self.gap_motion(*sides, reverse), time))
                continue
            if none is None:
                still = torch.zeros_like(reference.flow_01)
                none = GapMotion(still, torch.full_like(reference.difference, -1.0))
            found.append((none, time))
        if reverse:
            swapped = [found[k ^ 1] for k in range(len(found))]
            found = [(gap, 1 - time) for gap, time in swapped]
        gaps, times = zip(*found, strict=True)
        differences = torch.stack([gap.difference for gap in gaps], 1)
        return AdjacentMotion(
            motions=torch.stack([gap.flow_01 for gap in gaps], 1),
            times=float_tensor(times, self.engine.device)[None],
            valid=has_motion(differences, reference.difference[:, None]),
        )

    def _frame_pair(self, first: BufferedFrame, second: BufferedFrame, reverse: bool) -> FramePair:
        if reverse not in first.pairs:
            frames = (second, first) if reverse else (first, second)
            features = [each.features for each in frames]
            first.pairs[reverse] = FramePair(self.engine.prepare_pair(*features))
        return first.pairs[reverse]
