"""Learning rate, weight average, parameter groups and precision of an optimiser step."""

import pytest
import torch
from torch import nn

from lift.training.optim import WeightAverage, autocast_dtype, learning_rate, param_groups

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


def test_the_average_forgets_its_start_and_then_follows_the_decay():
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    average.update(model, 1)
    torch.testing.assert_close(average.model.weight, start + 9 / 11)  # decay (1 + 1) / (10 + 1)
    before = average.model.weight.clone()
    average.update(model, 10_000)
    torch.testing.assert_close(average.model.weight, before + 0.1 * (model.weight - before))


def test_biases_do_not_decay():
    groups = param_groups(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2)), 0.1)
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [
        (0.1, 1),
        (0.0, 3),
    ]


@pytest.mark.parametrize(
    "amp, dtype",
    [("auto", None), ("off", None), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_precision_on_a_cpu_is_full_unless_it_is_named(amp, dtype):
    assert autocast_dtype(amp, torch.device("cpu")) is dtype


@pytest.mark.parametrize("supported, dtype", [(True, torch.bfloat16), (False, torch.float16)])
def test_automatic_precision_of_a_gpu_is_bfloat16_where_it_is_supported(
    monkeypatch, supported, dtype
):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert autocast_dtype("auto", torch.device("cuda")) is dtype
