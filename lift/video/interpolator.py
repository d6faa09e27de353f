"""The streaming interpolator: frames in, a smoother sequence out, in constant memory.

Each frame is encoded once; its keys and values stay in a ring of `context` places, where every pair
reads those of the frames around it. The motion in each gap is computed once too, for its own pair
and for the two beside it. A pair sees up to eight frames at or before its left reference and seven
at or after its right one (for `context` = 15), so the output lags seven frames behind the input,
two more where scene cuts are looked for. Frames that do not exist, and frames beyond a cut, are not
passed to the model; across a cut nothing is blended: the moments between the last frame of a shot
and the first of the next repeat the nearer of the two (the earlier one half way).
"""

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
from lift.video.engine import Engine, choose_dtype
from lift.video.gaps import HALF, Gaps, Held
from lift.video.ring import Ring
from lift.video.scenes import SceneCuts, shots
from lift.video.schedule import Multiple, Rate
from lift.video.threads import WriteBehind, read_ahead
from lift.video.transfers import Download, Uploader, numbers

NEARER = HALF  # up to here the earlier frame is the nearer one
DEPTH = 4  # frames read ahead, and not yet written
FINEST_TICK = 2**31 - 1  # containers store the clock's denominator in 32 bits


@dataclass(frozen=True)
class Shown:
    """A frame of the output: (3, H, W) float in [0, 1], or the original just as it came; its time
    in seconds; whether it was made.
    """

    frame: torch.Tensor | np.ndarray | DecodedFrame
    time: Fraction | float
    made: bool


@dataclass(frozen=True)
class Summary:
    """What `Interpolator.video` wrote. `made` counts the model's frames, `cuts` the scene cuts,
    `notes` says what was left out and why; `dtype` is the precision of the model."""

    path: Path
    frames: int
    made: int
    cuts: int
    width: int
    height: int
    rate: Fraction
    notes: list[str]
    dtype: torch.dtype


