"""The page of limits shows what the records say."""

import copy
import json

import pytest

from lift.model.bundled import pretrained_path
from lift.release.limits import page

RECORDS = page.records(pretrained_path("any").parent)
TINY = RECORDS["tiny"]


def test_the_page_is_what_the_records_give():
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.filled(text, RECORDS), "run python -m lift.release.limits"
    found = {(name, part) for _, name, part, _ in page.MARKED.findall(text)}
    assert found == {(name, part) for name in RECORDS for part in page.BLOCKS}


def test_every_part_has_its_numbers():
    text = page.filled("", {"tiny": TINY})
    words = " ".join(text.split())
    psnr = TINY["motion"]["classes"]["all"]["psnr"]
    assert f"| {psnr['lift_15']:.2f} | {psnr['dis']:.2f} | {psnr['dis_cubic']:.2f} |" in text
    for row in (*TINY["worst"]["gain"], *TINY["worst"]["psnr"]):
        assert f"`{row['clip']}` {row['frame']}" in words
    assert f"{TINY['curve']['pace']['flops_per_sample'] / 1e9:.1f} GFLOP" in text
    assert "figures/limits_worst.jpg" in text and "not measured on a GPU" in text


def test_weights_of_another_name_get_a_section_and_a_picture_of_their_own():
    text = page.filled("# Page\n\nprose\n", {"tiny_open": TINY})
    assert text.startswith("# Page\n\nprose\n\n## Weights `tiny_open`\n")
    assert "figures/limits_worst_open.jpg" in text
    assert page.filled(text, {"tiny_open": TINY}) == text
    assert page.filled("prose", {}) == "prose"


def test_a_part_that_is_not_recorded_stays_as_it_is():
    marked = "<!-- limits: tiny noise -->\nearlier\n<!-- limits: end -->\n"
    partial = {key: value for key, value in TINY.items() if key != "noise"}
    assert page.filled(marked, {"tiny": partial}) == marked
    assert "earlier" not in page.filled(marked, {"tiny": TINY})


def fitted(low, high):
    record = copy.deepcopy(TINY)
    gain = {"best": 0.2, "low": low, "high": high, "scatter": 0.03, "exponents": [0.1, 1.0]}
    points = [{"phase": "a", "samples": 1e5 * k, "psnr": 30 + k} for k in (1, 2, 3, 4)]
    record["curve"]["points"] = points
    for each in record["curve"]["projections"]:
        each["gain"] = gain
    return page.curve(record, "tiny")


@pytest.mark.parametrize(("low", "flat"), [(-0.1, True), (0.1, False)])
def test_a_flat_curve_is_called_one(low, flat):
    text = " ".join(fitted(low, 0.4).split())
    assert ("does not show that more of the same training would help" in text) == flat
    assert f"+0.20 dB ({low:+.2f} to +0.40)" in text


def test_few_points_give_no_number():
    record = copy.deepcopy(TINY)
    record["curve"]["points"] = record["curve"]["points"][:1]
    for each in record["curve"]["projections"]:
        each["gain"] = None
    text = page.curve(record, "tiny")
    assert "nothing is extrapolated" in " ".join(text.split()) and "not known" in text


def test_update_writes_only_what_changes(tmp_path):
    file = tmp_path / "limits.md"
    (tmp_path / "tiny_limits.json").write_text(json.dumps(TINY))
    assert page.update(file, tmp_path)
    assert not page.update(file, tmp_path)
