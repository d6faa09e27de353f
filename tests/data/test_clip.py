"""Clips: accepted shapes, shared frames, time reversal."""

import pytest
import torch

from lift.data.clip import Clip, frames_around, pair


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


@pytest.mark.parametrize("frames, sides", [(2, (1, 1)), (3, (2, 1)), (4, (2, 2)), (15, (8, 7))])
def test_fifteen_frames_are_eight_on_the_left_and_seven_on_the_right(frames, sides):
    assert frames_around(frames) == sides
    clip = Clip.evenly_spaced(torch.zeros(2, frames, 3, 4, 6))
    assert clip.times[1].tolist() == list(range(1 - sides[0], sides[1] + 1))
    assert clip.mask.all() and clip.times[0, clip.left] == 0


def test_one_frame_is_no_clip():
    with pytest.raises(ValueError, match="at least 2 input frames"):
        frames_around(1)


def shared() -> Clip:
    """Two windows of four frames, two targets each."""
    return Clip(
        torch.rand(2, 4, 3, 4, 6),
        times=torch.tensor([[0.0, 1, 2]] * 4),
        mask=torch.tensor([[True, True, False]] * 4),
        frame_index=torch.tensor([[0, 1, 2], [1, 2, 3], [4, 5, 6], [5, 6, 7]]),
    )


def test_shared_frames_are_those_of_separate_clips():
    c = shared()
    alone = c.separate()
    assert alone.frame_index is None and alone.separate() is alone
    assert alone.frames.shape == (4, 3, 3, 4, 6) and torch.equal(
        alone.indices[1], torch.arange(3, 6)
    )
    assert torch.equal(alone.frames[3, 0], c.frames[1, 1])
    for frame, other in zip(c.references, alone.references, strict=True):
        assert torch.equal(frame, other)


def test_shared_frames_reverse_like_separate_ones():
    back, alone = shared().reversed(), shared().separate().reversed()
    assert torch.equal(back.times, alone.times) and back.left == alone.left == 1
    assert torch.equal(back.separate().mask, alone.mask)
    c = shared()
    assert torch.equal(c.reversed().separate().frames, c.separate().reversed().frames)


def test_moving_a_clip_moves_all_of_it():
    c = shared().to(torch.float16)
    assert c.frames.dtype == torch.float16 and c.frame_index.dtype == torch.int64
    assert shared().to("meta").frame_index.device.type == "meta"


WRONG = [
    (dict(frames=torch.zeros(1, 3, 8, 8)), r"frames must be \(B, N, 3, H, W\)"),
    (dict(frames=torch.zeros(1, 5, 4, 8, 8)), r"frames must be \(B, N, 3, H, W\)"),
    (dict(times=torch.zeros(1, 4)), "times must be"),
    (dict(mask=torch.ones(2, 5, dtype=torch.bool)), "mask must be"),
    (dict(mask=torch.ones(1, 5)), "mask must be bool"),
    (dict(frame_index=torch.zeros(1, 4, dtype=torch.long)), "the shape of frame_index"),
    (dict(frame_index=torch.zeros(5, dtype=torch.long)), "C a multiple of B"),
    (dict(left=4), "left must be in 0..3"),
    (dict(left=-1), "left must be in 0..3"),
]


@pytest.mark.parametrize("change, words", WRONG)
def test_wrong_shapes_are_named(change, words):
    c = clip()
    with pytest.raises(ValueError, match=words):
        Clip(**{**dict(frames=c.frames, times=c.times, mask=c.mask, left=c.left), **change})