class Interpolator:
    """Makes frames between the frames of a sequence.

    Args:
        model: a LIFT model; it is moved to `device` and put into evaluation mode.
        context: most input frames that one made frame looks at, 2 to 15 (two: the references
            alone).
        device: where the model runs; where it is when None.
        dtype: type of autocast; float32 for none; "auto" for what suits the device, see
            `choose_dtype`. Weights are then kept in it, in a copy of the model.
        batch: frames between one pair that are made in one call; more is faster on a GPU and takes
            more memory.
        reverse_average: make each frame a second time with time reversed and take the mean: twice
            the work, and t and 1 - t agree.
        detect_scenes: find scene cuts and blend nothing across them (needs PySceneDetect).
        channels_last: keep convolutions channels-last, which is faster on CPUs, and on GPUs in half
            precision.
        compiled: use torch.compile; minutes at the first frame of every size.
        cuda_graph: record the model as CUDA graphs, which spares a GPU the wait for Python; some
            memory and seconds at the first frames.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        context: int = InferenceConfig.context_frames,
        device: torch.device | str | None = None,
        *,
        dtype: torch.dtype | str = torch.float32,
        batch: int = InferenceConfig.batch,
        reverse_average: bool = False,
        detect_scenes: bool = True,
        channels_last: bool = InferenceConfig.channels_last,
        compiled: bool = False,
        cuda_graph: bool = False,
    ):
        if context < 2:
            raise ValueError(
                f"Interpolator: context must be at least 2 (the two references), got {context}"
            )
        if batch < 1:
            raise ValueError(f"Interpolator: batch must be at least 1, got {batch}")
        self.device = (
            torch.device(device) if device is not None else next(model.parameters()).device
        )
        dtype = choose_dtype(dtype, self.device)
        self.engine = Engine(model, self.device, dtype, channels_last, compiled, cuda_graph)
        self.upload = Uploader(self.device)
        self.gaps = Gaps(self.engine, self.upload)
        self.context, self.batch = context, batch
        self.reverse_average, self.detect_scenes = reverse_average, detect_scenes
        # At or before the left reference, at or after the right one.
        self.before, self.after = frames_around(context)
        self.cuts = 0  # scene cuts met in the latest stream
        self._two = Ring(2)
        self._spare: Ring | None = None  # of a stream that ended, for the next one

    # -- the three ways to use it ------------------------------------------------------------------

    def between(self, frame0: torch.Tensor, frame1: torch.Tensor, t: float) -> torch.Tensor:
        """One frame from two: frame0 and frame1 (3, H, W) float in [0, 1], t in (0, 1) -> (3, H, W)
        in [0, 1].
        """
        for name, frame in (("frame0", frame0), ("frame1", frame1)):
            _check_frame(name, frame, frame0.shape)
        if not 0 < t < 1:
            raise ValueError(f"between: t must lie between 0 and 1, got {t}")
        return next(
            self._make([Held(frame0, 0.0, 0, 0), Held(frame1, 1.0, 0, 1)], self._two, 0, [t])
        )

    def frames(
        self,
        frames: Iterable[torch.Tensor],
        multi: int = InferenceConfig.multi,
        timestamps: Iterable[Fraction | float] | None = None,
    ) -> Iterator[torch.Tensor]:
        """Originals and made ones, in order: n frames become (n - 1) * multi + 1.

        Args:
            frames: (3, H, W) float tensors in [0, 1], all of one size.
            multi: frames shown in the time of one.
            timestamps: a rising time for each frame, any unit; evenly spaced where None. The made
                frames divide each gap evenly.
        """
        schedule = Multiple(multi)
        return (shown.frame for shown in self.stream(_timed(frames, timestamps), schedule))

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
        """A video or a folder of numbered frames in; a video (.mp4, .m4v, .mov, .mkv) or a folder
        of PNG frames out.

        Args:
            src, dst: paths; dst is a folder where it has no suffix.
            multi: frames shown in the time of one; each original keeps its exact time.
            fps: a rate to reach instead of `multi`; moments at whole multiples of 1 / fps,
                originals where they coincide.
            source_fps: rate of a folder (24 where None).
            crf: x264's quality, 0 (lossless) to 51.
            overwrite: replace what stands at dst.
            progress: show a bar with an estimate of the time left.

        Raises:
            LiftError: anything about src or dst that the user can mend; dst is then as it was.
        """
        src, dst = Path(src), Path(dst)
        if src.resolve() == dst.resolve():
            raise LiftError(f"{dst}: input and output are the same; give the output another name")
        schedule = Multiple(multi) if fps is None else Rate(Fraction(fps))
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
        made = 0
        self.cuts = 0

        def write(download: Download, time: Fraction) -> None:
            writer.write(download.wait(), time)

        with writer, _bar(progress, total, src.name) as bar, ExitStack() as threads:
            timed = source.decoded()
            if beside(self.device):
                timed = threads.enter_context(closing(read_ahead(timed, DEPTH)))
                write = threads.enter_context(WriteBehind(write, DEPTH))
            for shown in self.stream(timed, schedule):
                write(Download(shown.frame), shown.time)
                made += shown.made
                bar.update()
        return Summary(
            dst,
            writer.written,
            made,
            self.cuts,
            source.width,
            source.height,
            rate,
            [*source.notes, *writer.notes],
            self.engine.dtype,
        )

    # -- the stream --------------------------------------------------------------------------------

    def stream(
        self,
        timed: Iterable[tuple[torch.Tensor | np.ndarray | DecodedFrame, Fraction | float]],
        schedule: Multiple | Rate,
    ) -> Iterator[Shown]:
        """What all of the above is made of.

        Args:
            timed: (frame, time in seconds), times rising; frames (3, H, W) float in [0, 1], (H, W,
                3) uint8 RGB, or `DecodedFrame`.
            schedule: which moments to show.
        """
        self.cuts = 0
        ring, self._spare = self._spare or Ring(self.context), None
        try:
            for window, left in self._windows(timed):
                yield from self._shown(window, left, ring, schedule)
        finally:
            if self.engine.recorded:  # recordings read the ring where it lies
                self._spare = ring

    def _shown(
        self, window: deque[Held], left: int, ring: Ring, schedule: Multiple | Rate
    ) -> Iterator[Shown]:
        """The left reference, and what is shown between it and the next frame."""
        shown = window[left]
        if left + 1 == len(window):
            yield from (Shown(shown.frame, time, False) for _, time in schedule.last(shown.time))
            return
        right = window[left + 1]
        moments = schedule.between(shown.time, right.time)
        if shown.shot != right.shot:
            self.cuts += 1
            for t, time in moments:
                yield Shown(shown.frame if t <= NEARER else right.frame, time, False)
            return
        made = self._make(window, ring, left, [t for t, _ in moments if t > 0])
        for t, time in moments:
            yield Shown(shown.frame, time, False) if t == 0 else Shown(next(made), time, True)

    def _windows(self, timed) -> Iterator[tuple[deque[Held], int]]:
        """For each frame the window and the frame's index in it: the left reference of a pair, the
        last frame alone.
        """
        window: deque[Held] = deque()
        left = count = 0
        cuts = SceneCuts() if self.detect_scenes else None
        for (frame, time), shot in shots(
            timed, lambda item: rgb_of(Download(item[0]).wait()), cuts
        ):
            if window and time <= window[-1].time:
                raise ValueError(
                    f"Interpolator: timestamps must rise, got {time} after {window[-1].time}"
                )
            window.append(Held(frame, time, shot, count % self.context))
            count += 1
            if len(window) - 1 - left == self.after:
                yield window, left
                left = self._advance(window, left)
        while left < len(window):
            yield window, left
            left = self._advance(window, left)

    def _advance(self, window: deque[Held], left: int) -> int:
        """Make the next frame the left reference; the former one stays as context until it leaves
        the window.
        """
        if left:
            window[left - 1].release()  # the pair to come looks at the motion from window[left] on
        if left + 1 < self.before:
            return left + 1
        window.popleft()
        return left

    # -- the model ---------------------------------------------------------------------------------

    def _make(
        self, window: Iterable[Held], ring: Ring, left: int, moments: list[Fraction | float]
    ) -> Iterator[torch.Tensor]:
        """Frames between window[left] and its successor at `moments`, each (3, H, W) in [0, 1];
        what does not depend on t is done once.
        """
        if not moments:
            return
        window = list(window)
        first, second = window[left], window[left + 1]
        around = [held for held in window if held.shot == first.shot]
        for held in around:
            self._encode(held, ring)
        gap = second.time - first.time
        times, used = [0.0] * ring.places, [0.0] * ring.places
        for held in around:
            times[held.place], used[held.place] = float((held.time - first.time) / gap), 1.0
        times, used = numbers(times + used, self.device).view(2, 1, -1)
        mask = used > 0
        directions = [
            (
                backwards,
                self.gaps.pair(first, second, backwards),
                self.gaps.adjacent_motion(window, left, backwards),
            )
            for backwards in ((False, True) if self.reverse_average else (False,))
        ]
        for held in window[:left]:
            held.release()
        for start in range(0, len(moments), self.batch):
            now = moments[start : start + self.batch]
            t = numbers([float(m) for m in now], self.device)
            made = []
            for backwards, pair, adjacent in directions:
                at, when = (1 - t, 1 - times) if backwards else (t, times)
                motion = (
                    self.gaps.halfway(first, second, backwards)
                    if now == [HALF]
                    else self.engine.motion(pair, at)
                )
                made.append(
                    self.engine.at(pair, motion, adjacent, ring.keys, ring.values, when, mask, at)
                )
            yield from (made[0] if len(made) == 1 else (made[0] + made[1]) / 2).clamp_(0, 1)

    def _encode(self, held: Held, ring: Ring) -> None:
        if not held.encoded:
            features = self.engine.encode(held.image(self.upload))
            ring.put(held.place, features)
            held.features, held.encoded = features.reference_only(), True


# -- frames in their two forms: tensors of the Python interface, bytes of files --------------------


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
            f"Interpolator: {name} must be a (3, H, W) float tensor in [0, 1], got {tuple(frame.shape)} {frame.dtype}"
        )
    if frame.shape != shape:
        raise ValueError(
            f"Interpolator: {name} must have the size of the first, {tuple(shape)}, got {tuple(frame.shape)}"
        )


def beside(device: torch.device) -> bool:
    """Whether to read and write in threads: beside a GPU. A CPU's cores are at work as it is."""
    return device.type == "cuda"


# -- around the stream -----------------------------------------------------------------------------


def _tick(tick: Fraction, multi: int, fps: Fraction | None) -> Fraction:
    """A clock on which every moment of the output falls: the source's ticks divided, or met with
    those of the rate.
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
