from fractions import Fraction

import numpy as np
import pytest

from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout
from lift.io.outputs import Parts, VideoOutput
from lift.io.timing import WHOLE

av = pytest.importorskip("av")

RATE, TICK = Fraction(50), Fraction(1, 90_000)


@pytest.mark.parametrize(
    "places, is_constant",
    (((0, 1, 2, 3), True), ((0, Fraction(11, 10), 2, 3), True), ((0, 1, Fraction(5, 2), 3), False)),
)
def test_avi_counts_frames_at_a_constant_rate(tmp_path, places, is_constant):
    work, target = tmp_path / "work", tmp_path / "a.avi"
    work.mkdir()
    layout = FrameLayout()
    encoding = choose_encoding(".avi", layout, size=(64, 48), codec="mpeg4")
    output = VideoOutput(Parts(work), target, (64, 48), encoding, RATE, TICK, None, layout)
    output.plan_streams(".avi", None, "copy", WHOLE, RATE / 2)
    output.begin(0)
    for place in places:
        output.write(np.zeros((48, 64, 3), np.uint8), place / RATE)
    output.end()
    output.publish(target, [len(places)], len(places) / RATE)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.time_base == 1 / RATE) == is_constant
        times = [packet.dts for packet in container.demux(stream) if packet.size]
    assert times == list(range(len(places))) or not is_constant
