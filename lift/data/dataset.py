"""From sequences and scenes to training batches: sample g is a function of the seed and of g alone.

Slot 0 holds the left reference and slot 1 the right one in every sample; the context follows in the
order of time and, since its order carries no meaning, a clip played backwards needs no other place.
Slots that a clip does not fill are zero and masked.
"""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lift.config import DataConfig
from lift.data import sampling, several
from lift.data.augmentation import Augmentation, centre_crop, random_crop
from lift.data.batch import Batch
from lift.data.clip import Clip
from lift.data.sampling import Window
from lift.data.sequences import Preloaded, Sequence, open_sequences
from lift.data.several import SharedSample
from lift.data.synthetic import SyntheticScene
from lift.errors import LiftError

SLOT = 16  # frames of a sequence that count as one sample of an epoch


@dataclass(frozen=True)
class Sample:
    """One clip on the CPU, without a batch axis; fields as in `Batch`.

    Attributes:
        frames: (T, 3, H, W), times: (T,), mask: (T,); the references are slots 0 and 1.
        t: the target's time.
        target: (3, H, W), flow: (4, H, W), visible: (2, H, W).
        flow_known: whether `flow` and `visible` are the truth.
    """

    frames: torch.Tensor
    times: torch.Tensor
    mask: torch.Tensor
    t: float
    target: torch.Tensor
    flow: torch.Tensor
    visible: torch.Tensor
    flow_known: bool


def collate(samples: list[Sample] | list[SharedSample]) -> Batch:
    """Samples of one shape as a batch; K targets a sample make K times as many clips.

    Raises:
        ValueError: the samples differ in size or in the number of input frames.
    """
    shapes = {tuple(s.frames.shape) for s in samples}
    if len(shapes) > 1:
        raise ValueError(
            f"collate: samples of a batch must have one shape (T, 3, H, W), got {sorted(shapes)}; validate one clip at a time"
        )

    def stack(name):
        return torch.stack([getattr(s, name) for s in samples])

    if isinstance(samples[0], SharedSample):
        t, target, flow, visible = (
            stack(name).flatten(0, 1) for name in ("t", "target", "flow", "visible")
        )
        known = torch.tensor([s.flow_known for s in samples]).repeat_interleave(len(samples[0].t))
        return Batch(SharedSample.clips(samples), t, target, flow, visible, known)
    return Batch(
        Clip(stack("frames"), stack("times"), stack("mask"), 0),
        torch.tensor([s.t for s in samples], dtype=torch.float32),
        stack("target"),
        stack("flow"),
        stack("visible"),
        torch.tensor([s.flow_known for s in samples]),
    )


