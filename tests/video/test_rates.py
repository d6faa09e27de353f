from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift.errors import LiftError
from lift.video.rates import common_tick, parse_rate, snap_rate

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    "text, rate",
    (
        ("60", 60),
        (" 59.94 ", Fraction(2997, 50)),
        ("60000/1001", 2 * NTSC),
        ("60000:1001", 2 * NTSC),
        (".5", Fraction(1, 2)),
        ("NTSC", NTSC),
        ("pal", 25),
        ("film", 24),
        ("ntsc-film", Fraction(24000, 1001)),
    ),
)
def test_rates_are_read_as_ffmpeg_reads_them(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ("", "nan", "inf", "-5", "0", "1/0", "60 fps", "2e9", "1001", "1e2")
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(LiftError, match="is not a frame rate up to 1000; give"):
        parse_rate(text)


@pytest.mark.parametrize(
    "typed, source, exact",
    (
        ("59.94", "30000/1001", "60000/1001"),
        ("59.94", "24000/1001", "60000/1001"),
        ("119.88", "24000/1001", "120000/1001"),
        ("119.880", "30000/1001", "120000/1001"),
        ("47.952", "24000/1001", "48000/1001"),
        ("47.95", "24000/1001", "48000/1001"),
        ("23.976", None, "24000/1001"),
        ("23.98", None, "24000/1001"),
        ("29.97", None, "30000/1001"),
        ("14.985", None, "15000/1001"),
        ("239.76", "60000/1001", "240000/1001"),
        ("59.94", "25", "60000/1001"),
    ),
)
def test_a_rounded_rate_of_television_means_the_exact_one(typed, source, exact):
    rate, note = snap_rate(Fraction(typed), source and Fraction(source))
    assert rate == Fraction(exact)
    assert note.startswith(f"{float(typed):g} frames/s is taken as {exact}")


@pytest.mark.parametrize(
    "typed, source",
    (
        ("60", "30000/1001"),
        ("24", None),
        ("60000/1001", "30000/1001"),
        ("59.94", "29.97"),  # files exist whose rate is the decimal itself
        ("59.94", "23.976"),
        ("12.5", "25"),
        ("59.9", "30000/1001"),
        ("50.05", "25"),
        ("59.95", "30000/1001"),
        ("1/3", None),
    ),
)
def test_other_rates_stay_as_typed(typed, source):
    assert snap_rate(Fraction(typed), source and Fraction(source)) == (Fraction(typed), None)


@pytest.mark.parametrize(
    "tick, options, clock",
    (
        (Fraction(1, 90000), {"multi": 2}, 180000),
        (Fraction(1001, 24000), {"multi": 2}, 48000),
        (Fraction(1, 30000), {"fps": 2 * NTSC}, 60000),
        (Fraction(1, 90000), {"fps": 2 * NTSC}, 180000),
        (Fraction(1, 1000), {"fps": 2 * NTSC}, 60000),
        (Fraction(1, 16384), {"fps": 2 * NTSC}, 60000),
        (Fraction(1, 12800), {"fps": Fraction(60)}, 38400),
        (Fraction(1, 90000), {"fps": Fraction("59.94")}, 11988),
        (Fraction(1, 10**9), {"fps": Fraction(7)}, 14336),
        (Fraction(1, 10**9), {"multi": 8}, 10**6),
    ),
)
def test_clocks_of_common_cases(tick, options, clock):
    assert common_tick(tick, **options) == Fraction(1, clock)


@given(
    st.sampled_from((600, 1000, 12800, 15360, 16384, 30000, 90000)),
    st.fractions(1, 1000, max_denominator=1001),
)
def test_every_timestamp_of_a_rate_is_a_multiple_of_the_tick(clock, fps):
    tick = common_tick(Fraction(1, clock), fps=fps)
    assert tick.numerator == 1 and tick.denominator < 2**31
    assert (1 / fps / tick).denominator == 1 or tick == Fraction(1, 10**6)
