"""Logging: rows of the curve."""

import csv

from lift.training import logger


def test_rows_past_the_checkpoint_are_dropped(tmp_path):
    (tmp_path / "curve.csv").write_text("step,loss\n2,0.5\n4,0.25\n6,0.125\n")
    logger.RunLogger(tmp_path, 4, 10).close()
    with open(tmp_path / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
