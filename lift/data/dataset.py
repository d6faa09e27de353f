"""From sequences and scenes to training samples: sample g follows from the seed and g alone.

Input 0 is the left reference and input 1 the right one in every sample. The context follows in the
order of time; the order carries no meaning for the model. Slots that a clip does not fill are zero
and masked.
"""

from collections.abc import Callable, Container
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from lift.config import DataConfig
from lift.data import multi_target, sampling
from lift.data.augmentation import Augmentation, centre_crop, fits, random_crop
from lift.data.flow_teacher import target_flow
from lift.data.frame_cache import CachedSequence
from lift.data.sample import Layout, Sample, make_sample
from lift.data.sampling import Window
from lift.data.sequences import InMemorySequence, OpenedSplit, Sequence, open_split
from lift.data.synthetic import SyntheticScene
from lift.errors import LiftError

SLOT = 16  # frames of a sequence that count as one sample of an epoch
MAX_SKIPPED = 100  # damaged samples in a row, after which the data are no good
SCENE = (0, 1000)  # frame numbers of a synthetic scene: a long sequence without cuts
SCENE_LEFT = 500  # a left reference in its middle


class ClipDataset(Dataset):
    """Clips by global sample number: `dataset[g]` for g = 0, 1, 2, ... without end when training.

    Everything random in sample g is drawn from default_rng([seed, g]), what a batch shares (its
    number of input frames) from default_rng([seed, 1, g // batch_size]), so the samples of a step
    depend neither on workers and devices nor on what was loaded before.

    An epoch is `len(dataset)` samples. When training it visits every stretch of 16 frames of every
    sequence once, in a new order, at a random place in the stretch. For validation (train=False)
    clips are spread evenly over each sequence, the sequences taking turns, in full size
    (centre-cropped to multiples of 32), with all their context and without augmentation; sequences
    differ in size, so a validation batch is one clip.

    Args:
        config: see `DataConfig`.
        split: name of the split to read.
        batch_size: clips that share a number of input frames (of all devices together).
        seed: of everything random.
        train: training or validation clips.
        clips: how many validation clips there are at most.

    Attributes:
        opened: how the sequences were found; None for synthetic clips alone.

    Raises:
        LiftError: no sequence, none long enough, or none as large as the crop; an unknown `data`
            or `sampling`.
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
        self.opened: OpenedSplit | None = None
        self.sequences: list[Sequence] = []
        if config.data_source != "synthetic":
            self.opened = _open(config, split, train)
            self.sequences = self.opened.sequences
        self.textures = self.sequences if config.data_source == "mixed" else None
        self._places = [_places(s, config) for s in self.sequences]
        if train:
            self._slots = [
                (i, start)
                for i, s in enumerate(self.sequences)
                for start in range(0, max(1, len(s) - SLOT // 2), SLOT)
            ]
        else:
            self._slots = _validation_slots(self._places, config, clips)
        self._length = len(self._slots) or (
            config.synthetic_size if train else min(clips, config.synthetic_size)
        )
        self._size = (config.crop_height, config.crop_width)
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, g: int) -> Sample:
        if not self.train and not 0 <= g < len(self):
            raise IndexError(f"validation clips are 0..{len(self) - 1}, got {g}")
        skipped: list[str] = []
        while True:
            try:
                return replace(self._sample(g, len(skipped)), skipped=tuple(skipped))
            except LiftError as error:
                if not self.config.skip_bad:
                    raise
                skipped.append(str(error))
                if len(skipped) == MAX_SKIPPED:
                    raise LiftError(
                        f"{MAX_SKIPPED} damaged samples one after another ({error}); lift data "
                        "check names all damaged files"
                    ) from error

    def _sample(self, g: int, attempt: int) -> Sample:
        """Sample g; where attempts before found damaged files, another one of the same shape."""
        if not self.train:
            if self.sequences:
                return self._validation((g + attempt) % len(self))
            return self._synthetic(g, Augmentation(), self.config.context_frames)
        rng = np.random.default_rng([self.seed, g])
        inputs, nearest = self._inputs(g)
        augmentation = Augmentation.draw(rng, self.config.rescale, self.config.jpeg_prob)
        if not self.sequences or (
            self.config.data_source == "mixed" and rng.random() < self.config.synthetic_fraction
        ):
            return self._synthetic(g, augmentation, inputs, nearest, attempt)
        return self._real(g, rng, augmentation, inputs, nearest, attempt)

    def _inputs(self, g: int) -> tuple[int, bool]:
        """The number of input frames of g's batch, and whether they are the nearest ones."""
        rng = np.random.default_rng([self.seed, 1, g // self.batch_size])
        full = rng.random() < self.config.full_context_prob
        low, high = self.config.min_context_frames, self.config.context_frames
        return high if full else int(rng.integers(low, high + 1)), bool(rng.random() < 0.5)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            rng = np.random.default_rng([self.seed, 2, epoch])
            self._orders = {epoch: rng.permutation(len(self))}
        return self._orders[epoch]

    # -- the three kinds of sample

    def _real(
        self,
        g: int,
        rng: np.random.Generator,
        augmentation: Augmentation,
        inputs: int,
        nearest: bool,
        attempt: int,
    ) -> Sample:
        place = g % len(self)
        if attempt:
            place = int(np.random.default_rng([self.seed, 5, g, attempt]).integers(len(self)))
        i, start = self._slots[self._order(g // len(self))[place]]
        sequence, positions = self.sequences[i], self._places[i]
        strides = self.config.strides if self.config.sampling == "skip" else (2,)
        stride = int(rng.choice([s for s in strides if s in positions]))
        lefts = positions[stride]
        a, b = np.searchsorted(lefts, (start, start + SLOT))
        left = int(lefts[rng.integers(a, b)] if a < b else rng.choice(lefts))

        def window(left: int, frames: int) -> Window:
            step = int(rng.integers(1, stride))
            return _window(sequence, self.config, left, stride, step, frames)

        shot = _shot(sequence, left)
        layout = self._layout(
            window,
            left,
            stride,
            {k for k in lefts.tolist() if shot[0] <= k < shot[1]},
            inputs,
            nearest,
            augmentation.reverse,
            rng,
        )
        frames = sequence.read([*layout.frames, *layout.targets])
        augmentation = augmentation.fitted(self._size, sequence.size)
        frames = random_crop(frames, augmentation.source_size(self._size), rng)
        frames = augmentation.apply(frames, self._size)
        truth = self._taught(frames, layout) if self.config.flow_teacher == "dis" else None
        return make_sample(frames, layout, truth)

    @staticmethod
    def _taught(frames: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
        """Flow and visibility of the layout's clips as DIS sees them from the targets."""
        place = {number: i for i, number in enumerate(layout.frames)}
        truths = []
        for target, window in zip(frames[len(layout.frames) :], layout.windows, strict=True):
            sides = [frames[place[window.indices[window.left + side]]] for side in (0, 1)]
            truths.append(target_flow(target, *(sides[::-1] if layout.reverse else sides)))
        flows, visible = zip(*truths, strict=True)
        return np.stack(flows), np.stack(visible)

    def _synthetic(
        self,
        g: int,
        augmentation: Augmentation,
        inputs: int,
        nearest: bool = True,
        attempt: int = 0,
    ) -> Sample:
        retry = [attempt] if attempt else []
        rng = np.random.default_rng([self.seed, 3 if self.train else 4, g, *retry])
        dense = self.config.sampling == "dense"
        stride = 2 if dense else int(rng.choice(self.config.strides))

        def window(left: int, frames: int) -> Window:
            if dense:
                return sampling.dense(left - sampling.BEFORE, SCENE, frames)
            return sampling.skip(left, stride, int(rng.integers(1, stride)), SCENE, frames)

        layout = self._layout(
            window,
            SCENE_LEFT,
            stride,
            range(*SCENE),
            inputs,
            nearest,
            augmentation.reverse,
            rng,
        )
        scene = SyntheticScene(rng, augmentation.source_size(self._size), self.textures)

        def clock(i: int) -> float:
            return (i - SCENE_LEFT) / stride

        times = [clock(i) for i in (*layout.frames, *layout.targets)]
        frames = augmentation.apply(scene.render(times), self._size)
        truths = []
        for clip in layout.windows:
            t = clock(clip.target)
            sides = clock(clip.indices[clip.left]), clock(clip.indices[clip.left + 1])
            flow = scene.flow(t, sides)
            truths.append(
                augmentation.apply_to_flow(flow, scene.visible(t, flow, sides), self._size)
            )
        flows, visible = zip(*truths, strict=True)
        return make_sample(frames, layout, (np.stack(flows), np.stack(visible)))

    def _validation(self, g: int) -> Sample:
        i, left = self._slots[g]
        sequence, frames = self.sequences[i], self.config.context_frames
        stride = _validation_stride(self.config, self._places[i])
        window = _window(sequence, self.config, left, stride, stride // 2, frames)
        layout = Layout.single(window, frames)
        return make_sample(centre_crop(sequence.read([*layout.frames, *layout.targets])), layout)

    def _layout(
        self,
        window: Callable[[int, int], Window],
        left: int,
        stride: int,
        allowed: Container[int],
        inputs: int,
        nearest: bool,
        reverse: bool,
        rng: np.random.Generator,
    ) -> Layout:
        """The frames of a sample with one target, or with several.

        Args:
            window: draws the window of a left reference with at most so many inputs.
            left: the left reference of one of the targets.
            stride: frames from input to input.
            allowed: where left references may lie.
            inputs: the number of input frames of the batch.
            nearest: whether the inputs are the nearest frames; else any.
            reverse: whether the clips are played backwards.
            rng: for everything random.
        """
        config, targets = self.config, self.config.targets if self.train else 1
        if targets == 1:
            drawn = window(left, inputs if nearest else config.context_frames)
            return Layout.single(sampling.drop_context(drawn, inputs, rng), inputs, reverse)
        dense = config.sampling == "dense"
        step = 1 if dense else stride
        lefts = multi_target.reference_intervals(left, targets, step, allowed, rng)
        windows = [window(k, config.context_frames) for k in lefts]
        # As many frames as reach from the first clip's first input to the last one's last.
        slots = inputs + targets - (not dense)
        frames, windows = multi_target.share_frames(windows, slots, nearest, rng)
        return Layout(frames, windows, slots, min(config.context_frames, slots), reverse)


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
            "strides must be numbers of at least 2, since the target is between two inputs; "
            f"got {list(config.strides)}"
        )
    if not 2 <= config.min_context_frames <= config.context_frames:
        raise LiftError(
            "min_context_frames and context_frames must satisfy "
            "2 <= min_context_frames <= context_frames, "
            f"got {config.min_context_frames} and {config.context_frames}"
        )
    if config.data_source != "synthetic" and not config.data_root:
        raise LiftError(
            "no training data: give --data_root (a folder of sequences or videos), "
            "or --data_source synthetic, which needs no files"
        )


def _open(config: DataConfig, split: str, train: bool) -> OpenedSplit:
    opened = open_split(
        config.data_root,
        split,
        config.resize_short_side,
        config.val_split,
        config.train_split,
        scan_videos=config.scan_videos,
        cache=config.frame_cache,
        workers=config.num_workers,
        skip_bad=config.skip_bad,
    )
    sequences = _long_enough(opened, config)
    if train:
        sequences = _large_enough(opened, sequences, config)
    if config.frame_cache:
        bar = tqdm(sequences, desc=f"opening {split} frames", unit="sequence", disable=None)
        sequences = [CachedSequence(sequence, config.frame_cache) for sequence in bar]
    elif config.preload:
        bar = tqdm(sequences, desc=f"reading {split} frames", unit="sequence", disable=None)
        sequences = [InMemorySequence(sequence) for sequence in bar]
    return replace(opened, sequences=sequences)


def _long_enough(opened: OpenedSplit, config: DataConfig) -> list[Sequence]:
    need = min(config.strides) + 1 if config.sampling == "skip" else 3
    long, short = _partition(opened.sequences, lambda sequence: _places(sequence, config))
    if short:
        reason = f"without {need} consecutive frames free of cuts, duplicates and damage"
        opened.left_out[reason] = [sequence.name for sequence in short]
    if not long:
        raise LiftError(
            f"{config.data_root}: no sequence of the split {opened.split!r} has {need} consecutive "
            "frames without a cut, a duplicate or damage; add longer sequences or choose smaller "
            "strides"
        )
    return long


def _large_enough(
    opened: OpenedSplit, sequences: list[Sequence], config: DataConfig
) -> list[Sequence]:
    """The sequences to train on; those smaller than the crop are named."""
    crop = config.crop_height, config.crop_width
    large, small = _partition(
        sequences, lambda each: fits(crop, each.size) or fits(crop[::-1], each.size)
    )
    reason = f"smaller than the crop of {crop[1]}x{crop[0]}"
    if small and config.enlarge:
        names = ", ".join(sequence.name for sequence in small[:3])
        more = ", ..." if len(small) > 3 else ""
        opened.notes.append(
            f"{len(small)} of {len(sequences)} sequences are {reason}; their frames are enlarged "
            f"to cover it, bicubic ({names}{more})"
        )
        return sequences
    if small:
        opened.left_out[reason] = [sequence.name for sequence in small]
    if not large:
        height, width = max((s.size for s in sequences), key=lambda size: size[0] * size[1])
        raise LiftError(
            f"{config.data_root}: the crop of {crop[1]}x{crop[0]} is larger than all frames (the "
            f"largest are {width}x{height}); give a smaller --crop_height and --crop_width, or "
            "leave out --no_enlarge"
        )
    return large


def _partition(sequences: list[Sequence], keep: Callable[[Sequence], object]) -> tuple[list, list]:
    kept, others = [], []
    for sequence in sequences:
        (kept if keep(sequence) else others).append(sequence)
    return kept, others


def _places(sequence: Sequence, config: DataConfig) -> dict[int, np.ndarray]:
    """Valid left references by stride; strides without any are omitted."""
    strides = set(config.strides) if config.sampling == "skip" else {2}
    positions = {
        s: sampling.skip_lefts(len(sequence), s, sequence.cuts, sequence.duplicates)
        for s in strides
    }
    return {s: lefts for s, lefts in positions.items() if len(lefts)}


def _shot(sequence: Sequence, i: int) -> tuple[int, int]:
    """The shot that contains frame i."""
    return next((a, b) for a, b in sampling.shots(len(sequence), sequence.cuts) if a <= i < b)


def _window(
    sequence: Sequence, config: DataConfig, left: int, stride: int, step: int, frames: int
) -> Window:
    shot = _shot(sequence, left)
    if config.sampling == "dense":
        return sampling.dense(left - sampling.BEFORE, shot, frames, sequence.timestamps)
    return sampling.skip(left, stride, step, shot, frames, sequence.timestamps)


def _validation_stride(config: DataConfig, positions: dict[int, np.ndarray]) -> int:
    first = config.strides[0] if config.sampling == "skip" else 2
    return first if first in positions else min(positions)


def _validation_slots(
    positions: list[dict[int, np.ndarray]], config: DataConfig, clips: int
) -> list[tuple[int, int]]:
    """(sequence, left reference) of the validation clips.

    They are spread evenly over each sequence, the sequences taking turns.
    """
    if not positions:
        return []
    each = -(-clips // len(positions))
    rounds = []
    for i, position in enumerate(positions):
        lefts = position[_validation_stride(config, position)]
        count = min(each, len(lefts))
        picks = ((np.arange(count) + 0.5) * len(lefts) / count).astype(int)
        rounds.append([(i, int(lefts[p])) for p in picks])
    turns = [r[k] for k in range(each) for r in rounds if k < len(r)]
    return turns[:clips]
