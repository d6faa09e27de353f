"""The table of an ablation: best values, spreads, LaTeX that compiles, a CSV that adds up."""

import csv
import io

import pytest

from lift.ablation import figure, table
from lift.ablation.results import FACTS


def entry(variant: str, seed: int | None, psnr: list[float], **facts) -> dict:
    return {
        "variant": variant,
        "context_frames": 15,
        "seed": seed,
        "trained": seed is not None,
        "baseline": seed is None,
        "shuffled": False,
        **dict.fromkeys(FACTS),
        "ssim": [value / 50 for value in psnr],
        "psnr": psnr,
        **facts,
    }


def results(**changes) -> dict:
    facts = {"parameters": 1234567, "steps": 100, "flops": 2e9, "bytes": 9e7, "milliseconds": 40.0}
    facts["seconds_per_step"] = 0.1
    less = {**facts, "parameters": 1000}
    methods = [
        entry("full", 0, [30.0, 32.0], **facts),
        entry("full", 1, [31.0, 33.0], **facts),
        entry("full", 0, [39.0, 39.0], **facts, shuffled=True),
        entry("no_bend", 0, [29.0, 32.0], **less),
        entry("no_bend", 1, [30.5, 33.0], **less),
        entry("dis", None, [28.0, 30.0]),
    ]
    return {
        "protocol": "real16",
        "split": "val",
        "targets": [{"clip": name, "classes": []} for name in ("cat", "dog")],
        "methods": methods,
        "same": {"window4": "full"},
        "left_out": [],
        "budget": {"batch_size": 2, "crop": "64x64", "data": "folder (my_clips)", "preset": "tiny"},
        "timed_on": "a CPU",
        "commit": "0123456789abcdef",
        **changes,
    }


def lines(text: str) -> dict[str, list[str]]:
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in split if len(cells) > 2}


def test_cells_have_mean_spread_and_gain_seed_by_seed():
    found = lines(table.markdown(results()))
    assert found["no_bend"][1:3] == ["31.12 ± 0.62", "**-0.38** ± 0.12"]
    assert found["full"][1:4] == ["**31.50** ± 0.50", "", "**0.6300** ± 0.0100"]


def test_the_best_of_each_column_is_bold_and_the_control_never():
    found = lines(table.markdown(results()))
    assert found["no_bend"][4] == "**1,000**" and found["full"][4] == "1,234,567"
    assert "**" not in "".join(found["full, shuffled context"])
    assert found["full, shuffled context"][1] == "39.00"


def test_the_caption_states_the_budget():
    text = table.caption(results())
    for words in (
        "2 clips, 2 targets",
        "100 steps of 2 clips of 64x64, folder (my_clips) data, preset tiny, seeds 0, 1",
        "Commit 0123456789.",
        "window4 is full itself",
        "milliseconds on a CPU",
    ):
        assert words in text


def test_latex_has_booktabs_and_no_character_that_breaks_it():
    text = table.latex(results())
    assert text.count(r"\midrule") == 2 and r"\bottomrule" in text
    assert r"no\_bend & 15 & 31.12 $\pm$ 0.62 & \textbf{$-0.38$} $\pm$ 0.12" in text
    assert r"folder (my\_clips)" in text and "±" not in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {len(table.HEADS) - 1}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a_b & 5 % of $1 #2", r"a\_b \& 5 \% of \$1 \#2"),
        ("{x}~^\\", r"\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("1 ± 2", r"1 $\pm$ 2"),
    ],
)
def test_escaped_text_has_no_meaning_to_latex(text, expected):
    assert table.escaped(text) == expected


def test_the_csv_has_every_number_and_marks_the_control():
    read = list(csv.DictReader(io.StringIO(table.as_csv(results()))))
    by_name = {(row["variant"], row["shuffled"]): row for row in read}
    assert float(by_name["no_bend", "0"]["mean_gain"]) == -0.375
    assert by_name["full", "1"]["seeds"] == "0" and by_name["dis", "0"]["bytes"] == ""
    assert float(by_name["full", "0"]["mean_ssim_spread"]) == pytest.approx(0.01)


def test_what_is_not_trained_has_a_table_too():
    alone = results(methods=[entry("dis", None, [28.0, 30.0])], same={})
    assert "Training" not in table.caption(alone)
    assert "dis & 15 & 29.00" in table.latex(alone).replace(r"\textbf{29.00}", "29.00")


def test_a_single_variant_has_no_figure(tmp_path):
    assert figure.draw_gains(results(), [tmp_path / "gains.png"])
    one = results(methods=results()["methods"][:2])
    assert not figure.draw_gains(one, [tmp_path / "one.png"])
    assert not (tmp_path / "one.png").exists()
