"""The learning rate: its corners, and that it depends on the step alone."""

import pytest

from lift.training.optim import learning_rate

RUN = {"total_steps": 1000, "warmup_steps": 100, "lr": 1e-3, "lr_min": 1e-5}


def test_warm_up_is_linear_and_starts_above_zero():
    rates = [learning_rate(step, **RUN) for step in range(100)]
    assert rates == pytest.approx([1e-5 * (step + 1) for step in range(100)])


@pytest.mark.parametrize("step, rate", [(99, 1e-3), (100, 1e-3), (999, 1e-5), (5000, 1e-5)])
def test_corners(step, rate):
    assert learning_rate(step, **RUN) == pytest.approx(rate)


def test_the_cosine_falls_and_is_half_way_in_the_middle():
    rates = [learning_rate(step, **RUN) for step in range(100, 1000)]
    assert all(a >= b for a, b in zip(rates, rates[1:], strict=False))
    assert learning_rate(100 + 449, **RUN) == pytest.approx((1e-3 + 1e-5) / 2, rel=0.01)


def test_a_short_run_still_reaches_its_peak():
    rates = [learning_rate(step, 10, 2000, 1e-3, 1e-5) for step in range(10)]
    assert max(rates) == pytest.approx(1e-3) and rates[-1] == pytest.approx(1e-5)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_runs_of_a_few_steps_have_a_rate(total):
    assert all(0 < learning_rate(step, total, 2000, 1e-3, 1e-5) <= 1e-3 for step in range(total))
