"""The streaming interpolator: from frames to a sequence of a higher rate, in constant memory.

Each frame is encoded once; its keys and values stay in a ring buffer of `context_frames` slots,
where every pair reads those of the frames around it. The motion between two consecutive frames is
estimated once too, for the pair itself and for the pairs beside it, one or two on each side.

With 15 context frames a pair sees up to eight frames at or before its left reference and seven at
or after its right one. The output is then seven frames behind the input, and two more with scene
cut detection. Missing frames and frames beyond a cut are not passed to the model. Across a cut
nothing is blended: outputs between the last frame of a shot and the first of the next repeat the
nearer of the two, the earlier one at the same distance.
"""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path

import numpy as np
import torch

from lift.config import InferenceConfig
from lift.data.clip import frames_around
from lift.errors import LiftError
from lift.io.decode import DecodedFrame, VideoSource, open_frames, rgb_of
from lift.io.encode import FolderWriter, VideoWriter, is_video_name
from lift.model.adjacent import gaps_per_side
from lift.video.cache import HALF, BufferedFrame, KVRingBuffer, MotionCache
from lift.video.engine import Engine, choose_dtype
from lift.video.scenes import CutDetector, number_shots
from lift.video.schedule import FixedRateSchedule, MultiplierSchedule, OutputTime
from lift.video.threads import WriteBehind, read_ahead
from lift.video.transfers import Download, Uploader, float_tensor

QUEUE_DEPTH = 4  # frames decoded ahead, and frames not yet encoded
FINEST_TICK = 2**31 - 1  # containers store the clock's denominator in 32 bits

InputFrame = torch.Tensor | np.ndarray | DecodedFrame
Schedule = MultiplierSchedule | FixedRateSchedule


@dataclass(frozen=True)
class OutputFrame:
    """A frame of the output.

    Attributes:
        frame: (3, H, W) float in [0, 1] of a generated frame; an original as it came.
        time: seconds.
        is_generated: whether the model generated it.
    """

    frame: InputFrame
    time: Fraction | float
    is_generated: bool


@dataclass(frozen=True)
class Summary:
    """What `Interpolator.video` wrote.

    Attributes:
        path: the output.
        frames: number of frames.
        generated: how many of them the model generated.
        cuts: number of scene cuts.
        width, height: pixels.
        rate: frames per second.
        notes: sentences on what was left out and why.
        dtype: precision of the model.
    """

    path: Path
    frames: int
    generated: int
    cuts: int
    width: int
    height: int
    rate: Fraction
    notes: list[str]
    dtype: torch.dtype


