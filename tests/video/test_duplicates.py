from fractions import Fraction
from itertools import count, islice

import cv2
import numpy as np
import pytest

from lift.video.duplicates import LOOK_AHEAD, Change, DistinctFrames, repeats
from lift.video.schedule import FixedRateSchedule, MultiplierSchedule

H, W = 48, 64
TEXTURE = np.kron(np.random.default_rng(0).integers(40, 215, (H // 4, 60, 3)), np.ones((4, 4, 1)))


def picture(k, speed=2, noise=0.0, seed=0):
    """A pan, and noise of a codec: different in each frame."""
    x = k * speed % (TEXTURE.shape[1] - W)
    frame = TEXTURE[:, x : x + W]
    if noise:
        frame = frame + np.random.default_rng(seed).normal(0, noise, frame.shape)
    return frame.clip(0, 255).astype(np.uint8)


def film(numbers, noise=0.0, shots=None, fps=30):
    """((frame, time), shot) of the pictures with these numbers."""
    for k, number in enumerate(numbers):
        shot = shots[k] if shots else 0
        yield (picture(number, noise=noise, seed=k), Fraction(k, fps)), shot


def distinct(numbers, **options):
    return list(DistinctFrames(film(numbers, **options), lambda frame: frame))


def shown(frames):
    """Times of distinct frames, in intervals of the source."""
    return [30 * frame.time for frame in frames]


def all_outputs(frames, schedule):
    pairs = zip(frames, frames[1:], strict=False)
    return [
        output
        for a, b in pairs
        for output in schedule.between(a.time, b.time, None, b.source_times)
    ] + schedule.last(frames[-1].time)


CADENCES = {
    "no duplicates": list(range(20)),
    "on twos": [k // 2 for k in range(20)],
    "on threes": [k // 3 for k in range(20)],
    "24 in 30": [4 * k // 5 for k in range(30)],
    "24 in 60": [2 * k // 5 for k in range(30)],
    "a frame that was dropped": [*range(8), 7, *range(9, 20)],
    "still": [3] * 20,
    "a pause": [*range(6), *[6] * 12, *range(7, 14)],
    "one frame": [1],
    "two equal frames": [1, 1],
}


@pytest.mark.parametrize("noise", (0.0, 3.0), ids=("lossless", "noisy"))
@pytest.mark.parametrize("name", CADENCES)
def test_outputs_are_at_every_time_they_would_have_been_at(name, noise):
    frames = distinct(CADENCES[name], noise=noise)
    n = len(CADENCES[name])
    for multi in (2, 3):
        times = [time for _, time in all_outputs(frames, MultiplierSchedule(multi))]
        assert times == [Fraction(k, 30 * multi) for k in range((n - 1) * multi + 1)]
    at_rate = [time for _, time in all_outputs(frames, FixedRateSchedule(Fraction(50)))]
    assert at_rate == [Fraction(k, 50) for k in range((n - 1) * 50 // 30 + 1)]


@pytest.mark.parametrize("noise", (0.0, 3.0), ids=("lossless", "noisy"))
@pytest.mark.parametrize(
    "name, times",
    (
        ("no duplicates", list(range(20))),
        ("on twos", [*range(0, 20, 2), 19]),
        ("on threes", [*range(0, 20, 3), 19]),
        ("24 in 30", [Fraction(5, 4) * k for k in range(12)]),
        ("24 in 60", [Fraction(5, 2) * k for k in range(6)]),
        ("a frame that was dropped", [*range(8), *range(9, 20)]),
        ("still", list(range(20))),
        ("a pause", list(range(25))),
    ),
)
def test_distinct_frames_and_their_times(name, times, noise):
    assert shown(distinct(CADENCES[name], noise=noise))[: len(times)] == times


@pytest.mark.parametrize("name", ("on twos", "24 in 30", "24 in 60"))
def test_motion_is_even(name):
    """The picture that belongs to a time advances by the same amount from output to output."""
    numbers = CADENCES[name]
    frames = distinct(numbers)
    number = {picture(n).tobytes(): n for n in numbers}
    at = [(frame.time, number[frame.frame.tobytes()]) for frame in frames]
    speeds = [(n1 - n0) / (t1 - t0) for (t0, n0), (t1, n1) in zip(at, at[1:], strict=False)]
    assert max(speeds[:-1]) / min(speeds[:-1]) == pytest.approx(1, abs=0.03)


def test_a_small_moving_object_is_motion():
    still = picture(0)

    def frames():
        for k in range(20):
            frame = still.copy()
            frame[20:26, 3 * k : 3 * k + 4] = 255
            yield (frame, Fraction(k, 30)), 0

    assert len(list(DistinctFrames(frames(), lambda frame: frame))) == 20


def test_frames_at_a_cut_stay():
    numbers = [0, 0, 1, 1, 2, 2, 3, 3]
    shots = [0, 0, 0, 0, 1, 1, 1, 1]
    frames = distinct(numbers, shots=shots)
    assert [(30 * f.time, f.shot) for f in frames] == [
        (0, 0), (2, 0), (3, 0), (4, 1), (6, 1), (7, 1)
    ]  # fmt: skip
    assert frames[3].source_times == (Fraction(3, 30), Fraction(4, 30))


def test_equal_frames_on_both_sides_of_a_cut_stay():
    frames = distinct([0] * 6, shots=[0, 0, 0, 1, 1, 1])
    assert shown(frames) == [0, 2, 3, 5]


def test_a_longer_gap_can_be_asked_for():
    numbers = [*range(6), 6, 6, 6, *range(7, 14)]
    source = list(film(numbers))
    whole = DistinctFrames(source, lambda frame: frame)
    assert len(list(whole)) == 14 and whole.removed == 2
    short = DistinctFrames(source, lambda frame: frame, max_gap=Fraction(1, 20))
    assert len(list(short)) == 16 and short.removed == 0


@pytest.mark.parametrize("dtype", (np.uint16, np.float32))
def test_deep_and_linear_frames_are_compared_alike(dtype):
    def deep(frame):
        if dtype == np.uint16:
            return frame.astype(np.uint16) * 257
        return (frame / np.float32(255)) ** np.float32(2.2)

    frames = DistinctFrames(film(CADENCES["on twos"], noise=1.0), deep)
    assert shown(frames) == shown(distinct(CADENCES["on twos"], noise=1.0))


def test_a_stream_that_starts_in_the_middle_decides_alike():
    rng = np.random.default_rng(1)
    numbers = np.cumsum([*rng.integers(0, 2, 40), *([1, 1, 1, 1, 0] * 12)])
    source = list(film(numbers))
    whole = {f.time: f.source_times for f in DistinctFrames(source, lambda frame: frame)}
    start = 48
    late = list(DistinctFrames(source[start:], lambda frame: frame))
    settled = Fraction(start + 2 * 36, 30)
    assert {f.time: f.source_times for f in late if f.time > settled} == {
        time: source_times for time, source_times in whole.items() if time > settled
    }


def test_it_is_lazy_and_forgets():
    source = (((picture(k // 2), Fraction(k, 30)), 0) for k in count())
    frames = DistinctFrames(source, lambda frame: frame)
    assert [30 * f.time for f in islice(frames, 50)] == list(range(0, 100, 2))
    (_, time), _ = next(source)
    assert 30 * time <= 98 + LOOK_AHEAD + 1


def test_noise_that_is_everywhere_is_not_motion_but_a_spot_is():
    motion = [Change(40, 20, 5)] * 5
    assert repeats([*motion, Change(6, 2, 1), *motion], 5)
    assert not repeats([*motion, Change(6, 0.2, 0.1), *motion], 5)
    assert not repeats([*motion, Change(12, 6, 3), *motion], 5)
    assert not repeats([Change(9, 3, 1)] * 11, 5)


def test_a_camera_that_moves_behind_animation_on_twos_repeats_nothing():
    texture = np.random.default_rng(0).normal(128, 150, (90, 200, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(texture, (0, 0), 2)
    for pan, zoom, shown in ((0.7, 0, 20), (0, 0.005, 20), (0, 0, 11)):

        def scene(k, pan=pan, zoom=zoom):
            warp = np.float32([[1 + zoom * k, 0, -pan * k - zoom * k * 80], [0, 1 + zoom * k, 0]])
            frame = cv2.warpAffine(texture, warp, (160, 90)).clip(0, 255).astype(np.uint8)
            frame = cv2.circle(frame, (20 + 6 * (k // 2), 40), 14, (255,) * 3, -1)
            noise = np.random.default_rng(k).normal(0, 2, frame.shape)
            return (frame + noise).clip(0, 255).astype(np.uint8)

        frames = [((scene(k), Fraction(k, 24)), 0) for k in range(20)]
        assert len(list(DistinctFrames(frames, lambda frame: frame))) == shown, (pan, zoom)


def test_motion_that_starts_is_no_duplicate():
    rising = [Change(largest, largest / 2, 1) for largest in (0, 0, 0, 0, 0, 3, 6, 10, 20, 40, 40)]
    assert not repeats(rising, 5)
