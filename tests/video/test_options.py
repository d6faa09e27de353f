"""What a user asks of a file, and what contradicts itself."""

from fractions import Fraction

import pytest

from lift.errors import LiftError
from lift.video.options import FileOptions


@pytest.mark.parametrize(
    "options, message",
    (
        ({"multi": 2, "fps": Fraction(60)}, "--multi and --fps contradict"),
        ({"sound": "drop"}, "--sound says what becomes of the sound of --slow"),
        ({"sound": "keep", "loop": True}, "--slow"),
    ),
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(LiftError, match=message):
        FileOptions(**options)


def test_a_factor_of_one_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="multi must be at least 2"):
        FileOptions(multi=1)


@pytest.mark.parametrize(
    "options, factor",
    (
        ({}, 2),
        ({"multi": 5}, 5),
        ({"slow": Fraction(4)}, 4),
        ({"slow": Fraction(5, 2)}, 3),
        ({"slow": Fraction(3, 2)}, 2),
        ({"slow": Fraction(4), "multi": 8}, 8),
    ),
)
def test_the_factor(options, factor):
    assert FileOptions(**options).factor == factor
