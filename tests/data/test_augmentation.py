"""Claims about augmentation: the same for all frames, and the true flow stays true."""

from itertools import product

import cv2
import numpy as np
import pytest

from lift.data.augmentation import Augmentation, centre_crop, enlarge_to_cover, random_crop
from lift.data.synthetic import Layer, Path, SyntheticScene

SIZE = (48, 64)
ALL = [Augmentation(*flags) for flags in product((False, True), repeat=4)]
NAMES = [
    " ".join(n for n in ("flip_x", "flip_y", "rotate", "reverse") if getattr(a, n)) or "nothing"
    for a in ALL
]


def scene(size) -> SyntheticScene:
    noise = np.random.default_rng(0).random((140, 150, 3), np.float32)
    picture = cv2.normalize(
        cv2.GaussianBlur(noise, (0, 0), 2.5), None, 20, 235, cv2.NORM_MINMAX, cv2.CV_8U
    )
    return SyntheticScene.from_layers(
        [Layer(picture, Path((30, 26), velocity=(6.5, -3.2), spin=0.1, growth=0.05))], size
    )


@pytest.mark.parametrize("scale", [(1, 1), (2, 2), (0.8, 0.7), (1.2, 0.9)])
@pytest.mark.parametrize("augmentation", ALL, ids=NAMES)
def test_flow_stays_true(augmentation, scale):
    a = Augmentation(
        augmentation.flip_x,
        augmentation.flip_y,
        augmentation.rotate,
        augmentation.reverse,
        scale=scale,
    )
    t = 0.3
    s = scene(a.source_size(SIZE))
    frames = a.apply(s.render([0, 1, t]), SIZE).astype(np.float32)
    flow, visible = a.apply_to_flow(s.flow(t), s.visible(t), SIZE)
    assert (
        frames.shape == (3, *SIZE, 3) and flow.shape == (4, *SIZE) and visible.shape == (2, *SIZE)
    )
    references = frames[[1, 0]] if a.reverse else frames[:2]
    x, y = np.meshgrid(np.arange(SIZE[1], dtype=np.float32), np.arange(SIZE[0], dtype=np.float32))
    for side in (0, 1):
        seen = visible[side] > 0
        reference = np.ascontiguousarray(references[side])
        warped = cv2.remap(
            reference,
            x + flow[2 * side],
            y + flow[2 * side + 1],
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        assert seen.mean() > 0.6
        assert np.abs(warped - frames[2])[seen].mean() < 1.5
        still = np.abs(references[side] - frames[2])[seen].mean()
        assert still > 6, "the scene moves too little for this test to notice a wrong flow"


def test_all_eight_orientations_are_reached():
    picture = np.arange(16 * 16 * 3, dtype=np.int64).reshape(1, 16, 16, 3)
    results = {a.apply(picture, (16, 16)).tobytes() for a in ALL}
    assert len(results) == 8


def test_rotation_turns_right_into_up():
    frames = np.zeros((1, 4, 6, 3), np.uint8)
    frames[0, 0, 5] = 255  # top right goes to top left
    a = Augmentation(rotate=True)
    assert a.apply(frames, (6, 4))[0, 0, 0, 0] == 255
    flow = np.zeros((4, 4, 6), np.float32)
    flow[0], flow[3] = 1, 1  # right, and down
    turned, _ = a.apply_to_flow(flow, np.ones((2, 4, 6), np.float32), (6, 4))
    assert turned[:, 0, 0].tolist() == [0, -1, 1, 0]  # up, and right


def test_channels_are_reversed_together():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    assert np.array_equal(Augmentation(channels=(2, 1, 0)).apply(frames, (8, 8)), frames[..., ::-1])


def test_twice_the_size_takes_half_the_crop():
    a = Augmentation(scale=(2, 2))
    assert a.source_size((48, 64)) == (24, 32)
    assert Augmentation(scale=(2, 2), rotate=True).source_size((48, 64)) == (32, 24)
    assert Augmentation(scale=(0.5, 2), rotate=True).source_size((48, 64)) == (32, 96)
    assert a.source_size((47, 63)) == (24, 32)


def test_draws_are_even_and_enlarge_one_time_in_ten():
    rng = np.random.default_rng(0)
    drawn = [Augmentation.draw(rng) for _ in range(4000)]
    for name in ("flip_x", "flip_y", "rotate", "reverse"):
        assert 0.46 < np.mean([getattr(a, name) for a in drawn]) < 0.54
    assert 0.46 < np.mean([a.channels == (2, 1, 0) for a in drawn]) < 0.54
    assert 0.08 < np.mean([a.scale == (2, 2) for a in drawn]) < 0.12


def test_rescaled_clips_are_drawn_between_the_bounds_and_stretched():
    rng = np.random.default_rng(0)
    drawn = [Augmentation.draw(rng, max_scale=1.5) for _ in range(4000)]
    scales = np.array([a.scale for a in drawn if a.scale not in ((1, 1), (2, 2))])
    assert 0.42 < len(scales) / len(drawn) < 0.48
    mean, stretch = np.sqrt(scales.prod(1)), np.sqrt(scales[:, 0] / scales[:, 1])
    assert 1 / 1.5 < mean.min() < 0.68 and 1.48 < mean.max() < 1.5
    assert 1 / 1.15 < stretch.min() < 0.88 and 1.13 < stretch.max() < 1.15


def test_compression_changes_frames_little_and_as_often_as_asked():
    rng = np.random.default_rng(0)
    drawn = [Augmentation.draw(rng, jpeg_prob=0.25) for _ in range(4000)]
    qualities = [a.jpeg_quality for a in drawn if a.jpeg_quality]
    assert 0.22 < len(qualities) / len(drawn) < 0.28
    assert min(qualities) == 40 and max(qualities) == 95
    frames = scene(SIZE).render([0, 1])
    good, poor = (
        np.abs(Augmentation(jpeg_quality=q).apply(frames, SIZE) - frames.astype(float)).mean()
        for q in (95, 40)
    )
    assert 0 < good < poor < 10


def test_options_leave_the_draws_of_runs_without_them_as_they_were():
    plain, other = np.random.default_rng(3), np.random.default_rng(3)
    assert Augmentation.draw(plain) == Augmentation.draw(other, 1.0, 0.0)
    assert plain.random() == other.random()


def test_random_crop_is_the_same_part_of_every_frame_and_reaches_the_corners():
    frames = np.repeat(np.arange(12 * 14, dtype=np.uint8).reshape(1, 12, 14, 1), 3, 3).repeat(2, 0)
    firsts = set()
    for seed in range(200):
        crop = random_crop(frames, (10, 12), np.random.default_rng(seed))
        assert crop.shape == (2, 10, 12, 3) and np.array_equal(crop[0], crop[1])
        firsts.add(int(crop[0, 0, 0, 0]))
    assert firsts == {y * 14 + x for y in range(3) for x in range(3)}


def test_frames_smaller_than_the_crop_are_enlarged_to_cover_it():
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    assert enlarge_to_cover(frames, (40, 40)).shape == (2, 40, 60, 3)
    assert enlarge_to_cover(frames, (20, 30)) is frames
    assert random_crop(frames, (40, 40), np.random.default_rng(0)).shape == (2, 40, 40, 3)


def test_centre_crop_has_sides_that_are_multiples_and_lies_in_the_middle():
    frames = np.zeros((1, 256, 455, 3), np.uint8)
    frames[0, 128, 227] = 255
    crop = centre_crop(frames)
    assert crop.shape == (1, 256, 448, 3) and crop[0, 128, 224, 0] == 255
    assert centre_crop(np.zeros((1, 20, 40, 3), np.uint8)).shape == (1, 20, 32, 3)
