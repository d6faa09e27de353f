"""Claims about windows: where inputs and targets lie, at what times, and what they never do."""

import numpy as np
import pytest

from lift.data import sampling
from lift.data.sampling import Window, dense, drop_context, skip


def test_dense_window_is_the_sixteen_frames_with_the_eighth_as_target():
    w = dense(20, (0, 64))
    assert w.indices == tuple(20 + i for i in range(16) if i != 8)
    assert w.target == 28 and w.t == 0.5
    assert w.indices[w.left] == 27 and w.indices[w.left + 1] == 29
    assert w.times == tuple((i - 7) / 2 for i in range(16) if i != 8)


def test_skip_window_takes_every_second_frame_eight_on_the_left_and_seven_on_the_right():
    w = skip(left=20, stride=2, step=1, shot=(0, 64))
    assert w.indices == tuple(range(6, 36, 2)) and len(w.indices) == 15
    assert w.left == 7 and w.indices[w.left] == 20
    assert w.times == tuple(float(t) for t in range(-7, 8))
    assert w.target == 21 and w.t == 0.5


@pytest.mark.parametrize("stride", [2, 3, 4, 7])
def test_every_frame_between_the_references_can_be_the_target(stride):
    for step in range(1, stride):
        w = skip(10, stride, step, (0, 64))
        assert w.target == 10 + step and w.t == pytest.approx(step / stride)
        assert w.indices[w.left] < w.target < w.indices[w.left + 1]


@pytest.mark.parametrize("frames, before, after", [(2, 0, 0), (3, 1, 0), (4, 1, 1), (15, 7, 6)])
def test_fewer_frames_are_the_nearest_ones_on_both_sides(frames, before, after):
    w = skip(30, 2, 1, (0, 64), frames)
    assert w.left == before and len(w.indices) - before - 2 == after
    assert np.diff(w.indices).tolist() == [2] * (frames - 1)


def test_frames_beyond_the_ends_of_a_shot_are_left_out_not_repeated():
    w = skip(12, 2, 1, (10, 17))
    assert w.indices == (10, 12, 14, 16) and w.times == (-1.0, 0.0, 1.0, 2.0) and w.left == 1
    assert dense(3, (10, 13)).indices == (10, 12)


@pytest.mark.parametrize("mode", ["skip", "dense"])
def test_no_window_crosses_a_cut_and_no_gap_holds_a_repeated_frame(mode):
    length, cuts, duplicates = 60, (17, 18, 40), (25, 50)
    edges = sampling.shots(length, cuts)
    lefts = (
        sampling.skip_lefts(length, 2, cuts, duplicates)
        if mode == "skip"
        else sampling.dense_firsts(length, cuts, duplicates)
    )
    assert len(lefts)
    for left in lefts.tolist():
        target = left + 1 if mode == "skip" else left + 8
        shot = next((a, b) for a, b in edges if a <= target < b)
        w = skip(left, 2, 1, shot) if mode == "skip" else dense(left, shot)
        for cut in cuts:
            assert len({i < cut for i in (*w.indices, w.target)}) == 1
        assert not {w.target, w.indices[w.left + 1]} & set(duplicates)


def test_every_valid_left_reference_is_found():
    length, cuts, duplicates = 30, (11,), (20,)
    for stride in (2, 3, 5):
        valid = [
            a
            for a in range(length - stride)
            if not any(a < x <= a + stride for x in (*cuts, *duplicates))
        ]
        assert sampling.skip_lefts(length, stride, cuts, duplicates).tolist() == valid
    assert sampling.skip_lefts(2, 2).tolist() == []


def test_target_is_never_an_input():
    for w in (skip(20, 4, 2, (0, 64)), dense(0, (0, 64))):
        assert w.target not in w.indices and 0 < w.t < 1


def test_times_follow_the_clock_where_the_rate_varies():
    seconds = np.array([0, 1, 2, 5, 6, 7, 8.0])
    w = skip(2, 2, 1, (0, 7), timestamps=seconds)  # references at 2 s and 6 s, target at 5 s
    assert w.t == pytest.approx(0.75)
    assert w.times == pytest.approx((-0.5, 0, 1, 1.5))


def test_dropping_context_keeps_the_references_and_draws_among_the_others():
    w, seen = skip(20, 2, 1, (0, 64)), set()
    for seed in range(50):
        d = drop_context(w, 5, np.random.default_rng(seed))
        assert (
            len(d.indices) == 5
            and d.indices[d.left : d.left + 2] == (20, 22)
            and d.times[d.left : d.left + 2] == (0, 1)
        )
        assert all(
            w.times[w.indices.index(i)] == t for i, t in zip(d.indices, d.times, strict=True)
        )
        assert list(d.indices) == sorted(d.indices) and (d.target, d.t) == (w.target, w.t)
        seen.update(d.indices)
    assert seen == set(w.indices)
    assert drop_context(w, 2, np.random.default_rng(0)).indices == (20, 22)
    assert drop_context(w, 15, np.random.default_rng(0)) == w


WRONG = [
    (lambda: skip(10, 2, 2, (0, 64)), "step must be in"),
    (lambda: skip(10, 2, 0, (0, 64)), "step must be in"),
    (lambda: skip(10, 2, 1, (0, 12)), "references 10 and 12 must be in the shot"),
    (lambda: dense(0, (8, 64)), "frames 7 to 9 must be in the shot"),
    (lambda: skip(10, 2, 1, (0, 64), frames=1), "at least 2"),
    (lambda: drop_context(skip(10, 2, 1, (0, 64)), 1, np.random.default_rng(0)), "at least 2"),
    (lambda: Window((1, 2), (0.0,), 0, 3, 0.5), "one length"),
    (lambda: Window((1, 2), (0.0, 1.0), 1, 3, 0.5), "left must be in"),
]


@pytest.mark.parametrize("call, words", WRONG)
def test_impossible_windows_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
