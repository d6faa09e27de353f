"""Claims about `Clip`: what it accepts, and what playing it backwards means."""

import pytest
import torch

from lift.data.clip import Clip, pair


def clip(frames=5, left=2, size=8) -> Clip:
    g = torch.Generator().manual_seed(0)
    times = torch.arange(frames).float()[None] - left
    return Clip(
        torch.rand(1, frames, 3, size, size, generator=g),
        times,
        torch.ones(1, frames, dtype=torch.bool),
        left,
    )


def test_references_are_the_frames_at_time_zero_and_one():
    c = clip()
    first, second = c.references
    assert torch.equal(first, c.frames[:, 2]) and torch.equal(second, c.frames[:, 3])
    assert c.times[0, c.left] == 0 and c.times[0, c.left + 1] == 1


def test_reversed_clip_swaps_the_references_and_keeps_them_at_zero_and_one():
    c = clip(frames=6, left=1)
    back = c.reversed()
    assert torch.equal(back.references[0], c.references[1]) and torch.equal(
        back.references[1], c.references[0]
    )
    assert back.times[0, back.left] == 0 and back.times[0, back.left + 1] == 1


def test_reversing_twice_changes_nothing():
    c = clip()
    again = c.reversed().reversed()
    assert (
        again.left == c.left
        and torch.equal(again.frames, c.frames)
        and torch.equal(again.times, c.times)
    )


def test_times_stay_float32_when_frames_become_half():
    c = clip().to(torch.float16)
    assert c.frames.dtype == torch.float16 and c.times.dtype == torch.float32


def test_a_pair_is_a_clip_without_context():
    c = pair(torch.zeros(2, 3, 4, 6), torch.ones(2, 3, 4, 6))
    assert (
        c.frames.shape == (2, 2, 3, 4, 6) and c.times.tolist() == [[0, 1], [0, 1]] and c.mask.all()
    )


WRONG = [
    (dict(frames=torch.zeros(1, 3, 8, 8)), r"frames must be \(B, T, 3, H, W\)"),
    (dict(frames=torch.zeros(1, 5, 4, 8, 8)), r"frames must be \(B, T, 3, H, W\)"),
    (dict(times=torch.zeros(1, 4)), "times must be"),
    (dict(mask=torch.ones(2, 5, dtype=torch.bool)), "mask must be"),
    (dict(mask=torch.ones(1, 5)), "mask must be bool"),
    (dict(left=4), "left must be in 0..3"),
    (dict(left=-1), "left must be in 0..3"),
]


@pytest.mark.parametrize("change, words", WRONG)
def test_wrong_shapes_are_named(change, words):
    c = clip()
    with pytest.raises(ValueError, match=words):
        Clip(**{**dict(frames=c.frames, times=c.times, mask=c.mask, left=c.left), **change})
