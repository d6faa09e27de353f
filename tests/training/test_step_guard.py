"""Which steps are skipped, and what the run says when it is too many."""

import math

import pytest

from lift.config import TrainConfig
from lift.training.step_guard import ENOUGH, LAG, StepGuard


def guard_after(norms: list[float], ratio: float = 10.0) -> StepGuard:
    guard = StepGuard(ratio)
    for step, norm in enumerate(norms, 1):
        guard.record(step, [0.1], norm, False)
    return guard


def test_the_limit_is_a_multiple_of_the_median():
    guard = guard_after([1.0, 2.0, 3.0] * 10)
    assert guard.limit(40) == 20.0


@pytest.mark.parametrize("norms, ratio", [([1.0] * (ENOUGH - 1), 10.0), ([1.0] * 99, 0.0)])
def test_there_is_no_limit_before_enough_steps_or_without_a_ratio(norms, ratio):
    assert guard_after(norms, ratio).limit(200) == math.inf


def test_a_norm_counts_only_when_every_run_has_read_it():
    guard = guard_after([1.0] * ENOUGH)
    step = ENOUGH + LAG
    before = guard.limit(step)
    guard.record(step - 1, [0.1], 1000.0, False)  # read early, as before a checkpoint
    assert guard.limit(step) == before


def test_skipped_steps_are_counted_in_all_and_in_a_row():
    guard = guard_after([1.0])
    guard.record(2, [math.nan], 1.0, True)
    guard.record(3, [0.1], 1.0, False)
    guard.record(4, [0.1], math.inf, True)
    guard.record(5, [0.1], math.inf, True)
    assert (guard.skipped, guard.first, guard.in_a_row) == (3, 4, 2)


def test_a_restored_guard_goes_on_as_the_first():
    guard = guard_after([1.0, 5.0] * 20)
    other = StepGuard(10.0)
    other.load_state_dict(guard.state_dict())
    assert [other.limit(step) for step in range(30, 60)] == [
        guard.limit(step) for step in range(30, 60)
    ]


@pytest.mark.parametrize("lr, flag", [(1e6, "--lr 0.0003"), (3e-4, "--lr 0.0001")])
def test_the_remedy_is_a_rate_that_can_work(lr, flag):
    guard = guard_after([1.0])
    guard.record(2, [math.nan], 1.0, True)
    error = str(guard.error(TrainConfig(lr=lr), None, []))
    assert flag in error and "the loss is not finite" in error and "\n" not in error
