"""The training loop: an interrupted run equals the unbroken one, a bad loss ends it, and it logs
and saves what it should.
"""

import copy
import csv
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lift.config import from_dict
from lift.data.dataset import ClipDataset
from lift.errors import LiftError
from lift.training import checkpoints, loop, state
from lift.training.distributed import DistributedContext
from lift.training.loop import train
from lift.training.scalars import StepScalars
from lift.training.signals import StopRequest
from lift.training.validate import validate
from tests.support.training_runs import DATA, MODEL, TRAIN, run_config, stop_after


def rows(output: Path) -> list[dict]:
    """The curve, less what depends on the clock."""
    with open(output / "curve.csv", newline="") as file:
        return [
            {name: value for name, value in row.items() if "second" not in name}
            for row in csv.DictReader(file)
        ]


def step(run: loop.Trainer, batches) -> StepScalars:
    """One optimiser step of a run."""
    return run.state.train_step(run.state.network, next(batches), run._learning_rate())


def assert_same_run(a: Path, b: Path) -> None:
    assert rows(a) == rows(b)
    for name in (
        "last.safetensors",
        "best.safetensors",
        "checkpoint/checkpoint-00000006/model.safetensors",
    ):
        one, other = load_file(a / name), load_file(b / name)
        assert one.keys() == other.keys() and all(
            torch.equal(one[key], other[key]) for key in one
        ), name
    states = [
        checkpoints.read(output / "checkpoint" / "checkpoint-00000006").state for output in (a, b)
    ]
    assert states[0]["best"] == states[1]["best"] and states[0]["means"] == states[1]["means"]
    optimizers = [stored["optimizer"]["state"].values() for stored in states]
    for one, other in zip(*optimizers, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    output = tmp_path_factory.mktemp("unbroken")
    torch.manual_seed(99)  # a run does not depend on earlier random numbers
    end = train(run_config(output))
    assert (end.step, end.stopped_by, end.signal) == (6, "", None)
    return output


# -- resuming --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [3, 4])  # within an epoch, between two
def test_a_resumed_run_equals_the_unbroken_one(tmp_path, monkeypatch, unbroken, workers, step):
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        end = train(run_config(tmp_path, workers))
    assert (end.step, end.stopped_by, end.signal) == (step, "SIGTERM", signal.SIGTERM)
    assert checkpoints.find(tmp_path, "auto").name == f"checkpoint-0000000{step}"
    torch.rand(7)
    assert train(run_config(tmp_path, workers)).step == 6
    assert_same_run(tmp_path, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"accumulate": 2}, {"accumulate": 2, "recompute_encoder": True, "recompute_refine": True}],
    ids=str,
)
def test_an_accumulating_run_resumes_too(tmp_path, monkeypatch, settings):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(run_config(tmp_path / "broken", **settings))
    for output in (tmp_path / "broken", tmp_path / "whole"):
        assert train(run_config(output, **settings)).step == 6
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_accumulating_two_batches_is_the_step_of_one_of_twice_the_size(tmp_path):
    data = {
        **DATA,
        "min_context_frames": 4,
        "full_context_prob": 1.0,
    }  # so that batches of any size hold as many frames
    gradients = []
    for name, settings in {
        "one": {"batch_size": 4},
        "two": {"batch_size": 2, "accumulate": 2},
    }.items():
        chosen = from_dict(
            {
                "model": MODEL,
                "data": data,
                "train": {**TRAIN, **settings, "flow_weight": 0.0, "freeze_epochs": 0},
            }
        )
        run = loop.Trainer(
            replace(chosen, train=replace(chosen.train, output=str(tmp_path / name))),
            DistributedContext(torch.device("cpu")),
            StopRequest(),
        )
        batches = run.data.steps(6)
        step(run, batches)
        run.logger.close()
        gradients.append({name: p.grad for name, p in run.state.model.named_parameters()})
    faint = 1e-6 * max(g.norm() for g in gradients[0].values())
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).norm() <= 1e-4 * gradient.norm() + faint, name


