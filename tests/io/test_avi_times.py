from fractions import Fraction

import numpy as np
import pytest

from lift.io.decode import open_frames

av = pytest.importorskip("av")


def write_avi(path, encoder, b_frames, left_out=()):
    """Frames at 25 a second, those `left_out` missing, with this number of B-frames."""
    options = {"bf": str(b_frames)}
    if encoder == "libx264":
        options |= {"preset": "veryfast", "x264-params": "b-adapt=0:b-pyramid=normal"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(14):
            if k in left_out:
                continue
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 16 * k, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("encoder, b_frames", (("libx264", 0), ("libx264", 3), ("mpeg4", 2)))
def test_frames_of_an_avi_file_are_a_constant_time_apart(tmp_path, encoder, b_frames):
    source = open_frames(write_avi(tmp_path / "a.avi", encoder, b_frames))
    frames = list(source.decoded())
    assert [time for _, time in frames] == [Fraction(k, 25) for k in range(14)]
    levels = [int(frame.rgb.mean()) for frame, _ in frames]
    assert levels == sorted(levels) and not source.notes


def test_frames_that_an_avi_file_leaves_out_are_no_damage(tmp_path):
    missing = (5, 6, 7)
    source = open_frames(write_avi(tmp_path / "a.avi", "mpeg4", 0, missing))
    times = [time for _, time in source.decoded()]
    assert times == [Fraction(k, 25) for k in range(14) if k not in missing]
    assert not source.notes
