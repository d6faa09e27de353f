import cv2
import numpy as np
import pytest

from lift.scenes.detector import LOOK_AHEAD, CutDetector, number_shots
from lift.video.cut_list import KnownCuts
from tests.support.video_samples import moving_frames

HEIGHT, WIDTH = 72, 128
RED, BLUE = (200, 60, 50), (40, 70, 160)


def cuts_of(frames, detector=None):
    detector = detector or CutDetector()
    numbers = [shot for _, shot in number_shots(frames, lambda frame: frame, detector)]
    assert len(numbers) == len(frames)
    return [k for k in range(1, len(numbers)) if numbers[k] != numbers[k - 1]]


def picture(seed, height=HEIGHT, width=WIDTH):
    """(H, W, 3) float32, 0..255: a smooth colour, patches and fine texture."""
    rng = np.random.default_rng(seed)
    layers = (
        (
            strength,
            cv2.resize(rng.normal(0, 1, (height // cell, width // cell, 3)), (width, height)),
        )
        for cell, strength in ((24, 40), (12, 25), (3, 10))
    )
    return sum((s * layer for s, layer in layers), rng.uniform(60, 190, 3)).clip(0, 255)


def shot(seed, count, speed=2):
    """count frames of a pan over one picture, float32."""
    wide = picture(seed, HEIGHT, WIDTH + abs(speed) * count)
    return np.stack([wide[:, speed * k : speed * k + WIDTH] for k in range(count)])


def pixels(frames):
    return list(np.clip(np.round(frames), 0, 255).astype(np.uint8))


def shots(*lengths, first=0):
    frames = np.concatenate([shot(first + k, count) for k, count in enumerate(lengths)])
    return frames, list(np.cumsum(lengths)[:-1])


def flat(count, level):
    return np.full((count, HEIGHT, WIDTH, 3), level, np.float32)


def faded(a, b, count):
    """a, then `count` blended frames, then b; a and b move on in the meantime."""
    weights = (np.arange(1, count + 1) / (count + 1))[:, None, None, None]
    middle = (1 - weights) * a[-count:] + weights * b[:count]
    return np.concatenate([a[:-count], middle, b[count:]])


def region(x, y, size):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * size**2))[..., None]


# -- cuts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", (1, 2, 3, 10, 17, 18, 19))
def test_a_cut_is_found_wherever_it_lies(first):
    assert cuts_of(moving_frames(first, tint=RED) + moving_frames(20 - first, tint=BLUE)) == [first]
    frames, cuts = shots(first, 20 - first)
    assert cuts_of(pixels(frames)) == cuts


@pytest.mark.parametrize(
    "lengths",
    ((1, 1), (4, 1, 1, 1, 4), (1, 2, 2, 2, 2, 1), (3, 3, 3, 3), (2, 1, 3, 1, 2), (8, 5, 8)),
)
def test_shots_of_any_length_are_found(lengths):
    for seed in (0, 20):
        frames, cuts = shots(*lengths, first=seed)
        assert cuts_of(pixels(frames)) == cuts


def with_bars(frames, rows, columns):
    frames = frames.copy()
    frames[:, :rows] = frames[:, HEIGHT - rows :] = 16
    frames[:, :, :columns] = frames[:, :, WIDTH - columns :] = 16
    return frames


@pytest.mark.parametrize(
    "change",
    (
        lambda frames: 8 + 0.1 * frames,
        lambda frames: 255 - 0.2 * (255 - frames),
        lambda frames: np.repeat(frames.mean(-1, keepdims=True), 3, -1),
        lambda frames: with_bars(frames, 16, 0),
        lambda frames: with_bars(frames, 0, 44),
    ),
    ids=("dark", "pale", "grey", "letterbox", "pillarbox"),
)
def test_a_cut_is_found_whatever_the_picture(change):
    frames, cuts = shots(6, 2, 6)
    assert cuts_of(pixels(change(frames))) == cuts


def test_every_slide_is_a_shot():
    slides = np.stack([picture(seed) for seed in range(4)])
    for count in (1, 2, 5):
        assert cuts_of(pixels(np.repeat(slides, count, 0))) == [count, 2 * count, 3 * count]
    assert cuts_of(pixels(np.concatenate([flat(4, (200, 30, 30)), flat(4, (30, 30, 200))]))) == [4]


@pytest.mark.parametrize("level", (0, 255))
@pytest.mark.parametrize("at, count", ((1, 1), (6, 1), (6, 2), (11, 1)))
def test_a_flash_is_a_shot_of_its_own(level, at, count):
    frames = shot(0, 12)
    frames[at : at + count] = level
    assert cuts_of(pixels(frames)) == [cut for cut in (at, at + count) if cut < 12]


def test_a_strobe_an_insert_and_a_black_frame_between_shots_are_not_blended():
    strobe = shot(0, 12)
    strobe[2::4] = 255
    assert cuts_of(pixels(strobe)) == [2, 3, 6, 7, 10, 11]
    insert = shot(0, 12)
    insert[5] = picture(1)
    assert cuts_of(pixels(insert)) == [5, 6]
    frames, _ = shots(6, 6)
    assert cuts_of(pixels(np.concatenate([frames[:6], flat(1, 0), frames[6:]]))) == [6, 7]


def test_a_jump_to_a_closer_view_is_found():
    frames = shot(0, 24, speed=1)
    middle = slice(HEIGHT // 6, -HEIGHT // 6), slice(WIDTH // 6, -WIDTH // 6)
    closer = [cv2.resize(frame[middle], (WIDTH, HEIGHT)) for frame in frames[16:]]
    assert cuts_of(pixels(np.concatenate([frames[:6], closer]))) == [6]


# -- what is no cut ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", (4, 8, 30))
def test_a_fade_is_no_cut(count):
    a, b = shot(0, count + 4), shot(1, count + 4)
    assert cuts_of(pixels(faded(a, b, count))) == []
    for level in (0, 255):
        blank = flat(count + 4, level)
        for first, second in ((a, blank), (blank, a), (0.2 * a, blank), (blank, 0.2 * a)):
            assert cuts_of(pixels(faded(first, second, count))) == []


def test_a_fade_in_of_noise_and_little_light_is_no_cut():
    noise = np.random.default_rng(0).random((20, HEIGHT, WIDTH, 3))
    assert cuts_of(pixels(shot(0, 20) * np.linspace(0, 0.2, 20)[:, None, None, None] + noise)) == []


@pytest.mark.parametrize("speed", (1, 4, 10, 24))
def test_a_pan_is_no_cut(speed):
    assert cuts_of(pixels(shot(0, 12, speed))) == []


def zoomed(factor, angle):
    large = picture(0, 4 * HEIGHT, 4 * WIDTH)
    matrices = (
        cv2.getRotationMatrix2D((2 * WIDTH, 2 * HEIGHT), angle * k, factor**k) for k in range(10)
    )
    frames = (cv2.warpAffine(large, matrix, (4 * WIDTH, 4 * HEIGHT)) for matrix in matrices)
    middle = slice(HEIGHT, 3 * HEIGHT), slice(WIDTH, 3 * WIDTH)
    return np.stack([cv2.resize(frame[middle], (WIDTH, HEIGHT)) for frame in frames])


def shaken():
    jolts = np.random.default_rng(0).integers(-8, 9, (12, 2))
    large = picture(0, HEIGHT + 16, WIDTH + 16)
    return np.stack([large[8 + y :, 8 + x :][:HEIGHT, :WIDTH] for y, x in jolts])


def crossed_by_an_object():
    frames, thing = shot(0, 14, 1), picture(1, 60, 60)
    for k in range(2, 12):
        left = 10 * k - 40
        visible = slice(max(left, 0), left + 60)
        frames[k, 6:66, visible] = thing[:, max(-left, 0) :][:, : WIDTH - max(left, 0)]
    return frames


def lit(at, count, strength, where):
    frames = 0.5 * shot(0, 14)
    frames[at : at + count] *= 1 + strength * where
    return frames


LEFT_HALF = 1 / (1 + np.exp((np.arange(WIDTH) - WIDTH / 2) / 8))[:, None]
NOT_CUTS = {
    "zoom in": zoomed(1.06, 0),
    "zoom out and turn": zoomed(0.95, 3),
    "shake": shaken(),
    "a big object": crossed_by_an_object(),
    "exposure": shot(0, 12) * np.where(np.arange(12) < 6, 1, 0.5)[:, None, None, None],
    "flicker": shot(0, 12) * (0.8 + 0.2 * (-1) ** np.arange(12))[:, None, None, None],
    "a lamp": lit(5, 3, np.array([1.5, 1.2, 0.8]), region(40, 30, 25)),
    "lightning": lit(5, 1, 1.0, LEFT_HALF),
    "threes": np.repeat(shot(0, 6, 4), 3, 0),
    "noise": 20 + 0.2 * shot(0, 8) + np.random.default_rng(0).normal(0, 4, (8, HEIGHT, WIDTH, 3)),
    "black": flat(6, 0),
    "still": np.repeat(picture(0)[None], 6, 0),
}


@pytest.mark.parametrize("name", NOT_CUTS)
def test_motion_and_light_are_no_cuts(name):
    assert cuts_of(pixels(NOT_CUTS[name])) == []


def test_motion_that_halts_and_catches_up_in_a_cross_fade_is_no_cut():
    first, second = shot(0, 24, 3).copy(), shot(3, 24, 1)
    for k in (9, 11):
        first[k] = first[k - 1]
    share = (np.arange(24) / 23)[:, None, None, None]
    assert cuts_of(pixels((1 - share) * first + share * second)) == []


def test_doubled_frames_are_no_cuts():
    assert cuts_of([frame for frame in moving_frames(10) for _ in range(2)]) == []


# -- the stream --------------------------------------------------------------------------------


def test_a_decision_depends_on_two_frames_on_each_side():
    frames, cuts = shots(5, 1, 2, 6, 4)
    frames = pixels(faded(frames, shot(9, 10), 4))
    all_cuts = cuts_of(frames)
    assert all_cuts == cuts
    for start in range(1, len(frames) - 4):
        part = cuts_of(frames[start : start + 5])
        assert (2 in part) == (start + 2 in all_cuts)


def test_a_higher_threshold_finds_fewer_cuts():
    frames = pixels(shots(4, 4, 4)[0])
    found = [cuts_of(frames, CutDetector(threshold)) for threshold in (0.2, 0.5, 1.0)]
    assert found == [[4, 8], [4, 8], []]
    for threshold in (0, 1.5):
        with pytest.raises(ValueError, match="threshold"):
            CutDetector(threshold)


def test_every_type_of_pixel_gives_the_same_cuts():
    frames, cuts = shots(4, 1, 4)
    frames = np.stack(pixels(frames))
    assert cuts_of(list(frames.astype(np.uint16) * 257)) == cuts
    linear = (frames / 255.0) ** 2.2
    for dtype in (np.float32, np.float16):
        assert cuts_of(list(linear.astype(dtype))) == cuts


@pytest.mark.parametrize("size", ((1, 1), (2, 500), (500, 2), (17, 33)))
def test_frames_of_any_size_are_compared(size):
    dark, light = np.zeros((*size, 3), np.uint8), np.full((*size, 3), 200, np.uint8)
    assert cuts_of([dark, dark, light, light]) == [2]


@pytest.mark.parametrize("count", (0, 1))
def test_a_frame_alone_is_one_shot(count):
    assert cuts_of(moving_frames(count)) == []


def test_frames_come_out_a_constant_distance_behind():
    read = 0

    def counted():
        nonlocal read
        for frame in moving_frames(30):
            read += 1
            yield frame

    for k, _ in enumerate(number_shots(counted(), lambda frame: frame, CutDetector())):
        assert read <= k + 1 + LOOK_AHEAD


def test_without_a_detector_all_is_one_shot():
    frames = moving_frames(5, tint=RED) + moving_frames(5, tint=BLUE)
    assert {shot for _, shot in number_shots(frames, lambda frame: frame, None)} == {0}


def test_known_cuts_take_the_place_of_the_detector():
    def picture_of(item):
        raise AssertionError("known cuts need no picture")

    numbered = number_shots(range(8), picture_of, KnownCuts([3, 5]), time=lambda item: item / 25)
    assert [shot for _, shot in numbered] == [0, 0, 0, 1, 1, 2, 2, 2]
