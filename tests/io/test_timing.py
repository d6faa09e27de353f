from fractions import Fraction

from lift.io.timing import WHOLE, Timing


def test_the_whole_changes_nothing_and_keeps_times_before_zero():
    assert WHOLE(Fraction(-1, 3)) == Fraction(-1, 3)
    assert WHOLE.holds(Fraction(-1)) and not WHOLE.is_cut


def test_a_cut_begins_at_zero_and_is_stretched():
    timing = Timing(Fraction(2), Fraction(4), Fraction(3))
    assert timing(Fraction(3)) == 3
    assert [timing.holds(Fraction(t)) for t in (1, 2, 3, 4)] == [False, True, True, False]
    assert timing.clip(Fraction(0), Fraction(3)) == (0, 3)
    assert timing.clip(Fraction(4), Fraction(5)) is None