class ClipDataset(Dataset):
    """Clips by global sample number: `dataset[g]` for g = 0, 1, 2, ... without end when training.

    Everything random in sample g is drawn from default_rng([seed, g]), what a batch shares (its
    number of input frames) from default_rng([seed, 1, g // batch_size]), so the samples of a step
    do not depend on workers, on devices or on what was loaded before.

    An epoch is `len(dataset)` samples. When training it visits every stretch of 16 frames of every
    sequence once, in a new order, at a random place in the stretch. For validation (train=False)
    clips lie evenly over each sequence, the sequences taking turns, in full size (centre-cropped to
    multiples of 32), with all their context and unaltered; sequences differ in size, so a
    validation batch is one clip.

    Args:
        config: see `DataConfig`.
        split: name of the split to read.
        batch_size: clips that share a number of input frames (of all devices together).
        seed: of everything random.
        train: training or validation clips.
        clips: how many validation clips there are at most.

    Raises:
        LiftError: no sequence, or none long enough; an unknown `data` or `sampling`.
    """

    def __init__(
        self,
        config: DataConfig,
        split: str,
        *,
        batch_size: int,
        seed: int,
        train: bool,
        clips: int = 64,
    ):
        _check(config)
        self.config, self.batch_size, self.seed, self.train = config, batch_size, seed, train
        self.sequences = _open(config, split) if config.data_source != "synthetic" else []
        self.textures = self.sequences if config.data_source == "mixed" else None
        self._places = [_places(s, config) for s in self.sequences]
        if train:
            self._slots = [
                (i, start)
                for i, s in enumerate(self.sequences)
                for start in range(0, max(1, len(s) - SLOT // 2), SLOT)
            ]
        else:
            self._slots = _spread(self._places, config, clips)
        self._length = len(self._slots) or (
            config.synthetic_size if train else min(clips, config.synthetic_size)
        )
        self._size = (config.crop_height, config.crop_width)
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, g: int) -> Sample | SharedSample:
        if not self.train:
            if not 0 <= g < len(self):
                raise IndexError(f"validation clips are 0..{len(self) - 1}, got {g}")
            return (
                self._validation(g)
                if self.sequences
                else self._synthetic(g, Augmentation(), self.config.context_frames)
            )
        rng = np.random.default_rng([self.seed, g])
        inputs, nearest = self._inputs(g)
        augmentation = Augmentation.draw(rng)
        if not self.sequences or (
            self.config.data_source == "mixed" and rng.random() < self.config.synthetic_fraction
        ):
            return self._synthetic(g, augmentation, inputs, nearest)
        return self._real(g, rng, augmentation, inputs, nearest)

    def _inputs(self, g: int) -> tuple[int, bool]:
        """The number of input frames of g's batch, and whether they are the nearest ones or any of
        the fifteen.
        """
        rng = np.random.default_rng([self.seed, 1, g // self.batch_size])
        full = rng.random() < self.config.full_context_prob
        low, high = self.config.min_context_frames, self.config.context_frames
        return high if full else int(rng.integers(low, high + 1)), bool(rng.random() < 0.5)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {
                epoch: np.random.default_rng([self.seed, 2, epoch]).permutation(len(self))
            }
        return self._orders[epoch]

    # -- the three kinds of sample

    def _real(
        self,
        g: int,
        rng: np.random.Generator,
        augmentation: Augmentation,
        inputs: int,
        nearest: bool,
    ) -> Sample | SharedSample:
        i, start = self._slots[self._order(g // len(self))[g % len(self)]]
        sequence, places = self.sequences[i], self._places[i]
        strides = [
            s
            for s in (self.config.strides if self.config.sampling == "skip" else (2,))
            if s in places
        ]
        stride = int(rng.choice(strides))
        lefts = places[stride]
        a, b = np.searchsorted(lefts, (start, start + SLOT))
        left = int(lefts[rng.integers(a, b)] if a < b else rng.choice(lefts))
        if self.config.targets > 1:
            shot = _shot(sequence, left)
            allowed = {i for i in lefts.tolist() if shot[0] <= i < shot[1]}
            windows = [
                _window(
                    sequence,
                    self.config,
                    gap,
                    stride,
                    int(rng.integers(1, stride)),
                    self.config.context_frames,
                )
                for gap in self._gaps(left, stride, allowed, rng)
            ]
            pool, windows = several.share(windows, self._shared_frames(inputs), nearest, rng)
            frames = sequence.read([*pool, *(window.target for window in windows)])
            frames = augmentation.frames(
                random_crop(frames, augmentation.source(self._size), rng), self._size
            )
            return several.sample(
                frames,
                pool,
                windows,
                self._shared_frames(inputs),
                self._shared_places(inputs),
                augmentation.reverse,
            )
        reach = inputs if nearest else self.config.context_frames
        window = _window(sequence, self.config, left, stride, int(rng.integers(1, stride)), reach)
        window = sampling.drop_context(window, inputs, rng)
        frames = sequence.read([*_references_first(window.indices, window.left), window.target])
        frames = augmentation.frames(
            random_crop(frames, augmentation.source(self._size), rng), self._size
        )
        return _sample(
            frames,
            _references_first(window.times, window.left),
            window.t,
            inputs,
            augmentation.reverse,
        )

    def _synthetic(
        self, g: int, augmentation: Augmentation, inputs: int, nearest: bool = True
    ) -> Sample | SharedSample:
        rng = np.random.default_rng([self.seed, 3 if self.train else 4, g])
        size = self._size
        if self.train and self.config.targets > 1:
            return self._synthetic_several(rng, augmentation, inputs, nearest)
        times, t = self._synthetic_times(rng, inputs, nearest)
        scene = SyntheticScene(rng, augmentation.source(size), self.textures)
        frames = augmentation.frames(scene.render([*times, t]), size)
        flow = scene.flow(t)
        truth = augmentation.truth(flow, scene.visible(t, flow), size)
        return _sample(frames, times, t, inputs, augmentation.reverse, truth)

    def _synthetic_several(
        self, rng: np.random.Generator, augmentation: Augmentation, inputs: int, nearest: bool
    ) -> SharedSample:
        dense = self.config.sampling == "dense"
        stride, left = (
            2 if dense else int(rng.choice(self.config.strides)),
            500,
        )  # of a long sequence without cuts
        shot, most = (0, 1000), self.config.context_frames
        windows = [
            sampling.dense(gap - sampling.BEFORE, shot, most)
            if dense
            else sampling.skip(gap, stride, int(rng.integers(1, stride)), shot, most)
            for gap in self._gaps(left, stride, range(*shot), rng)
        ]
        pool, windows = several.share(windows, self._shared_frames(inputs), nearest, rng)
        scene = SyntheticScene(rng, augmentation.source(self._size), self.textures)

        def clock(i: int) -> float:
            return (i - left) / stride

        frames = augmentation.frames(
            scene.render([clock(i) for i in (*pool, *(window.target for window in windows))]),
            self._size,
        )
        truths = []
        for window in windows:
            t, sides = (
                clock(window.target),
                tuple(clock(window.indices[window.left + side]) for side in (0, 1)),
            )
            flow = scene.flow(t, sides)
            truths.append(augmentation.truth(flow, scene.visible(t, flow, sides), self._size))
        truth = tuple(np.stack(part) for part in zip(*truths, strict=True))
        return several.sample(
            frames,
            pool,
            windows,
            self._shared_frames(inputs),
            self._shared_places(inputs),
            augmentation.reverse,
            truth,
        )

    # -- several targets out of one window

    def _gaps(self, left: int, stride: int, allowed, rng: np.random.Generator) -> list[int]:
        """Left references of all clips of a sample."""
        return several.gaps(
            left,
            self.config.targets,
            1 if self.config.sampling == "dense" else stride,
            allowed,
            rng,
        )

    def _shared_frames(self, inputs: int) -> int:
        """How many frames the clips of a sample share: as many as reach from the first clip's first
        input to the last one's last.
        """
        return inputs + self.config.targets - (self.config.sampling == "skip")

    def _shared_places(self, inputs: int) -> int:
        """The most inputs that a clip of a sample may have."""
        return min(self.config.context_frames, self._shared_frames(inputs))

    def _synthetic_times(
        self, rng: np.random.Generator, inputs: int, nearest: bool
    ) -> tuple[list[float], float]:
        """Times like those of real clips: of a long sequence without cuts."""
        reach = inputs if nearest else self.config.context_frames
        shot, middle = (0, 1000), 500
        if self.config.sampling == "dense":
            window = sampling.dense(middle, shot, reach)
        else:
            stride = int(rng.choice(self.config.strides))
            window = sampling.skip(middle, stride, int(rng.integers(1, stride)), shot, reach)
        window = sampling.drop_context(window, inputs, rng)
        return _references_first(window.times, window.left), window.t

    def _validation(self, g: int) -> Sample:
        i, left = self._slots[g]
        sequence = self.sequences[i]
        stride = _validation_stride(self.config, self._places[i])
        window = _window(
            sequence, self.config, left, stride, stride // 2, self.config.context_frames
        )
        frames = centre_crop(
            sequence.read([*_references_first(window.indices, window.left), window.target])
        )
        return _sample(
            frames,
            _references_first(window.times, window.left),
            window.t,
            self.config.context_frames,
            False,
        )


# -- pieces ----------------------------------------------------------------------------------------


def _check(config: DataConfig) -> None:
    if config.data_source not in ("folder", "synthetic", "mixed"):
        raise LiftError(
            f"data_source must be folder, synthetic or mixed, got {config.data_source!r}"
        )
    if config.sampling not in ("skip", "dense"):
        raise LiftError(f"sampling must be skip or dense, got {config.sampling!r}")
    if not config.strides or min(config.strides) < 2:
        raise LiftError(
            f"strides must be numbers of at least 2, since the target lies between two inputs; got {list(config.strides)}"
        )
    if not 2 <= config.min_context_frames <= config.context_frames:
        raise LiftError(
            f"min_context_frames and context_frames must satisfy 2 <= min_context_frames <= context_frames, got {config.min_context_frames} and "
            f"{config.context_frames}"
        )
    if config.data_source != "synthetic" and not config.data_root:
        raise LiftError(
            "no training data: give --data_root (a folder of sequences or videos), or --data_source synthetic, which needs no files"
        )


def _open(config: DataConfig, split: str) -> list[Sequence]:
    sequences = open_sequences(
        config.data_root, split, config.resize_short_side, held_back=config.val_split
    )
    sequences = [s for s in sequences if _places(s, config)]
    if not sequences:
        need = min(config.strides) + 1 if config.sampling == "skip" else 3
        raise LiftError(
            f"{config.data_root}: no sequence of the split {split!r} holds {need} frames in a row without a cut or a repeated "
            "frame; add longer sequences or choose smaller strides"
        )
    if config.preload:
        return [
            Preloaded(s)
            for s in tqdm(sequences, desc=f"reading {split} frames", unit="sequence", disable=None)
        ]
    return sequences


def _places(sequence: Sequence, config: DataConfig) -> dict[int, np.ndarray]:
    """Where a left reference may lie, by stride; strides that fit nowhere are left out."""
    strides = set(config.strides) if config.sampling == "skip" else {2}
    places = {
        s: sampling.skip_lefts(len(sequence), s, sequence.cuts, sequence.duplicates)
        for s in strides
    }
    return {s: lefts for s, lefts in places.items() if len(lefts)}


def _shot(sequence: Sequence, i: int) -> tuple[int, int]:
    """The shot that frame i lies in."""
    return next((a, b) for a, b in sampling.shots(len(sequence), sequence.cuts) if a <= i < b)


def _window(
    sequence: Sequence, config: DataConfig, left: int, stride: int, step: int, frames: int
) -> Window:
    shot = _shot(sequence, left)
    if config.sampling == "dense":
        return sampling.dense(left - sampling.BEFORE, shot, frames, sequence.timestamps)
    return sampling.skip(left, stride, step, shot, frames, sequence.timestamps)


def _validation_stride(config: DataConfig, places: dict[int, np.ndarray]) -> int:
    first = config.strides[0] if config.sampling == "skip" else 2
    return first if first in places else min(places)


def _spread(
    places: list[dict[int, np.ndarray]], config: DataConfig, clips: int
) -> list[tuple[int, int]]:
    """(sequence, left reference) of the validation clips: evenly over each sequence, the sequences
    taking turns.
    """
    if not places:
        return []
    each = -(-clips // len(places))
    rounds = []
    for i, place in enumerate(places):
        lefts = place[_validation_stride(config, place)]
        count = min(each, len(lefts))
        picks = ((np.arange(count) + 0.5) * len(lefts) / count).astype(int)
        rounds.append([(i, int(lefts[p])) for p in picks])
    turns = [r[k] for k in range(each) for r in rounds if k < len(r)]
    return turns[:clips]


def _references_first(values, left: int) -> list:
    return [values[left], values[left + 1], *values[:left], *values[left + 2 :]]


def _sample(
    frames: np.ndarray,
    times: list[float],
    t: float,
    slots: int,
    reverse: bool,
    truth: tuple[np.ndarray, np.ndarray] | None = None,
) -> Sample:
    """Tensors of a sample from uint8 frames (n + 1, H, W, 3), references first and target last, and
    the n times.
    """
    times = np.asarray(times, np.float32)
    n, (h, w) = len(times), frames.shape[1:3]
    if reverse:
        order = [1, 0, *range(n - 1, 1, -1)]
        frames, times, t = frames[[*order, n]], 1 - times[order], 1 - t
    pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float().div_(255)
    inputs, all_times, mask = pixels[:n], torch.zeros(slots), torch.zeros(slots, dtype=torch.bool)
    if n < slots:
        inputs = torch.cat((inputs, inputs.new_zeros(slots - n, 3, h, w)))
    all_times[:n], mask[:n] = torch.from_numpy(times), True
    flow, visible = (
        (torch.from_numpy(np.ascontiguousarray(x)) for x in truth)
        if truth
        else (torch.zeros(4, h, w), torch.zeros(2, h, w))
    )
    return Sample(inputs, all_times, mask, float(t), pixels[n], flow, visible, truth is not None)


# -- batches ---------------------------------------------------------------------------------------


class _Numbers:
    """The global sample numbers of one device's batches, step by step."""

    def __init__(self, batch_size: int, start: int, stop: int | None, rank: int, world: int):
        self.batch_size, self.start, self.stop, self.rank, self.world = (
            batch_size,
            start,
            stop,
            rank,
            world,
        )

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start
        while self.stop is None or step < self.stop:
            first = (step * self.world + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
            step += 1


def loader(
    dataset: ClipDataset,
    batch_size: int,
    start: int = 0,
    stop: int | None = None,
    num_workers: int = 0,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Batches of steps start, start + 1, ... stop - 1 (without end when None), in order.

    Step k of device `rank` gets the `batch_size` = B global samples from k B world + rank B on: the
    same whatever the number of workers and wherever a run was resumed.

    Args:
        batch_size: clips per step and device.
        num_workers: processes that load; 0 loads here.
        pin_memory: whether batches go to page-locked memory, for a GPU.

    Raises:
        LiftError: a sequence cannot be read; also when a worker found it.
    """
    # fork, where there is one: preloaded frames are then shared, not copied.
    context = "fork" if num_workers and "fork" in multiprocessing.get_all_start_methods() else None
    numbers = _Numbers(batch_size, start, stop, rank, world)
    batches = DataLoader(
        dataset,
        batch_sampler=numbers,
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=_single_threaded,
        multiprocessing_context=context,
        pin_memory=pin_memory,
    )
    try:
        yield from batches
    except LiftError as error:  # from a worker it comes wrapped in that worker's traceback
        raise LiftError(str(error).rsplit("LiftError: ", 1)[-1].strip()) from None


def _single_threaded(worker: int) -> None:
    cv2.setNumThreads(0)  # the processes are the parallelism
