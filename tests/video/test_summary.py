"""What an interpolated file holds, as JSON."""

import json
from fractions import Fraction
from pathlib import Path

import torch

from lift.video.summary import Summary, report_path


def test_a_summary_is_plain_json():
    rate = Fraction(60000, 1001)
    summary = Summary(
        path=Path("a.mp4"),
        frames=9,
        generated=4,
        cuts=1,
        width=64,
        height=48,
        rate=rate,
        notes=["sound is left out"],
        dtype=torch.bfloat16,
        seconds=9 / rate,
        cut_times=[Fraction(1, 3)],
        codec="h264",
        pix_fmt="yuv420p",
    )
    values = summary.as_json()
    assert json.loads(json.dumps(values)) == values
    assert values["rate"] == "60000/1001" and values["dtype"] == "bfloat16"
    assert values["cuts"] == [0.333333] and values["seconds"] == 0.15015
    assert values["notes"] == ["sound is left out"] and values["output"] == "a.mp4"


def test_a_report_is_beside_the_output():
    assert report_path(Path("x/a.mp4")) == Path("x/a.mp4.json")
    assert report_path(Path("x/frames")) == Path("x/frames.json")
