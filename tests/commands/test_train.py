"""`python -m lift.train` as a user runs it: killed, resumed, and with wrong input."""

import multiprocessing
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from lift import kernels
from lift.commands import train
from lift.data.dataset import ClipDataset
from lift.errors import LiftError, run
from lift.training import checkpoints
from tests.support.training_runs import run_flags

FLAGS = run_flags(epochs=10, epoch_steps=1, warmup_steps=4, validate_epochs=99, log_steps=3)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums over several threads are added up in another order, so both processes use one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def go(*argv) -> int:
    return run(train.main, [str(word) for word in argv])


def last_line(capsys) -> str:
    error = capsys.readouterr().err.strip().splitlines()
    assert error and "Traceback" not in "".join(error)
    return error[-1]


@pytest.mark.slow
def test_a_killed_run_resumes_and_ends_like_the_unbroken_one(tmp_path, capsys):
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    process = multiprocessing.get_context("fork").Process(
        target=go, args=(*FLAGS, "--output", killed)
    )
    process.start()
    while process.is_alive() and not (killed / "checkpoint" / "latest").exists():
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the run ended before it could be killed"
    assert 0 < checkpoints.read(checkpoints.find(killed, "auto")).state["step"] < 10

    assert go("--output", killed, "--device", "cpu") == 0  # the checkpoint knows the rest
    assert "step 10 of 10" in capsys.readouterr().out
    assert go(*FLAGS, "--output", unbroken) == 0
    for name in (
        "last.safetensors",
        "best.safetensors",
        "checkpoint/checkpoint-00000010/model.safetensors",
    ):
        one, other = load_file(killed / name), load_file(unbroken / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("finished")
    assert go(*FLAGS, "--epochs", 2, "--output", output) == 0
    return output


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--preset", "small"], ["another configuration", "preset is tiny there and small here"]),
        (["--seed", "3"], ["another configuration", "seed is 0 there and 3 here"]),
        (["--resume", "never"], ["--output"]),
        (["--resume", "/nowhere"], ["/nowhere", "no checkpoint"]),
    ],
)
def test_a_run_is_not_mixed_with_another(finished, capsys, flags, words):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    assert go("--output", finished, "--device", "cpu", *flags) == 1
    line = last_line(capsys)
    assert all(word in line for word in words)
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


# -- changed on purpose ----------------------------------------------------------------------------


def test_a_finished_run_is_extended_and_changed_on_purpose(tmp_path, capsys):
    assert go(*FLAGS, "--epochs", 2, "--output", tmp_path) == 0
    before = checkpoints.read(checkpoints.find(tmp_path, "auto")).state
    flags = ["--epochs", 4, "--lr", 1e-4, "--batch_size", 2, "--freeze_epochs", 3]
    flags += ["--weight_decay", 0.5, "--census_weight", 0.2, "--crop_height", 48]
    capsys.readouterr()
    assert go("--output", tmp_path, "--device", "cpu", *flags) == 0
    changes = "census_weight 0.1 -> 0.2, crop_height 64 -> 48, epochs 2 -> 4, freeze_epochs 0 -> 3"
    printed = capsys.readouterr()
    assert "step 4 of 4" in printed.out
    line = next(x for x in printed.err.splitlines() if x.startswith("changed on resume: "))
    assert set(changes.split(", ")) < set(line.partition(": ")[2].split(", "))
    state = checkpoints.read(checkpoints.find(tmp_path, "auto")).state
    assert state["data"]["samples"] == 2 + 2 * 2  # two steps of one clip, then two of two
    assert state["optimizer"]["state"][0]["step"] == before["optimizer"]["state"][0]["step"] + 2
    assert state["optimizer"]["param_groups"][0]["weight_decay"] == 0.5
    assert [("changed" in entry, entry["steps"]) for entry in state["history"]] == [
        (False, 2),
        (True, 2),
    ]
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]].count("2") == 1, "the curve goes on"


def test_samples_go_on_at_the_next_whole_batch(tmp_path):
    assert go(*FLAGS, "--epochs", 4, "--output", tmp_path) == 0
    assert go("--output", tmp_path, "--device", "cpu", "--batch_size", 3, "--epochs", 5) == 0
    assert checkpoints.read(checkpoints.find(tmp_path, "auto")).state["data"]["samples"] == 6 + 3


def test_what_only_watches_a_run_changes_without_a_word(finished, capsys):
    assert go("--output", finished, "--device", "cpu", "--log_steps", 7, "--threads", 1) == 0
    assert "changed on resume" not in capsys.readouterr().err