class Interpolator:
    """Generates frames between the frames of a sequence.

    Args:
        model: a LIFT model; it is moved to `device` and put into evaluation mode.
        context_frames: largest number of input frames of one generated frame, 2 to 15; two are the
            references alone.
        device: where the model runs; the model's own device when None.
        dtype: dtype of autocast; float32 for none; "auto" for the device's fastest, see
            `choose_dtype`. A copy of the model then stores its weights in it.
        batch: frames of one pair that are generated in one call; more is faster on a GPU and takes
            more memory.
        reverse_average: average each frame with the one of the time-reversed input: twice the
            work, and t and 1 - t agree.
        detect_scenes: detect scene cuts and blend nothing across them (needs PySceneDetect).
        channels_last: use channels-last convolutions, which are faster on CPUs, and on GPUs in half
            precision.
        compiled: use torch.compile, which takes minutes at the first frame of every size.
        cuda_graph: record the model as CUDA graphs, which removes the launch overhead on a GPU; it
            takes some memory and seconds at the first frames.
        context: former name of `context_frames`.

    Raises:
        ValueError: context_frames is less than 2, or batch less than 1.
        LiftError: cuda_graph without a GPU.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        context_frames: int = InferenceConfig.context_frames,
        device: torch.device | str | None = None,
        *,
        dtype: torch.dtype | str = torch.float32,
        batch: int = InferenceConfig.batch,
        reverse_average: bool = False,
        detect_scenes: bool = True,
        channels_last: bool = InferenceConfig.channels_last,
        compiled: bool = False,
        cuda_graph: bool = False,
        context: int | None = None,
    ):
        if context is not None:
            warnings.warn(
                "Interpolator(context=) is now context_frames=", DeprecationWarning, stacklevel=2
            )
            context_frames = context
        if context_frames < 2:
            raise ValueError(
                "Interpolator: context_frames must be at least 2 (the two references), "
                f"got {context_frames}"
            )
        if batch < 1:
            raise ValueError(f"Interpolator: batch must be at least 1, got {batch}")
        first = next(model.parameters())
        self.device = first.device if device is None else torch.device(device)
        dtype = choose_dtype(dtype, self.device)
        self.engine = Engine(model, self.device, dtype, channels_last, compiled, cuda_graph)
        self.upload = Uploader(self.device)
        self.motion_cache = MotionCache(self.engine)
        self.context_frames, self.batch = context_frames, batch
        self.reverse_average, self.detect_scenes = reverse_average, detect_scenes
        # at or before the left reference, at or after the right one
        self.frames_left, self.frames_right = frames_around(context_frames)
        self.gaps_per_side = gaps_per_side(context_frames, self.engine.path_frames)
        self.cuts = 0  # scene cuts in the latest stream
        self._pair_buffer = KVRingBuffer(2)
        self._spare: KVRingBuffer | None = None  # of a stream that ended, for the next one

    # -- two frames, a sequence, a file ------------------------------------------------------------

    def between(self, frame0: torch.Tensor, frame1: torch.Tensor, t: float) -> torch.Tensor:
        """One frame between two.

        Args:
            frame0, frame1: (3, H, W) float in [0, 1].
            t: time of the frame, in (0, 1).

        Returns:
            (3, H, W) float in [0, 1].
        """
        for name, frame in (("frame0", frame0), ("frame1", frame1)):
            _check_frame(name, frame, frame0.shape)
        if not 0 < t < 1:
            raise ValueError(f"between: t must lie between 0 and 1, got {t}")
        window = [
            BufferedFrame(frame0, time=0.0, shot=0, slot=0),
            BufferedFrame(frame1, time=1.0, shot=0, slot=1),
        ]
        return next(self._generate(window, self._pair_buffer, 0, [t]))

    def frames(
        self,
        frames: Iterable[torch.Tensor],
        multi: int = InferenceConfig.multi,
        timestamps: Iterable[Fraction | float] | None = None,
    ) -> Iterator[torch.Tensor]:
        """Originals and generated frames, in order: n frames become (n - 1) * multi + 1.

        Args:
            frames: (3, H, W) float tensors in [0, 1], all of one size.
            multi: interpolation factor; 2 doubles the frame rate.
            timestamps: a rising time for each frame, any unit; evenly spaced where None. Generated
                frames divide each interval evenly.
        """
        outputs = self.stream(_timed(frames, timestamps), MultiplierSchedule(multi))
        return (output.frame for output in outputs)

    def video(
        self,
        src: str | Path,
        dst: str | Path,
        multi: int = InferenceConfig.multi,
        *,
        fps: Fraction | None = None,
        source_fps: Fraction | None = None,
        crf: int = InferenceConfig.crf,
        overwrite: bool = False,
        progress: bool = False,
    ) -> Summary:
        """Interpolate a video or a folder of numbered frames.

        Args:
            src: a video or a folder.
            dst: a video (.mp4, .m4v, .mov, .mkv); without a suffix a folder of PNG frames.
            multi: interpolation factor; each original keeps its exact time.
            fps: output frame rate instead of `multi`: timestamps at multiples of 1 / fps, with
                originals where they coincide.
            source_fps: frame rate of a folder (24 where None).
            crf: x264's quality, 0 (lossless) to 51. At 0 the originals of a video are unchanged.
            overwrite: replace an output that exists.
            progress: show a progress bar with the remaining time.

        Raises:
            LiftError: src cannot be read or dst cannot be written; dst is then unchanged.
        """
        src, dst = Path(src), Path(dst)
        if src.resolve() == dst.resolve():
            raise LiftError(f"{dst}: input and output are the same; give the output another name")
        schedule = MultiplierSchedule(multi) if fps is None else FixedRateSchedule(Fraction(fps))
        source = open_frames(src, source_fps)
        rate = source.fps * multi if fps is None else Fraction(fps)
        if is_video_name(dst):
            is_video = isinstance(source, VideoSource)
            tick = source.time_base if is_video else 1 / source.fps
            writer = VideoWriter(
                dst,
                source.width,
                source.height,
                rate,
                _tick(tick, multi, fps),
                crf=crf,
                source=source if is_video else None,
                overwrite=overwrite,
            )
        else:
            writer = FolderWriter(dst, overwrite=overwrite)
        total = None if source.count is None else round((source.count - 1) * rate / source.fps) + 1
        generated = 0
        self.cuts = 0

        def write(download: Download, time: Fraction) -> None:
            writer.write(download.wait(), time)

        with writer, _bar(progress, total, src.name) as bar, ExitStack() as threads:
            timed = threads.enter_context(closing(read_ahead(source.decoded(), QUEUE_DEPTH)))
            write_behind = threads.enter_context(WriteBehind(write, QUEUE_DEPTH))
            for output in self.stream(timed, schedule):
                write_behind(Download(output.frame), output.time)
                generated += output.is_generated
                bar.update()
        return Summary(
            path=dst,
            frames=writer.written,
            generated=generated,
            cuts=self.cuts,
            width=source.width,
            height=source.height,
            rate=rate,
            notes=[*source.notes, *writer.notes],
            dtype=self.engine.dtype,
        )

    # -- the stream --------------------------------------------------------------------------------

    def stream(
        self, timed: Iterable[tuple[InputFrame, Fraction | float]], schedule: Schedule
    ) -> Iterator[OutputFrame]:
        """Interpolate frames as they arrive.

        Args:
            timed: (frame, time in seconds), times rising; frames are (3, H, W) float in [0, 1],
                (H, W, 3) uint8 RGB, or `DecodedFrame`.
            schedule: the output timestamps.
        """
        self.cuts = 0
        buffer, self._spare = self._spare or KVRingBuffer(self.context_frames), None
        try:
            for window, left in self._windows(timed):
                yield from self._outputs(window, left, buffer, schedule)
        finally:
            if self.engine.recorded:  # recordings read this very buffer
                self._spare = buffer

    def _outputs(
        self, window: deque[BufferedFrame], left: int, buffer: KVRingBuffer, schedule: Schedule
    ) -> Iterator[OutputFrame]:
        """The outputs from the left reference up to the next frame."""
        first = window[left]
        if left + 1 == len(window):
            for _, time in schedule.last(first.time):
                yield OutputFrame(first.frame, time, False)
            return
        second = window[left + 1]
        output_times = schedule.between(first.time, second.time)
        if first.shot == second.shot:
            yield from self._interpolated(window, left, buffer, output_times)
            return
        self.cuts += 1
        for t, time in output_times:
            yield OutputFrame(first.frame if t <= HALF else second.frame, time, False)

    def _interpolated(
        self,
        window: deque[BufferedFrame],
        left: int,
        buffer: KVRingBuffer,
        output_times: list[OutputTime],
    ) -> Iterator[OutputFrame]:
        original = window[left].frame
        generated = self._generate(window, buffer, left, [t for t, _ in output_times if t > 0])
        for t, time in output_times:
            if t == 0:
                yield OutputFrame(original, time, False)
            else:
                yield OutputFrame(next(generated), time, True)

    def _windows(self, timed) -> Iterator[tuple[deque[BufferedFrame], int]]:
        """For each frame as left reference the window around it, and its index in the window."""
        window: deque[BufferedFrame] = deque()
        left = count = 0
        detector = CutDetector() if self.detect_scenes else None
        numbered = number_shots(timed, lambda item: rgb_of(Download(item[0]).wait()), detector)
        for (frame, time), shot in numbered:
            if window and time <= window[-1].time:
                raise ValueError(
                    f"Interpolator: timestamps must rise, got {time} after {window[-1].time}"
                )
            slot = count % self.context_frames
            window.append(BufferedFrame(frame, time=time, shot=shot, slot=slot))
            count += 1
            if len(window) - 1 - left == self.frames_right:
                yield window, left
                left = self._advance(window, left)
        while left < len(window):
            yield window, left
            left = self._advance(window, left)

    def _advance(self, window: deque[BufferedFrame], left: int) -> int:
        """Make the next frame the left reference; the former one becomes context."""
        if left >= self.gaps_per_side:
            # the next pair needs the motion from the frame after this one on
            window[left - self.gaps_per_side].release()
        if left + 1 < self.frames_left:
            return left + 1
        window.popleft()
        return left

    # -- the model ---------------------------------------------------------------------------------

    def _generate(
        self,
        window: Iterable[BufferedFrame],
        buffer: KVRingBuffer,
        left: int,
        ts: list[Fraction | float],
    ) -> Iterator[torch.Tensor]:
        """The frames between window[left] and its successor at times `ts`, each (3, H, W)."""
        if not ts:
            return
        window = list(window)
        first, second = window[left], window[left + 1]
        context = [frame for frame in window if frame.shot == first.shot]
        for frame in context:
            self._encode(frame, buffer)
        times, mask = self._slot_times(context, first, second, buffer.slots)
        prepared = []
        for reverse in (False, True) if self.reverse_average else (False,):
            pair = self.motion_cache.pair(first, second, reverse)
            adjacent = self.motion_cache.adjacent_motion(window, left, reverse)
            prepared.append((reverse, pair, adjacent))
        for frame in window[: max(left + 1 - self.gaps_per_side, 0)]:
            frame.release()
        for frame in window[:left]:
            frame.release_all_but_motion()
        for start in range(0, len(ts), self.batch):
            chunk = ts[start : start + self.batch]
            chunk_t = float_tensor([float(t) for t in chunk], self.device)
            generated = []
            for reverse, pair, adjacent in prepared:
                t = 1 - chunk_t if reverse else chunk_t
                if chunk == [HALF]:
                    motion = self.motion_cache.motion_at_half(first, second, reverse)
                else:
                    motion = self.engine.estimate_motion(pair, t)
                frames = self.engine.synthesize(
                    pair=pair,
                    motion=motion,
                    adjacent=adjacent,
                    keys=buffer.keys,
                    values=buffer.values,
                    times=1 - times if reverse else times,
                    mask=mask,
                    t=t,
                )
                generated.append(frames)
            frames = generated[0] if len(generated) == 1 else (generated[0] + generated[1]) / 2
            yield from frames.clamp_(0, 1)

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
        times, used = float_tensor(times + used, self.device).view(2, 1, -1)
        return times, used > 0

    def _encode(self, frame: BufferedFrame, buffer: KVRingBuffer) -> None:
        if not frame.encoded:
            features = self.engine.encode(frame.image(self.upload))
            buffer.put(frame.slot, features)
            frame.features, frame.encoded = features.reference_only(), True


# -- checks of frames passed as tensors ------------------------------------------------------------


def _timed(
    frames: Iterable[torch.Tensor], timestamps: Iterable[Fraction | float] | None
) -> Iterator[tuple[torch.Tensor, Fraction | float]]:
    times = None if timestamps is None else iter(timestamps)
    shape = None
    for k, frame in enumerate(frames):
        shape = frame.shape if shape is None else shape
        _check_frame(f"frame {k}", frame, shape)
        time = Fraction(k) if times is None else next(times, None)
        if time is None:
            raise ValueError(f"frames: timestamps must hold one time for each frame, got {k}")
        yield frame, time


def _check_frame(name: str, frame: torch.Tensor, shape: torch.Size) -> None:
    if frame.ndim != 3 or frame.shape[0] != 3 or not frame.is_floating_point():
        raise ValueError(
            f"Interpolator: {name} must be a (3, H, W) float tensor in [0, 1], "
            f"got {tuple(frame.shape)} {frame.dtype}"
        )
    if frame.shape != shape:
        raise ValueError(
            f"Interpolator: {name} must have the size of the first, {tuple(shape)}, "
            f"got {tuple(frame.shape)}"
        )


# -- around the stream -----------------------------------------------------------------------------


def _tick(tick: Fraction, multi: int, fps: Fraction | None) -> Fraction:
    """A clock tick of which every output timestamp is a multiple.

    It divides the source's tick and, where a rate is given, that of the rate.
    """
    if fps is None:
        fine = tick / multi
    else:
        step = 1 / Fraction(fps)
        fine = Fraction(
            gcd(tick.numerator * step.denominator, step.numerator * tick.denominator),
            tick.denominator * step.denominator,
        )
    return fine if fine.denominator <= FINEST_TICK else Fraction(1, 1_000_000)


def _bar(show: bool, total: int | None, name: str):
    from tqdm import tqdm

    return tqdm(total=total, desc=name, unit="frame", disable=not show)
