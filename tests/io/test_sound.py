from fractions import Fraction

import numpy as np
import pytest

from lift.io.sound import ATEMPO_EARLY, atempo_chain, default_layout, lead_of
from lift.io.streams import plan_streams
from lift.io.timing import WHOLE, Timing
from tests.support.media import RATE, join, write_media

av = pytest.importorskip("av")


@pytest.mark.parametrize("factor", (1, 2, 8, Fraction(1, 3), Fraction(7, 2), Fraction(1, 500)))
def test_a_chain_of_tempos_stays_within_limits(factor):
    chain = atempo_chain(Fraction(factor))
    assert all(Fraction(1, 2) <= tempo <= 100 for tempo in chain)
    assert np.prod([1, *chain]) == 1 / Fraction(factor)


def test_slower_sound_is_not_early():
    assert lead_of([]) == 0
    assert lead_of([Fraction(1, 2)] * 3) == ATEMPO_EARLY * Fraction(7, 8)  # 7 times it after * 8


def test_factors_are_positive():
    with pytest.raises(ValueError, match="positive"):
        atempo_chain(Fraction(0))


def test_layouts_are_the_usual_ones():
    assert [default_layout(n) for n in (1, 2, 6, 8, 9, 0)] == [
        "mono",
        "stereo",
        "5.1",
        "7.1",
        None,
        None,
    ]


def samples(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        start = frames[0].pts * frames[0].time_base
    packed = 1 if frames[0].format.is_planar else frames[0].layout.nb_channels
    wave = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return wave[::packed], start


@pytest.mark.parametrize("suffix", (".mp4", ".mkv"))
def test_slow_motion_keeps_the_pitch(tmp_path, suffix):
    source = write_media(tmp_path / "s.mkv", frames=10)
    timing = Timing(factor=Fraction(4))
    path = join(tmp_path / f"a{suffix}", source, timing=timing, sound="stretch")
    wave, start = samples(path)
    assert start == 0 and abs(len(wave) / RATE - 1.6) < 0.05
    middle = wave[RATE // 4 : RATE]
    peak = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)))))
    assert abs(peak * RATE / len(middle) - 440) < 3


def test_kept_sound_begins_at_zero_at_its_own_speed(tmp_path):
    source = write_media(tmp_path / "s.mkv", frames=10)
    path = join(tmp_path / "a.mkv", source, timing=Timing(factor=Fraction(4)), sound="keep")
    wave, start = samples(path)
    assert start < Fraction(3, 100) and abs(len(wave) / RATE - 0.4) < 0.05


def test_converted_sound_can_be_cut(tmp_path):
    source = write_media(tmp_path / "s.mkv", frames=25, sounds=("flac",))
    timing = Timing(Fraction(1, 5), Fraction(3, 5), Fraction(2))
    wave, start = samples(join(tmp_path / "a.mp4", source, timing=timing, sound="stretch"))
    assert start == 0 and abs(len(wave) / RATE - 0.8) < 0.05


def test_dropped_sound_is_not_written(tmp_path):
    source = write_media(tmp_path / "s.mkv")
    with av.open(str(join(tmp_path / "a.mkv", source, sound="drop"))) as container:
        assert not container.streams.audio


def test_the_whole_is_the_default():
    assert plan_streams(None, ".mkv", template=None).timing == WHOLE
