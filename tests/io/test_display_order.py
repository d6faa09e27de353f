"""Times of decoded frames whose file states falling ones."""

from types import SimpleNamespace

import pytest

from lift.io.display_order import PROBED, DisplayOrder

# of an Xvid file whose packets hold two frames: (pts, dts) as they leave the decoder
PACKED = [(1, 3), (4, 4), (6, 5), (5, 6), (7, 7), (9, 8), (8, 9), (10, 10), (12, 11), (11, None)]


def frames(times):
    return [SimpleNamespace(pts=pts, dts=dts) for pts, dts in times]


def passed(times, codec="mpeg4"):
    order = DisplayOrder(codec)
    out = [frame for each in frames(times) for frame in order([each])]
    return [frame.pts for frame in [*out, *order.finish()]], order.is_corrected


def test_packed_b_frames_get_the_times_at_which_they_are_decoded():
    assert passed(PACKED) == ([1, 4, 5, 6, 7, 8, 9, 10, 11, 12], True)


def test_a_long_stream_is_corrected_throughout():
    times = [*PACKED[:-1], *((k + 1 - 2 * (k % 2), k) for k in range(12, 60))]
    pts, is_corrected = passed(times)
    assert is_corrected and pts == [1, *range(4, 60)]


@pytest.mark.parametrize(
    "times",
    [
        [(k, k - 1) for k in range(40)],  # rising
        [(4, 4), (6, 7), (5, 6), (7, 8)],  # decoding times fall too: nothing better is known
        [(None, k) for k in range(20)],
        [],
    ],
)
def test_other_times_stay(times):
    assert passed(times) == ([pts for pts, _ in times], False)


def test_no_frame_of_another_codec_waits():
    order = DisplayOrder("h264")
    for frame in frames(PACKED):
        assert order([frame]) == [frame]
    assert [frame.pts for frame in frames(PACKED)] == [pts for pts, _ in PACKED]


def test_few_frames_wait():
    order = DisplayOrder("mpeg4")
    assert len([f for f in frames([(k, k) for k in range(PROBED - 1)]) if order([f])]) == 0
    assert len(order(frames([(PROBED, PROBED)]))) == PROBED
