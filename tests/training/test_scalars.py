"""Scalars of a step: attention by time offset, and running means."""

import pytest
import torch

from lift.training.scalars import RunningMeans, attention_by_offset


def test_attention_is_averaged_by_time_and_masked_frames_do_not_count():
    attention = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.1, 0.4, 0.5, 0.0]])
    times = torch.tensor([[0.0, 1.0, -1.0, 9.0], [0.0, 1.0, 2.0, 9.0]])
    mask = torch.tensor([[True, True, True, False]] * 2)
    shares = attention_by_offset(attention, times, mask)
    assert shares == pytest.approx(
        {"attention/-1": 0.2, "attention/+0": 0.3, "attention/+1": 0.35, "attention/+2": 0.5}
    )


def test_means_restart_after_each_entry():
    means = RunningMeans()
    means.add({"loss": 1.0, "psnr": 20.0})
    means.add({"loss": 3.0})
    assert RunningMeans(means.sums).take() == {"loss": 2.0, "psnr": 20.0}
    assert means.take() and means.take() == {}
