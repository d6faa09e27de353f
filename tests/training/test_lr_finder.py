"""The learning-rate finder."""

import pytest

from lift.errors import LiftError
from lift.training import lr_finder
from lift.training.lr_finder import Trial, report, suggestion
from tests.support.training_runs import run_config


def test_the_suggestion_keeps_a_distance_from_where_the_loss_rises():
    losses = {1e-5: 1.0, 1e-4: 0.9, 1e-3: 0.91, 1e-2: 1.5, 1e-1: 9.0}
    assert suggestion([Trial(lr, loss) for lr, loss in losses.items()]) == pytest.approx(1e-3 / 4)


@pytest.mark.slow
def test_it_prints_a_table_and_leaves_a_picture_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 40)
    lines = list(report(run_config(tmp_path)))
    assert lines[-1].startswith("suggestion: --lr ")
    assert [p.name for p in tmp_path.iterdir()] == ["find_lr.png"]
    rate = float(lines[-1].split()[2])
    assert lr_finder.LOWEST < rate < 0.1


def test_a_search_without_steps_is_one_sentence(tmp_path):
    with pytest.raises(LiftError, match="too few.*--max_minutes"):
        list(report(run_config(tmp_path, max_minutes=1e-6)))
    assert not list(tmp_path.iterdir())
