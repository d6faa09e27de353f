"""Values of flags."""

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from lift.config.flag_values import named_folder, names, whole_number, whole_numbers


def test_a_number_within_the_limits_is_taken():
    assert [whole_number(0)("0"), whole_number(1, 3)("3"), whole_number(-1)("-1")] == [0, 3, -1]


@pytest.mark.parametrize("text", ["", "0", "4", "-1", "2.0", "two", "--2"])
def test_any_other_text_is_an_error_that_states_the_limits(text):
    with pytest.raises(ArgumentTypeError, match="a whole number from 1 to 3, got"):
        whole_number(1, 3)(text)


def test_a_list_keeps_its_order_and_each_number_once():
    assert whole_numbers(2)("15,2,7,2") == [15, 2, 7]


@pytest.mark.parametrize("text", ["", "2,", "1,2", "2;3"])
def test_a_list_with_anything_else_is_an_error_that_shows_all_of_it(text):
    with pytest.raises(ArgumentTypeError, match=f"separated by commas, got '{text}'"):
        whole_numbers(2)(text)


def test_names_may_have_spaces_around_them():
    assert names("full, no_bend,") == ["full", "no_bend"]


def test_a_folder_has_a_name():
    assert named_folder("rife=a/b=c") == ("rife", Path("a/b=c"))
    with pytest.raises(ArgumentTypeError, match="must be NAME=DIR"):
        named_folder("rife")
