"""Curves of several runs share axes; their tables may differ."""

import numpy as np
import pytest

from lift.errors import LiftError
from lift.visualize.curves import (
    curves_caption,
    curves_figure,
    distinct_labels,
    moving_mean,
    read_runs,
    smoothing,
)


def write_run(folder, rows, header="step,loss,psnr,val_psnr,note"):
    folder.mkdir(parents=True)
    (folder / "curve.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_columns_of_each_run_are_their_own(tmp_path):
    a = write_run(tmp_path / "a", ["1,0.5,30,,x", "2,0.4,31,,y", "2,,,30.5,"])
    b = write_run(tmp_path / "b", ["1,0.3,", "4,0.2,1e-3"], "step,loss,lr")
    first, second = read_runs([a, b])
    assert set(first.columns) == {"loss", "psnr", "val_psnr"}
    assert [list(x) for x in first.columns["loss"]] == [[1, 2], [0.5, 0.4]]
    assert [list(x) for x in second.columns["lr"]] == [[4], [1e-3]]
    figure = curves_figure([first, second])
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels[1:] == [
        "training loss",
        "PSNR of training batches, dB",
        "validation PSNR, dB",
        "learning rate",
    ]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["a", "b"]


def test_a_torn_last_line_is_left_out(tmp_path):
    run = write_run(tmp_path / "a", ["1,0.5,30,,", "2,0.4,31,,"])
    with open(run / "curve.csv", "a") as file:
        file.write("3,0.")  # killed: it could also have been 0.39
    assert list(read_runs([run])[0].columns["loss"][0]) == [1, 2]


def test_steps_that_a_resumed_run_repeats_count_once(tmp_path):
    run = write_run(tmp_path / "a", ["1,5,,,", "2,4,,,", "3,3,,,", "2,4.5,,,", "3,3.5,,,"])
    steps, values = read_runs([run])[0].columns["loss"]
    assert (list(steps), list(values)) == ([1, 2, 3], [5, 4.5, 3.5])


def test_phases_follow_one_another(tmp_path):
    rows = ["one,10,0.5", "one,20,0.4", "two,10,0.3"]
    run = write_run(tmp_path / "a", rows, "phase,step,loss")
    assert list(read_runs([run])[0].columns["loss"][0]) == [10, 20, 30]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x/a", "x/b"], ["a", "b"]),
        (["x/run", "y/run"], ["x/run", "y/run"]),
        (["x/run/curve.csv", "y/other"], ["run", "other"]),
    ],
)
def test_labels_tell_runs_apart(tmp_path, paths, expected):
    assert distinct_labels([tmp_path / path for path in paths]) == expected
    same = distinct_labels([tmp_path, tmp_path])
    assert len(set(same)) == 2


def test_a_label_is_needed_for_each_run(tmp_path):
    run = write_run(tmp_path / "a", ["1,0.5,30,,"])
    assert read_runs([run], ["one"])[0].label == "one"
    with pytest.raises(LiftError, match="2 names for 1 runs"):
        read_runs([run], ["one", "two"])


def test_tables_without_a_known_column_are_refused(tmp_path):
    run = write_run(tmp_path / "a", ["1,2"], "step,other")
    with pytest.raises(LiftError, match="none of the columns loss"):
        curves_figure(read_runs([run]))


def test_the_mean_moves_over_known_values():
    values = np.array([1.0, 3.0, np.nan, 5.0, 7.0])
    assert list(moving_mean(values, 1)[[0, 1, 3, 4]]) == [1, 3, 5, 7]
    assert list(moving_mean(values, 3)) == [2, 2, 4, 6, 6]


def test_the_caption_states_the_smoothing(tmp_path):
    rows = [f"{10 * k},{1 / k}" for k in range(1, 201)]
    long = write_run(tmp_path / "long", rows, "step,loss")
    short = write_run(tmp_path / "short", rows[:20], "step,loss")
    assert (smoothing(200), smoothing(20)) == (5, 1)
    caption = curves_caption(read_runs([long, short]))
    assert "long: 5 values, about 50 steps; short: not smoothed" in caption


@pytest.mark.parametrize("label", ["$x_1$", "_hidden", "a $ b"])
def test_any_label_is_shown_as_it_is(tmp_path, label):
    run = write_run(tmp_path / "a", ["1,0.5,30,,"])
    figure = curves_figure(read_runs([run], [label]))
    figure.canvas.draw()
    shown = figure.axes[0].get_legend().get_texts()[0].get_text()
    assert shown.replace(r"\$", "$") == label