@pytest.mark.slow
def test_the_model_is_compiled_only_if_the_setting_says_so(tmp_path, monkeypatch):
    original, compiled_models = torch.compile, []
    settings = {"epochs": 1, "epoch_steps": 1, "validate_epochs": 9}

    def compiled(model):
        compiled_models.append(model)
        return original(
            model, backend="eager", fullgraph=True
        )  # traces as usual, without minutes of compiling

    monkeypatch.setattr(torch, "compile", compiled)
    train(run_config(tmp_path / "plain", **settings))
    assert not compiled_models
    train(run_config(tmp_path / "compiled", **settings, compile=True))
    assert len(compiled_models) == 1
    one, other = (load_file(tmp_path / name / "last.safetensors") for name in ("plain", "compiled"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("place", [(loop, "TrainingData"), (state.TrainState, "train_step")])
def test_a_signal_before_the_end_of_the_first_step_ends_the_run_at_once(
    tmp_path, monkeypatch, place
):
    def signalled(*_):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal was put off")

    with monkeypatch.context() as patch:
        patch.setattr(*place, signalled)
        end = train(run_config(tmp_path))
    assert (end.step, end.stopped_by, end.signal) == (0, "SIGTERM", signal.SIGTERM)
    assert checkpoints.find(tmp_path, "auto") is None
    loop.RunLock(tmp_path).acquire()  # nobody else has it


@pytest.mark.slow
def test_a_signal_during_validation_puts_the_validation_off(tmp_path, monkeypatch, unbroken):
    real = loop.validate

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", interrupted)
        end = train(run_config(tmp_path))
    assert (end.step, end.signal) == (2, signal.SIGINT) and not (
        tmp_path / "best.safetensors"
    ).exists()
    train(run_config(tmp_path))
    assert_same_run(tmp_path, unbroken)


def test_a_finished_run_does_nothing(unbroken):
    before = (unbroken / "curve.csv").read_bytes()
    assert train(run_config(unbroken)).step == 6
    assert (unbroken / "curve.csv").read_bytes() == before


def test_the_time_limit_ends_a_run_with_a_checkpoint(tmp_path):
    end = train(run_config(tmp_path, max_minutes=1e-6))
    assert (end.step, end.stopped_by, end.signal) == (1, "the time limit", None)
    assert checkpoints.find(tmp_path, "auto").name == "checkpoint-00000001"


# -- what ends a run -------------------------------------------------------------------------------


def bad_loss(what: str):
    """A loss that is not finite, or whose gradient is not."""

    def loss(prediction, batch, settings):
        frame = prediction.frame  # the slope of the root of 0 is not finite; 0 is
        value = (frame * 0).sum() + math.nan if what == "loss" else (frame * 0).sqrt().sum()
        return value, {"loss": value.detach(), "psnr": value.detach()}

    return loss


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_steps_skipped_in_a_row_end_the_run_and_touch_no_checkpoint(tmp_path, monkeypatch, what):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(run_config(tmp_path))
    before = {p: p.read_bytes() for p in (tmp_path / "checkpoint").rglob("*") if p.is_file()}
    monkeypatch.setattr(state, "total_loss", bad_loss(what))
    with pytest.raises(LiftError, match=f"step 4 .* 2 in a row: the {what} is not fin") as error:
        train(run_config(tmp_path, max_skipped=1, lr=0.1))
    sentence = str(error.value)
    # The weights of step 3 may be what is bad.
    assert f"--resume {tmp_path}/checkpoint/checkpoint-00000002 --lr 0.0003" in sentence
    assert "\n" not in sentence
    assert {
        p: p.read_bytes() for p in (tmp_path / "checkpoint").rglob("*") if p.is_file()
    } == before


def test_a_run_of_skipped_steps_alone_is_no_finished_run(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "total_loss", bad_loss("loss"))
    with pytest.raises(LiftError, match="6 in a row.* start again with --lr 0.0001"):
        train(run_config(tmp_path))
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("amp", ["off", "float16"])
def test_a_step_that_is_not_finite_is_skipped_named_and_counted(tmp_path, monkeypatch, capsys, amp):
    original = state.total_loss

    def bad_once(prediction, batch, settings):
        loss, scalars = original(prediction, batch, settings)
        if run.step == 2:
            loss = loss * math.nan
        return loss, {**scalars, "loss": loss.detach()}

    monkeypatch.setattr(state, "total_loss", bad_once)
    run = loop.Trainer(
        run_config(tmp_path, epoch_steps=6, epochs=1, log_steps=4, amp=amp),
        DistributedContext(torch.device("cpu")),
        StopRequest(),
    )
    assert run.fit().step == 6
    run.logger.close()
    logged = rows(tmp_path)[0]
    assert logged["step"] == "4" and math.isfinite(float(logged["loss"]))
    if amp == "off":  # with float16 earlier steps overflow, too
        assert "step 3 is skipped: the loss is not finite" in capsys.readouterr().err
        assert logged["skipped_steps"] == "1"
    assert all(p.isfinite().all() for p in run.state.model.parameters())


def test_an_exploding_gradient_is_skipped(tmp_path, monkeypatch):
    original = state.total_loss

    def bad_once(prediction, batch, settings):
        loss, scalars = original(prediction, batch, settings)
        return (loss * 1e6 if run.step == 18 else loss), scalars

    monkeypatch.setattr(state, "total_loss", bad_once)
    config = run_config(tmp_path, epochs=1, epoch_steps=20, batch_size=1, log_steps=20)
    run = loop.Trainer(config, DistributedContext(torch.device("cpu")), StopRequest())
    run.fit()
    run.logger.close()
    assert run.guard.skipped == 1 and rows(tmp_path)[0]["skipped_steps"] == "1"


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_neither_weights_nor_optimiser(
    tmp_path, monkeypatch, what
):
    run = loop.Trainer(
        run_config(tmp_path, freeze_epochs=0),
        DistributedContext(torch.device("cpu")),
        StopRequest(),
    )
    batches = run.data.steps(6)
    step(run, batches)
    before = copy.deepcopy(
        (run.state.model.state_dict(), run.state.optimizer.state_dict()["state"])
    )
    with monkeypatch.context() as patch:
        patch.setattr(state, "total_loss", bad_loss(what))
        run.pending = step(run, batches)
    run._read_pending()
    assert run.guard.in_a_row == 1
    torch.testing.assert_close(
        (run.state.model.state_dict(), run.state.optimizer.state_dict()["state"]),
        before,
        rtol=0,
        atol=0,
    )
    step(run, batches)
    run.logger.close()
    now = run.state.model.state_dict()
    assert any(not torch.equal(now[name], x) for name, x in before[0].items())


def test_an_error_in_a_loading_process_stays_one_sentence(tmp_path, monkeypatch):
    def unreadable(self, g):
        raise LiftError("clip.mp4 is truncated; copy it again")

    monkeypatch.setattr(ClipDataset, "__getitem__", unreadable)
    with pytest.raises(LiftError) as error:
        train(run_config(tmp_path, workers=1))
    assert str(error.value) == "clip.mp4 is truncated; copy it again"


@pytest.mark.slow
def test_a_killed_loading_process_is_one_sentence_and_costs_no_step(tmp_path, monkeypatch):
    original = ClipDataset.__getitem__

    def deadly(self, g):
        if g >= 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, g)

    monkeypatch.setattr(ClipDataset, "__getitem__", deadly)
    with pytest.raises(LiftError, match="a loading process was killed.* resumes from step"):
        train(run_config(tmp_path, workers=1))
    monkeypatch.undo()
    assert train(run_config(tmp_path, workers=1)).step == 6


# -- what a run logs ------------------------------------------------------------------------------


def test_the_curve_holds_losses_and_validations(unbroken):
    steps = [
        (row["step"], row["epoch"], bool(row["loss"]), bool(row["val_psnr"]))
        for row in rows(unbroken)
    ]
    assert steps == [
        (str(s), str(s // 2 - 1), loss, not loss) for s in (2, 4, 6) for loss in (True, False)
    ]


def test_tensorboard_gets_losses_rate_attention_and_validation(unbroken):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(unbroken / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    wanted = {
        "train/loss",
        "train/laplacian",
        "train/psnr",
        "train/lr",
        "train/gradient_norm",
        "attention/+0",
        "attention/+1",
        "validation/loss",
        "validation/psnr",
        "validation/ssim",
        "train/skipped_steps",
        "train/data_wait_per_second",
        "train/process_memory_gb",
    }
    assert wanted <= set(tags)
    picture = events.Images("validation/clip_0")[-1]
    assert (picture.width, picture.height) == (4 * 64, 2 * (64 + 22))
    assert {"attention_weights/+0", "attention_weights/+1"} <= set(events.Tags()["histograms"])


def test_a_validation_stops_after_its_time_with_at_least_one_clip(tmp_path):
    config = run_config(tmp_path, validate_clips=3)
    run = loop.Trainer(config, DistributedContext(torch.device("cpu")), StopRequest())
    run.logger.close()
    arguments = run.state.ema.model, run.val_data, run.distributed, run.settings, lambda: False
    assert validate(*arguments).clips == 3
    short = validate(*arguments, max_seconds=0)
    assert short.clips == 1 and math.isfinite(short.scores["val_loss"])


def test_a_validation_of_bad_weights_has_no_pictures_and_no_best(tmp_path):
    run = loop.Trainer(run_config(tmp_path), DistributedContext(torch.device("cpu")), StopRequest())
    for weight in run.state.ema.model.refine.parameters():
        weight.data.fill_(math.nan)
    run._validate(lambda: False)
    run.logger.close()
    assert not (tmp_path / "best.safetensors").exists() and run.best_clips == 0
    assert math.isnan(float(rows(tmp_path)[-1]["val_psnr"]))


def test_best_weights_are_those_of_the_best_validation(unbroken):
    from lift.model.weights import read_weights

    scores = {row["step"]: float(row["val_psnr"]) for row in rows(unbroken) if row["val_psnr"]}
    step = max(scores, key=scores.get)
    assert read_weights(unbroken / "best.safetensors")[2]["step"] == step


@pytest.mark.slow
def test_a_checkpoint_records_what_computed_its_steps(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lift.provenance.commit", lambda: "abc")
        stop_after(patch, 4)
        train(run_config(tmp_path))
    train(run_config(tmp_path, amp="bfloat16"))
    stored = checkpoints.read(tmp_path / "checkpoint" / "checkpoint-00000006").state
    assert [
        (entry["steps"], entry["commit"] == "abc", entry["precision"])
        for entry in stored["history"]
    ] == [(4, True, "float32"), (2, False, "bfloat16")]
    assert (
        all(
            entry["seconds"] > 0 and "processor" in entry["hardware"] for entry in stored["history"]
        )
        and stored["total_steps"] == 6
    )


# -- parts -----------------------------------------------------------------------------------------


def test_a_run_may_start_from_weights(tmp_path, unbroken):
    run = loop.Trainer(
        run_config(tmp_path, init_weights=str(unbroken / "last.safetensors")),
        DistributedContext(torch.device("cpu")),
        StopRequest(),
    )
    run.logger.close()
    given = load_file(unbroken / "last.safetensors")
    assert (
        all(
            torch.equal(tensor, given[name])
            for name, tensor in run.state.model.state_dict().items()
        )
        and run.step == 0
    )


def test_an_encoder_with_given_weights_is_frozen_for_the_first_epochs(
    unbroken, tmp_path, monkeypatch
):
    given = load_file(unbroken / "last.safetensors")
    encoder = [name for name in given if name.startswith("encoder.")]
    weights = {"pretrained_encoder": str(unbroken / "last.safetensors")}
    for step, settings in ((2, weights), (4, {})):  # epochs of two steps; the first is frozen
        with monkeypatch.context() as patch:
            stop_after(patch, step)
            train(run_config(tmp_path, **settings))
        now = load_file(tmp_path / f"checkpoint/checkpoint-0000000{step}/model.safetensors")
        assert (step == 2) == all(torch.equal(now[name], given[name]) for name in encoder)


def test_an_encoder_with_random_weights_is_never_frozen(unbroken, tmp_path, capsys):
    config = run_config(tmp_path, freeze_epochs=9)
    run = loop.Trainer(config, DistributedContext(torch.device("cpu")), StopRequest())
    run.logger.close()
    assert run.state.model.freeze_epochs == 0
    assert "trained from the start" in capsys.readouterr().err


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_half_precision_trains_on_a_cpu_too(tmp_path, amp):
    assert train(run_config(tmp_path, amp=amp, epochs=1, validate_epochs=9)).step == 2
    assert all(
        tensor.isfinite().all() for tensor in load_file(tmp_path / "last.safetensors").values()
    )
