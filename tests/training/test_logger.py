"""Logging: rows of the curve, and attention by time offset."""

import csv

import pytest
import torch

from lift.training import logger


def test_rows_past_the_checkpoint_are_dropped(tmp_path):
    (tmp_path / "curve.csv").write_text("step,loss\n2,0.5\n4,0.25\n6,0.125\n")
    logger.RunLogger(tmp_path, 4, 10).close()
    with open(tmp_path / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]


def test_attention_is_averaged_by_time_and_masked_frames_do_not_count():
    attention = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.1, 0.4, 0.5, 0.0]])
    times = torch.tensor([[0.0, 1.0, -1.0, 9.0], [0.0, 1.0, 2.0, 9.0]])
    mask = torch.tensor([[True, True, True, False]] * 2)
    shares = logger.attention_by_offset(attention, times, mask)
    assert shares == pytest.approx(
        {"attention/-1": 0.2, "attention/+0": 0.3, "attention/+1": 0.35, "attention/+2": 0.5}
    )


def test_means_restart_after_each_entry():
    means = logger.RunningMeans()
    means.add({"loss": 1.0, "psnr": 20.0})
    means.add({"loss": 3.0})
    assert logger.RunningMeans(means.sums).take() == {"loss": 2.0, "psnr": 20.0}
    assert means.take() and means.take() == {}
