"""Epochs of a run that is extended, or whose epochs change their length."""

from fractions import Fraction

import pytest

from lift.training.timeline import Timeline


def ends(timeline: Timeline) -> list[int]:
    return [step for step in range(timeline.total_steps + 1) if timeline.ends_epoch(step)]


def test_epochs_of_an_unchanged_run_are_multiples():
    timeline = Timeline(3, 10)
    assert timeline.total_steps == 30 and ends(timeline) == [10, 20, 30]
    assert [timeline.epochs_before(step) for step in (0, 9, 10, 29)] == [0, 0, 1, 2]


def test_more_epochs_extend_the_run():
    assert ends(Timeline(3, 10).resumed(30, 5, 10)) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("step, wanted", [(20, [25, 30]), (10, [15, 20, 25]), (5, [8, 13, 18, 23])])
def test_epochs_of_half_the_steps_follow_the_begun_one(step, wanted):
    later = Timeline(4, 10).resumed(step, 4, 5)
    assert [end for end in ends(later) if end > step] == wanted


def test_fewer_epochs_than_there_were_leave_nothing_to_do():
    assert Timeline(4, 10).resumed(30, 2, 5).total_steps == 30


def test_a_checkpoint_restores_it():
    timeline = Timeline(4, 10).resumed(3, 4, 7)
    assert timeline.done == Fraction(3, 10)
    assert Timeline.from_state(timeline.state_dict()) == timeline
