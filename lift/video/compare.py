"""The source beside the result, each frame of the source held as long as it is displayed."""

import numpy as np

from lift.io.decoded_frame import DecodedFrame, rgb_of


def doubled(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the two pictures side by side."""
    return 2 * size[0], size[1]


def side_by_side(held: np.ndarray | DecodedFrame, frame: np.ndarray | DecodedFrame) -> np.ndarray:
    """The frame that the source displays, left, and the output's, right: (H, 2 W, 3)."""
    return np.concatenate([rgb_of(held), rgb_of(frame)], 1)
