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

import hashlib
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from lift.config import InferenceConfig
from lift.data.clip import frames_around
from lift.io.decoded_frame import DecodedFrame, rgb_of
from lift.model.adjacent import gaps_per_side
from lift.model.images import MULTIPLE
from lift.scenes.detector import CutDetector, FindsCuts, number_shots
from lift.video.cache import BufferedFrame, RingBuffers
from lift.video.engine import LARGEST_DENOMINATOR, Engine, choose_dtype
from lift.video.frame_generator import FrameGenerator
from lift.video.schedule import MultiplierSchedule, Schedule
from lift.video.stream_frame import StreamFrame
from lift.video.summary import Summary
from lift.video.transfers import Download

SMALLEST_SCALE = 1 / LARGEST_DENOMINATOR

InputFrame = torch.Tensor | np.ndarray | DecodedFrame


@dataclass(frozen=True)
class OutputFrame:
    """A frame of the output.

    Attributes:
        frame: (3, H, W) float in [0, 1] of a generated frame; an original as it came.
        time: seconds.
        is_generated: whether the model generated it.
        alpha: (1, H, W) float in [0, 1] of a generated frame between two with alpha, or None.
        index: of the original at or before it in the sequence.
        held: that original.
    """

    frame: InputFrame
    time: Fraction | float
    is_generated: bool
    alpha: torch.Tensor | None = None
    index: int = 0
    held: InputFrame | None = None


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
        detect_scenes: detect scene cuts and blend nothing across them.
        channels_last: use channels-last convolutions, which are faster on CPUs, and on GPUs in half
            precision.
        compiled: use torch.compile, which takes minutes at the first frame of every size.
        cuda_graph: record the model as CUDA graphs, which removes the launch overhead on a GPU; it
            takes some memory and seconds at the first frames.
        tile: largest side in pixels of the overlapping tiles that frames are cut into, at least 32;
            "auto" for what fits into the free memory, whole frames if they do; "off" for whole
            frames.
        scale: fraction of the frames' size at which motion is estimated, from 1/8 to 1, for large
            frames with large motion: their search range grows, and time and memory shrink. The
            frames themselves are warped and refined at their full size.
        cut_threshold: how large a change is a cut, see `CutDetector`; its default where None.
        context: former name of `context_frames`.

    Raises:
        ValueError: context_frames is less than 2, batch less than 1, or tile or scale outside of
            their range.
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
        tile: str | int = "auto",
        scale: float = 1.0,
        cut_threshold: float | None = None,
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
        if not (tile in ("auto", "off") or isinstance(tile, int) and tile >= 2 * MULTIPLE):
            raise ValueError(
                "Interpolator: tile must be 'auto', 'off' or a side of at least "
                f"{2 * MULTIPLE} pixels, got {tile!r}"
            )
        if not SMALLEST_SCALE <= scale <= 1:
            raise ValueError(f"Interpolator: scale must be from {SMALLEST_SCALE} to 1, got {scale}")
        first = next(model.parameters())
        self.device = first.device if device is None else torch.device(device)
        self.engine = Engine(
            model,
            self.device,
            choose_dtype(dtype, self.device),
            channels_last,
            compiled,
            cuda_graph,
            scale,
        )
        self.context_frames, self.detect_scenes = context_frames, detect_scenes
        # at or before the left reference, at or after the right one
        self.frames_left, self.frames_right = frames_around(context_frames)
        self.gaps_per_side = gaps_per_side(context_frames, self.engine.path_frames)
        self._cut_threshold = () if cut_threshold is None else (cut_threshold,)
        self.generator = FrameGenerator(self.engine, context_frames, batch, reverse_average, tile)
        # (index of the first frame of the new shot, its time) of the cuts in the latest stream
        self.cut_times: list[tuple[int, Fraction | float]] = []
        self._pair_rings = RingBuffers(2)
        self._spare: RingBuffers | None = None  # of a stream that ended, for the next one

    @property
    def cuts(self) -> int:
        """Number of scene cuts in the latest stream."""
        return len(self.cut_times)

    def new_detector(self) -> CutDetector:
        """Finds the scene cuts of one stream."""
        return CutDetector(*self._cut_threshold)

    @cached_property
    def _weights_hash(self) -> str:
        parameters = hashlib.sha256()
        for name, tensor in sorted(self.engine.model.state_dict().items()):
            parameters.update(name.encode())
            parameters.update(tensor.detach().float().cpu().numpy().tobytes())
        return parameters.hexdigest()

    def describe(self) -> dict:
        """What decides about the outputs, as JSON values."""
        return {
            "weights": self._weights_hash,
            "context_frames": self.context_frames,
            "dtype": str(self.engine.dtype),
            "device": self.device.type,
            "batch": self.generator.batch,
            "reverse_average": self.generator.reverse_average,
            "detect_scenes": self.detect_scenes,
            "cut_threshold": self._cut_threshold[0] if self._cut_threshold else None,
            "tile": self.generator.tile,
            "scale": self.engine.scale,
        }

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
        frame, _ = next(self.generator(window, self._pair_rings, 0, [t]))
        return frame

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
        multi: int | None = None,
        *,
        fps: Fraction | None = None,
        progress: bool = False,
        **options,
    ) -> Summary:
        """Interpolate a video, a folder of numbered frames, or two images.

        Args:
            src: a video, a folder, or a tuple of images.
            dst: a video (.mp4, .m4v, .mov, .mkv, .webm ...), an animated image (.gif, .webp,
                .apng); without a suffix a folder of images.
            multi: interpolation factor; each original keeps its exact time. 2 where neither it nor
                fps is given.
            fps: output frame rate instead of `multi`: timestamps at multiples of 1 / fps, with
                originals where they coincide.
            progress: show a progress bar with the remaining time.
            options: further fields of `FileOptions`, such as crf, codec, trim or overwrite.

        Raises:
            LiftError: src cannot be read or dst cannot be written; dst is then unchanged.
            TypeError: an unknown option.
        """
        from lift.video.file import interpolate_file  # which needs this class
        from lift.video.options import FileOptions
        from lift.video.progress import Progress

        source = tuple(map(Path, src)) if isinstance(src, (tuple, list)) else Path(src)
        rate = None if fps is None else Fraction(fps)
        asked = FileOptions(multi=multi, fps=rate, **options)
        name = Path(source[0] if isinstance(source, tuple) else source).name
        return interpolate_file(
            self, source, Path(dst), asked, Progress("bar" if progress else "none", name)
        )

    # -- the stream --------------------------------------------------------------------------------

    def stream(
        self,
        timed: Iterable[tuple[InputFrame, Fraction | float] | StreamFrame],
        schedule: Schedule,
        first_index: int = 0,
        start_index: int = 0,
    ) -> Iterator[OutputFrame]:
        """Interpolate frames as they arrive.

        A stream can begin in the middle of a sequence, and its outputs are those of a stream of the
        whole: feed it from 10 frames before the one at which outputs shall begin.

        Args:
            timed: (frame, time in seconds), times rising, or `StreamFrame`; frames are (3, H, W)
                float in [0, 1], (H, W, 3) uint8, uint16 or float32 RGB, or `DecodedFrame`.
            schedule: the output timestamps.
            first_index: index in the sequence of the first frame that is fed.
            start_index: index in the sequence of the first frame with outputs, at it and up to the
                frame after it.

        Raises:
            OutOfMemory: tiles do not fit into the memory; see `use_smaller_tiles`.
        """
        self.cut_times = []
        rings, self._spare = self._spare or RingBuffers(self.context_frames), None
        try:
            windows = self._windows(timed, first_index)
            for index, (window, left) in enumerate(windows, first_index):
                if index >= start_index:
                    yield from self._outputs(window, left, rings, schedule, index)
        finally:
            if self.engine.recorded:  # recordings read these very buffers
                self._spare = rings

    def _outputs(
        self,
        window: deque[BufferedFrame],
        left: int,
        rings: RingBuffers,
        schedule: Schedule,
        index: int,
    ) -> Iterator[OutputFrame]:
        """The outputs from the left reference up to the next frame."""
        first = window[left]
        original = first.frame
        if left + 1 == len(window):
            for _, time in schedule.last(first.display_time):
                yield OutputFrame(original, time, False, None, index, original)
            return
        second = window[left + 1]
        output_times = schedule.between(
            first.display_time, second.display_time, first.moving, first.source_times
        )
        if first.shot == second.shot:
            generated = self.generator(window, rings, left, [t for t, _ in output_times if t > 0])
            for t, time in output_times:
                frame, alpha = (original, None) if t == 0 else next(generated)
                yield OutputFrame(frame, time, t > 0, alpha, index, original)
            return
        self.cut_times.append((index + 1, second.display_time))
        # a hold ends where the next shot begins
        middle = (first.display_time + second.display_time) / 2
        if first.moving is not None:
            middle = second.display_time
        for _, time in output_times:
            frame = original if time <= middle else second.frame
            yield OutputFrame(frame, time, False, None, index, original)

    def _windows(self, timed, first_index: int) -> Iterator[tuple[deque[BufferedFrame], int]]:
        """For each frame as left reference the window around it, and its index in the window."""
        window: deque[BufferedFrame] = deque()
        left, index = 0, first_index
        detector = self.new_detector() if self.detect_scenes else None
        for item in _numbered(timed, detector):
            time = item.time
            if window:
                last = window[-1]
                if time <= last.display_time:
                    raise ValueError(
                        f"Interpolator: timestamps must rise, got {time} after {last.display_time}"
                    )
                gap = time - last.display_time if last.moving is None else last.moving
                time = last.time + gap
            slot = index % self.context_frames
            window.append(
                BufferedFrame(
                    item.frame,
                    time=time,
                    shot=item.shot,
                    slot=slot,
                    display_time=item.time,
                    moving=item.moving,
                    source_times=item.source_times,
                )
            )
            index += 1
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

    def use_smaller_tiles(self) -> bool:
        """After an `OutOfMemory`: use smaller tiles, and free what was kept for larger ones.

        Streams in progress have to be started anew, for example at the first part that is missing.

        Returns:
            Whether that is possible: not with tile="off", and not below `tiles.SMALLEST` pixels.
        """
        self._spare, self._pair_rings = None, RingBuffers(2)
        return self.generator.use_smaller_tiles()


def _numbered(timed, detector: FindsCuts | None) -> Iterator[StreamFrame]:
    """The frames with the index of their shot."""
    timed = iter(timed)
    first = next(timed, None)
    if first is None:
        return
    timed = chain([first], timed)
    if isinstance(first, StreamFrame) and first.shot is not None:
        yield from timed
        return
    for item, shot in number_shots(timed, lambda item: rgb_of(Download(item[0]).wait()), detector):
        yield StreamFrame(*item)._replace(shot=shot)


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
