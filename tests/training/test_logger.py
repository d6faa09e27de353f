"""Logging: what TensorBoard, curve.csv, train.log and stderr get."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lift.config import from_dict
from lift.errors import LiftError
from lift.training.logger import RunLogger
from lift.training.validate import Validation
from tests.support.disk import largest_file
from tests.support.training_runs import run_config

SCALARS = {"loss": 0.25, "psnr": 31.5, "lr": 1e-4, "attention/+1": 0.4}


def events(output) -> EventAccumulator:
    found = EventAccumulator(str(output / "tensorboard"))
    found.Reload()
    return found


def test_without_a_terminal_a_log_entry_is_a_plain_line(tmp_path, capsys):
    logger = RunLogger(tmp_path, 0, 100)
    logger.write(50, SCALARS)
    logger.close()
    line = capsys.readouterr().err.strip()
    assert line.startswith("step 50 of 100  loss 0.25  psnr 31.5  lr 0.0001  ")
    assert "s/step  ETA " in line
    assert line in (tmp_path / "train.log").read_text()


def test_slow_steps_are_shown_before_the_first_log_entry(tmp_path, capsys, monkeypatch):
    logger = RunLogger(tmp_path, 0, 100)
    logger.advance(1, SCALARS)
    assert not capsys.readouterr().err
    monkeypatch.setattr("lift.training.logger.SILENCE", 0.0)
    logger.advance(2, SCALARS)
    logger.close()
    assert capsys.readouterr().err.startswith("step 2 of 100  loss 0.25  psnr 31.5")


def test_lines_that_come_at_once_have_the_pace_of_the_steps_before(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("lift.training.logger.time.monotonic", lambda: clock[0])
    logger = RunLogger(tmp_path, 0, 1000)
    monkeypatch.setattr(logger.bar, "disable", True)
    for seconds, step in ((50.0, 99), (50.001, 100), (70.0, 150), (90.0, 200)):
        clock[0] = seconds
        (logger.write if step % 100 == 0 else logger.advance)(step, SCALARS)
    logger.close()
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [float(line.split(" s/step")[0].split()[-1]) for line in lines] == [
        pytest.approx(0.505, abs=1e-3),
        pytest.approx(0.5, abs=1e-3),
        pytest.approx(0.4, abs=1e-3),
    ]


def test_tensorboard_gets_scalars_pictures_histograms_and_settings(tmp_path):
    logger = RunLogger(tmp_path, 0, 100, run_config(tmp_path))
    logger.write(50, SCALARS)
    logger.write(50, {"val_psnr": 30.0, "val_loss": 0.5})
    picture = np.zeros((8, 8, 3), np.uint8)
    logger.validation(50, Validation({}, 1, [(0, picture)], {-1: [0.25, 0.5], 1: [0.5]}))
    logger.close()
    found = events(tmp_path)
    tags = found.Tags()
    assert {"train/loss", "attention/+1", "validation/psnr", "validation/loss"} <= set(
        tags["scalars"]
    )
    assert tags["images"] == ["validation/clip_0"]
    assert set(tags["histograms"]) == {"attention_weights/-1", "attention_weights/+1"}
    text = found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| train.batch_size | 2 |" in text


def test_a_resumed_run_has_no_step_twice(tmp_path):
    for start, steps in ((0, (2, 4, 6)), (4, (6, 8))):
        logger = RunLogger(tmp_path, start, 10)
        for step in steps:
            logger.write(step, SCALARS)
        logger.close()
    assert [event.step for event in events(tmp_path).Scalars("train/loss")] == [2, 4, 6, 8]


def test_a_full_disk_costs_no_entry_and_one_warning_a_file(tmp_path, capsys):
    logger = RunLogger(tmp_path, 0, 100)
    with largest_file(100):
        for step in (1, 2, 3):
            logger.write(step, SCALARS)
    logger.write(4, SCALARS)
    logger.close()
    printed = capsys.readouterr().err
    for name in ("curve.csv", "train.log", "tfevents"):
        warned = [x for x in printed.splitlines() if name in x and "could not be written" in x]
        assert len(warned) == 1 and "free some space" in warned[0], name
    assert [event.step for event in events(tmp_path).Scalars("train/loss")] == [1, 2, 3, 4]
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 5
    assert (tmp_path / "train.log").read_text().count("s/step") == 4


# -- Weights & Biases ------------------------------------------------------------------------------


def with_wandb(tmp_path):
    config = run_config(tmp_path, wandb="flow")
    return from_dict({"train": {"wandb": "flow"}}, config)


def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(LiftError, match="--wandb needs Weights & Biases.* pip install wandb"):
        RunLogger(tmp_path, 0, 10, with_wandb(tmp_path))


def test_a_service_that_does_not_start_is_one_sentence(tmp_path, monkeypatch):
    def init(**options):
        raise ConnectionError("no network\nat all")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    with pytest.raises(LiftError, match=r"flow.*\(no network\).*WANDB_MODE=offline"):
        RunLogger(tmp_path, 0, 10, with_wandb(tmp_path))


def test_weights_and_biases_continues_the_run_of_the_folder(tmp_path, monkeypatch):
    started, logged = [], []
    run = SimpleNamespace(
        log=lambda scalars, step: logged.append((scalars, step)), finish=lambda: None
    )

    def init(**options):
        started.append(options)
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Image=lambda x: x))
    for step in (0, 2):
        logger = RunLogger(tmp_path, step, 10, with_wandb(tmp_path))
        logger.write(step + 2, SCALARS)
        logger.close()
    assert [options["project"] for options in started] == ["flow"] * 2
    assert started[0]["id"] == started[1]["id"] and started[1]["resume"] == "allow"
    assert [step for _, step in logged] == [2, 4] and logged[0][0]["train/loss"] == 0.25
