"""Checkpoints: complete or absent, the newest two remain, and a corrupt one is an error that says
how to resume.
"""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lift.config import Config, tiny
from lift.config.old_names import RENAMED
from lift.errors import LiftError
from lift.training import checkpoints

CONFIG = Config(tiny())


class Model(nn.Linear):
    """As little of a model as a checkpoint needs."""

    config = CONFIG.model

    def __init__(self, value: float = 0.0):
        super().__init__(3, 2)
        nn.init.constant_(self.weight, value)


def state(step: int) -> dict:
    return {
        "step": step,
        "best": float("-inf"),
        "random": torch.arange(5),
        "means": {"loss": [1.5, 2.0]},
    }


def write(folder: Path, step: int) -> Path:
    return checkpoints.write(folder / "checkpoint", Model(step), Model(-step), state(step), CONFIG)


def sentence(error) -> str:
    text = str(error.value)
    assert text and "\n" not in text
    return text


class Killed(BaseException):
    """What no handler catches."""


# -- write and read --------------------------------------------------------------------------------


def test_what_was_written_comes_back(tmp_path):
    path = write(tmp_path, 12)
    assert checkpoints.find(tmp_path, "auto") == path
    checkpoint = checkpoints.read(path, CONFIG)
    model, ema = Model(), Model()
    checkpoint.restore(model, ema)
    assert torch.equal(model.weight, Model(12).weight) and torch.equal(
        ema.weight, Model(-12).weight
    )
    assert (
        checkpoint.config == CONFIG
        and checkpoint.state["step"] == 12
        and checkpoint.state["means"] == {"loss": [1.5, 2.0]}
    )
    assert torch.equal(checkpoint.state["random"], state(12)["random"])


def test_the_newest_two_are_kept(tmp_path):
    for step in (5, 10, 100, 2000):
        write(tmp_path, step)
    names = sorted(p.name for p in (tmp_path / "checkpoint").iterdir())
    assert names == ["checkpoint-00000100", "checkpoint-00002000", "latest"]


def test_resuming_from_an_older_one_discards_the_newer(tmp_path):
    for step in (10, 20):
        write(tmp_path, step)
    write(tmp_path, 15)
    assert [p.name for p in checkpoints.list_complete(tmp_path / "checkpoint")] == [
        "checkpoint-00000010",
        "checkpoint-00000015",
    ]
    assert checkpoints.find(tmp_path, "auto").name == "checkpoint-00000015"


def test_the_same_step_may_be_written_again(tmp_path):
    write(tmp_path, 10)
    assert checkpoints.read(write(tmp_path, 10), CONFIG).state["step"] == 10


def test_a_checkpoint_with_former_names_of_settings_is_read(tmp_path):
    path = write(tmp_path, 10)
    manifest = json.loads((path / "manifest.json").read_text())
    for section, names in RENAMED.items():
        settings = manifest["config"][section]
        for former, today in names.items():
            settings[former] = settings.pop(today)
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert "ema" in manifest["config"]["train"]
    assert checkpoints.read(path, CONFIG).config == CONFIG == checkpoints.read_config(path)


# -- killed and full -------------------------------------------------------------------------------