def test_a_run_in_progress_is_not_written_by_a_second(tmp_path, capsys):
    process = multiprocessing.get_context("fork").Process(
        target=go, args=(*FLAGS, "--epochs", 5000, "--checkpoint_minutes", 0, "--output", tmp_path)
    )
    process.start()
    try:
        while process.is_alive() and not (tmp_path / "checkpoint" / "latest").exists():
            time.sleep(0.01)
        assert go("--output", tmp_path, "--device", "cpu") == 1
        assert f"process {process.pid} on" in last_line(capsys)
    finally:
        process.kill()
        process.join()


# -- what a short run leaves -----------------------------------------------------------------------


def test_a_run_that_its_time_limit_ends_has_a_score(tmp_path, capsys):
    flags = ["--epoch_steps", 1000, "--epochs", 5, "--max_minutes", 1e-6, "--output", tmp_path]
    assert go(*FLAGS, *flags) == 0
    printed = capsys.readouterr()
    assert "best validation" in printed.out and "SSIM" in printed.err
    assert (tmp_path / "best.safetensors").is_file()
    assert go("--output", tmp_path, "--device", "cpu", "--max_minutes", 1e-6) == 0
    assert "SSIM" not in capsys.readouterr().err, "one score is enough"


def test_bundled_weights_have_a_name(tmp_path, capsys):
    flags = "--data_source synthetic --preset tiny --crop_height 64 --crop_width 64 --device cpu"
    flags += " --batch_size 1 --num_workers 0 --epochs 1 --epoch_steps 1 --validate_clips 1"
    flags += " --init_weights tiny --context_frames 3"
    assert go(*flags.split(), "--output", tmp_path) == 0
    assert "best validation" in capsys.readouterr().out


def test_fused_kernels_without_support_are_one_sentence(tmp_path, capsys, monkeypatch):
    def unsupported(*arguments, **options):
        raise kernels.UnsupportedError("warp: no fused backend supports this call (no GPU)")

    monkeypatch.setattr("lift.training.state.TrainState.train_step", unsupported)
    assert go(*FLAGS, "--kernels", "fused", "--output", tmp_path) == 1
    assert "--kernels: warp: no fused backend" in last_line(capsys)


def test_an_unreadable_sample_costs_no_step(tmp_path, capsys, monkeypatch):
    original = ClipDataset.__getitem__

    def broken(self, g):
        if self.train and g == 2:
            raise LiftError("im07.png is truncated; copy it again")
        return original(self, g)

    monkeypatch.setattr(ClipDataset, "__getitem__", broken)
    flags = ["--epoch_steps", 9, "--epochs", 1, "--output", tmp_path]
    assert go(*FLAGS, *flags) == 1
    assert "im07.png is truncated; copy it again (the checkpoint of step 2" in last_line(capsys)
    assert checkpoints.read(checkpoints.find(tmp_path, "auto")).state["step"] == 2


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_corrupt_checkpoint_is_named_and_the_one_before_resumes(tmp_path, capsys):
    assert go(*FLAGS, "--epochs", 2, "--output", tmp_path) == 0
    broken = tmp_path / "checkpoint" / "checkpoint-00000002" / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-8])
    assert go("--output", tmp_path, "--device", "cpu") == 1
    line = last_line(capsys)
    assert str(broken) in line
    remedy = line.partition("--resume ")[2].split()[0]
    assert go("--resume", remedy, "--device", "cpu") == 0  # the output is that of the checkpoint
    assert checkpoints.read(checkpoints.find(tmp_path, "auto")).state["step"] == 2


def test_weights_of_another_preset_are_no_start(tmp_path, finished, capsys):
    flags = "--data_source synthetic --preset tiny --device cpu".split()
    assert (
        go(*flags, "--init_weights", finished / "last.safetensors", "--output", tmp_path / "new")
        == 1
    )
    assert "another model" in last_line(capsys) and not (tmp_path / "new").exists()


def test_the_encoder_starts_from_a_file_and_says_so(tmp_path, finished, capsys):
    assert (
        go(
            *FLAGS,
            "--epochs",
            1,
            "--pretrained_encoder",
            finished / "last.safetensors",
            "--output",
            tmp_path,
        )
        == 0
    )
    assert "tensors loaded from" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--learning_rate", "1"], "unknown flag '--learning_rate'"),
        (["--ema", "0.9"], "unknown flag '--ema'; it is now --ema_decay"),
        (["--context", "8"], "--attn_channels"),
        (["--context", "8"], "--context_frames"),
        (["--batch_size", "many"], "--batch_size"),
    ],
)
def test_an_unknown_flag_or_a_wrong_value_is_one_sentence(capsys, flags, words):
    with pytest.raises(SystemExit) as ending:
        go(*flags)
    assert ending.value.code == 2 and words in last_line(capsys)


def test_missing_data_is_an_error_before_anything_is_written(tmp_path, capsys):
    assert go("--output", tmp_path / "new", "--device", "cpu") == 1
    assert "--data_root" in last_line(capsys) and not (tmp_path / "new").exists()
