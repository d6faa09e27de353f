"""The frames between two frames of a stream, generated whole or tile by tile."""

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from lift.model.adjacent import AdjacentMotion, gaps_per_side
from lift.model.types import ReferencePair
from lift.video.cache import (
    HALF,
    BufferedFrame,
    FrameTile,
    KVRingBuffer,
    MotionCache,
    RingBuffers,
    has_alpha,
)
from lift.video.engine import Engine
from lift.video.memory_budget import bytes_per_pixel, out_of_memory_error, tile_area
from lift.video.tiles import Mosaic, TileGrid, grid_of_area, grid_of_side, whole_frame
from lift.video.transfers import Uploader, float_tensor


@dataclass(frozen=True)
class _Target:
    """What is known of the frames between two references, but for their times.

    Attributes:
        first, second: the references.
        ring: keys and values of the context.
        times, mask: (1, slots), of the slots of the ring.
        directions: for each direction of time whether it is reversed, the pair, and the adjacent
            motion.
    """

    first: BufferedFrame | FrameTile
    second: BufferedFrame | FrameTile
    ring: KVRingBuffer
    times: torch.Tensor
    mask: torch.Tensor
    directions: list[tuple[bool, ReferencePair, AdjacentMotion | None]]


class FrameGenerator:
    """Generates frames between two frames of a window, from all frames of their shot.

    Args:
        engine: the stages of the model.
        context_frames: largest number of frames in a window.
        batch: frames of one pair that are generated in one call.
        reverse_average: average each frame with the one of the time-reversed input.
        tile: as of `Interpolator`.
    """

    def __init__(
        self,
        engine: Engine,
        context_frames: int,
        batch: int,
        reverse_average: bool,
        tile: str | int,
    ):
        self.engine, self.upload = engine, Uploader(engine.device)
        self.motion_cache = MotionCache(engine)
        self.context_frames, self.batch = context_frames, batch
        self.reverse_average, self.tile = reverse_average, tile
        self.gaps_per_side = gaps_per_side(context_frames, engine.path_frames)
        self._grids: dict[tuple[int, int], TileGrid] = {}  # by height and width of the frames
        self._latest: tuple[int, int] | None = None  # the size that was used last

    def __call__(
        self,
        window: Iterable[BufferedFrame],
        rings: RingBuffers,
        left: int,
        ts: list[Fraction | float],
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        """The frames between window[left] and its successor at times `ts`.

        Each is (3, H, W), with its alpha (1, H, W) where both references have one.
        """
        if not ts:
            return
        window = list(window)
        chunks = [ts[start : start + self.batch] for start in range(0, len(ts), self.batch)]
        grid = self.grid(*window[left].size)
        size = grid.height, grid.width
        with out_of_memory_error(size, grid.tile_size, self.engine.device):
            if len(grid) == 1 and self.engine.scale == 1:
                target = self._prepare(window, rings.of(0), left)
                self._release(window, left)
                for chunk in chunks:
                    yield from _frames(self._synthesize(target, chunk))
                return
            for chunk in chunks:
                mosaic = Mosaic(grid)
                for index in range(len(grid)):
                    tiles = [frame.tile(grid, index) for frame in window]
                    target = self._prepare(tiles, rings.of(index), left)
                    if self.engine.recorded and len(grid) > 1:
                        target = replace(target, ring=rings.at_fixed_address(target.ring))
                    is_last = chunk is chunks[-1]
                    if is_last:
                        self._release(tiles, left)
                    mosaic.add(index, self._synthesize(target, chunk))
                    if is_last:  # a tile at a time, so that those of two frames never wait at once
                        tiles[left].release_all_but_motion()
                    del tiles, target
                yield from _frames(mosaic.frames())

    def _prepare(
        self, window: list[BufferedFrame] | list[FrameTile], ring: KVRingBuffer, left: int
    ) -> _Target:
        """Everything about the frames between window[left] and its successor but their times."""
        first, second = window[left], window[left + 1]
        context = [frame for frame in window if frame.shot == first.shot]
        for frame in context:
            self._encode(frame, ring)
        times, mask = self._slot_times(context, first, second, ring.slots)
        directions = []
        for reverse in (False, True) if self.reverse_average else (False,):
            pair = self.motion_cache.pair(first, second, reverse)
            adjacent = self.motion_cache.adjacent_motion(window, left, reverse)
            directions.append((reverse, pair, adjacent))
        return _Target(first, second, ring, times, mask, directions)

    def _release(self, window: list[BufferedFrame] | list[FrameTile], left: int) -> None:
        """Free what the pair after window[left] does not need, nor any later one."""
        for frame in window[: max(left + 1 - self.gaps_per_side, 0)]:
            frame.release()
        for frame in window[:left]:
            frame.release_all_but_motion()

    def _synthesize(self, target: _Target, chunk: list[Fraction | float]) -> torch.Tensor:
        """Frames at the times `chunk`, (B, 3, H, W) in [0, 1]; with alpha (B, 4, H, W)."""
        first, second = target.first, target.second
        images = alphas = None
        if isinstance(first, FrameTile):
            images = [frame.image(self.upload) for frame in (first, second)]
        if has_alpha(first) and has_alpha(second):
            alphas = [frame.alpha(self.upload) for frame in (first, second)]
        chunk_t = float_tensor([float(t) for t in chunk], self.engine.device)
        generated = []
        for reverse, pair, adjacent in target.directions:
            t = 1 - chunk_t if reverse else chunk_t
            if chunk == [HALF]:
                motion = self.motion_cache.motion_at_half(first, second, reverse)
            else:
                motion = self.engine.estimate_motion(pair, t)
            if images is not None:
                pair = self.engine.with_images(pair, *(images[::-1] if reverse else images))
            arguments = dict(
                pair=pair,
                motion=motion,
                adjacent=adjacent,
                keys=target.ring.keys,
                values=target.ring.values,
                times=1 - target.times if reverse else target.times,
                mask=target.mask,
                t=t,
            )
            if alphas is None:
                generated.append(self.engine.synthesize(**arguments))
                continue
            frames, state = self.engine.synthesize(**arguments, with_state=True)
            alpha = self.engine.warp_alpha(*(alphas[::-1] if reverse else alphas), state)
            generated.append(torch.cat((frames, alpha), 1))
        frames = generated[0] if len(generated) == 1 else (generated[0] + generated[1]) / 2
        return frames.clamp_(0, 1)

    def _slot_times(
        self,
        context: list[BufferedFrame],
        first: BufferedFrame,
        second: BufferedFrame,
        slots: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Time and mask of every slot of the ring buffer, (1, slots); the references at 0 and 1."""
        interval = second.time - first.time
        times, used = [0.0] * slots, [0.0] * slots
        for frame in context:
            times[frame.slot] = float((frame.time - first.time) / interval)
            used[frame.slot] = 1.0
        times, used = float_tensor(times + used, self.engine.device).view(2, 1, -1)
        return times, used > 0

    def _encode(self, frame: BufferedFrame | FrameTile, ring: KVRingBuffer) -> None:
        if not frame.encoded:
            features = self.engine.encode(frame.image(self.upload))
            ring.put(frame.slot, features)
            is_tile = isinstance(frame, FrameTile)
            kept = features.low_resolution_only() if is_tile else features.reference_only()
            frame.features, frame.encoded = kept, True

    # -- the size of tiles -------------------------------------------------------------------------

    def use_smaller_tiles(self) -> bool:
        """After an `OutOfMemory`: use smaller tiles, and free what was kept for larger ones.

        Streams in progress have to be started anew, for example at the first part that is missing.

        Returns:
            Whether that is possible: not with tile="off", and not below `tiles.SMALLEST`.
        """
        self.engine.forget_recordings()
        gc.collect()
        if self.engine.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._latest is None or self.tile == "off":
            return False
        grid, size = self._grids[self._latest], self._latest
        area = grid.tile_height * grid.tile_width
        smaller = grid_of_area(*size, area // 2, self.engine.multiple, self.engine.scale)
        if smaller.tile_height * smaller.tile_width >= area:
            return False
        self._grids[size] = smaller
        return True

    def grid(self, height: int, width: int) -> TileGrid:
        """The tiles of frames of a size, chosen once."""
        self._latest = size = height, width
        if size not in self._grids:
            self._grids[size] = self._choose_grid(height, width)
        return self._grids[size]

    def use_area(self, height: int, width: int, area: int | None) -> None:
        """Cut frames of a size into the tiles that `grid` gave elsewhere.

        Args:
            height, width: of the frames, pixels.
            area: pixels of one of those tiles; None for whole frames.
        """
        multiple, scale = self.engine.multiple, self.engine.scale
        if area is None:
            grid = whole_frame(height, width, multiple)
        else:
            grid = grid_of_area(height, width, area, multiple, scale)
        self._grids[height, width] = grid

    def _choose_grid(self, height: int, width: int) -> TileGrid:
        whole = whole_frame(height, width, self.engine.multiple)
        if self.tile == "off":
            return whole
        if self.tile != "auto":
            return grid_of_side(height, width, self.tile, self.engine.multiple, self.engine.scale)
        pixels = whole.tile_height * whole.tile_width
        engine, recorded = self.engine, self.engine.recorded
        sizes = self.context_frames, self.batch, self.engine.scale
        need = bytes_per_pixel(engine.model, self.engine.device, engine.dtype, *sizes)
        area = tile_area(need, pixels, self.engine.device, recorded=recorded)
        return grid_of_area(height, width, area, self.engine.multiple, self.engine.scale)


def _frames(frames: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """(B, 3, H, W), or with alpha (B, 4, H, W) -> each frame and its alpha."""
    for frame in frames:
        yield (frame, None) if len(frame) == 3 else (frame[:3], frame[3:])