def _writes(monkeypatch, fail_at: int, error: BaseException) -> list[str]:
    """Let the write number `fail_at` leave half its bytes and fail; returns the list of the files
    written so far.
    """
    done, real = [], Path.write_bytes

    def write_bytes(self, data):
        if len(done) == fail_at:
            real(self, data[: len(data) // 2])
            raise error
        done.append(self.name)
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    return done


def _moves(monkeypatch, fail_at: int, error: BaseException) -> None:
    """Let the kill come before the renaming number `fail_at` of a folder."""
    count, real = [0], Path.rename

    def rename(self, target):
        count[0] += 1
        if count[0] > fail_at:
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)


@pytest.mark.parametrize("fail_at", range(5))  # model, average, state, manifest, latest
def test_a_kill_during_any_write_leaves_a_checkpoint_to_resume_from(tmp_path, monkeypatch, fail_at):
    write(tmp_path, 10)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _writes(patch, fail_at, Killed())
        write(tmp_path, 20)
    found = checkpoints.find(tmp_path, "auto")
    assert (
        found.name == "checkpoint-00000010"
    )  # also where 20 is complete: `latest` does not name it yet
    assert checkpoints.read(found, CONFIG).state["step"] == 10
    write(tmp_path, 20)
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == [
        "checkpoint-00000010",
        "checkpoint-00000020",
        "latest",
    ]


def test_a_kill_before_the_renaming_leaves_the_former(tmp_path, monkeypatch):
    write(tmp_path, 10)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _moves(patch, 0, Killed())
        write(tmp_path, 20)
    assert checkpoints.find(tmp_path, "auto").name == "checkpoint-00000010"


def test_a_kill_before_the_first_naming_leaves_the_first_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _writes(patch, 4, Killed())
        write(tmp_path, 10)
    assert not (tmp_path / "checkpoint" / "latest").exists()
    assert checkpoints.read(checkpoints.find(tmp_path, "auto"), CONFIG).state["step"] == 10


@pytest.mark.parametrize("fail_at", range(4))
def test_a_full_disk_leaves_the_former_checkpoint_and_nothing_else(tmp_path, monkeypatch, fail_at):
    former = write(tmp_path, 10)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with (
        monkeypatch.context() as patch,
        pytest.raises(LiftError, match="No space left on device") as error,
    ):
        _writes(patch, fail_at, OSError(errno.ENOSPC, "No space left on device"))
        write(tmp_path, 20)
    assert "checkpoint-00000020" in sentence(error) and str(former) in sentence(error)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


# -- finding -------------------------------------------------------------------------------------


def test_a_new_run_has_none(tmp_path):
    assert (
        checkpoints.find(tmp_path / "absent", "auto") is None
        and checkpoints.find(tmp_path, "never") is None
    )


def test_never_does_not_write_over_a_run(tmp_path):
    write(tmp_path, 10)
    with pytest.raises(LiftError, match="checkpoint-00000010") as error:
        checkpoints.find(tmp_path, "never")
    assert "--output" in sentence(error)


@pytest.mark.parametrize("inner", ["", "checkpoint", "checkpoint/checkpoint-00000010"])
def test_a_run_may_be_named_by_any_of_its_folders(tmp_path, inner):
    path = write(tmp_path, 10)
    assert checkpoints.find(tmp_path, str(tmp_path / inner)) == path


def test_a_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(LiftError, match="no checkpoint there") as error:
        checkpoints.find(tmp_path, str(tmp_path / "nowhere"))
    assert "nowhere" in sentence(error)


def test_another_runs_checkpoint_does_not_mix_with_this_ones(tmp_path):
    write(tmp_path / "a", 10)
    write(tmp_path / "b", 10)
    with pytest.raises(LiftError, match="another --output"):
        checkpoints.find(tmp_path / "a", str(tmp_path / "b"))


# -- corrupt and different -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*checkpoints.FILES, "manifest.json"])
@pytest.mark.parametrize("spoil", ["cut", "flip", "delete"])
def test_a_spoilt_file_is_named_and_so_is_the_checkpoint_before(tmp_path, name, spoil):
    before, path = write(tmp_path, 10), write(tmp_path, 20)
    content = bytearray((path / name).read_bytes())
    if spoil == "delete":
        (path / name).unlink()
    else:
        middle = content.index(b"crc32") if name == "manifest.json" else len(content) - 40
        content[middle] ^= 1
        (path / name).write_bytes(content if spoil == "flip" else content[:middle])
    with pytest.raises(LiftError, match="corrupt or missing") as error:
        checkpoints.read(path, CONFIG)
    assert str(path / name) in sentence(error) and f"--resume {before}" in sentence(error)


def test_a_lone_broken_checkpoint_says_that_there_is_no_other(tmp_path):
    path = write(tmp_path, 10)
    (path / "state.pt").write_bytes(b"")
    with pytest.raises(LiftError, match="no earlier one"):
        checkpoints.read(path, CONFIG)


@pytest.mark.parametrize(
    "other, named",
    [
        (
            replace(CONFIG, model=replace(tiny(), preset="small", layers=3)),
            ["[model]", "preset is tiny there and small here", "layers is 2"],
        ),
        (
            replace(CONFIG, train=replace(CONFIG.train, lr=1.0, batch_size=9)),
            ["[train]", "batch_size is 4 there and 9 here", "lr is"],
        ),
        (replace(CONFIG, data=replace(CONFIG.data, strides=(4,))), ["[data]", "strides"]),
    ],
)
def test_a_run_with_another_configuration_is_refused_by_the_fields_that_differ(
    tmp_path, other, named
):
    path = write(tmp_path, 10)
    with pytest.raises(LiftError) as error:
        checkpoints.read(path, other)
    assert all(words in sentence(error) for words in [*named, str(path)])


def test_where_and_how_long_a_run_resumes_may_change(tmp_path):
    path = write(tmp_path, 10)
    other = replace(
        CONFIG,
        data=replace(CONFIG.data, num_workers=0, data_root="elsewhere"),
        kernels="reference",
        train=replace(CONFIG.train, max_minutes=3.0, device="cpu", output="moved"),
    )
    assert checkpoints.read(path, other).state["step"] == 10
