"""The source beside the result."""

import numpy as np

from lift.io.decoded_frame import DecodedFrame
from lift.video.compare import doubled, side_by_side


def test_the_source_is_left_and_the_result_right():
    source = DecodedFrame(np.full((4, 6, 3), 10, np.uint16), None, np.zeros((4, 6), np.uint16))
    pair = side_by_side(source, np.full((4, 6, 3), 90, np.uint16))
    assert pair.shape == (4, 12, 3) and pair.dtype == np.uint16 and doubled((6, 4)) == (12, 4)
    assert (pair[:, :6] == 10).all() and (pair[:, 6:] == 90).all()
