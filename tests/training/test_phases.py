"""Training in phases: interrupted anywhere it ends like the unbroken one, and it never mixes with
another training.
"""

import signal

import pytest
import torch
from safetensors.torch import load_file

from lift.commands import train
from lift.config import BUILTIN_FOLDER
from lift.errors import run
from lift.model.weights import read_weights
from lift.training import checkpoints, loop, phases
from tests.support.training_runs import run_flags, stop_after

SIZE = run_flags(validate_epochs=1, log_steps=1)
PHASES = {
    "one": (1, 2, 1e-3),
    "two": (2, 1, 2e-3),
    "three": (1, 1, 3e-3),
}  # epochs, steps of each, learning rate


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, (epochs, steps, lr) in PHASES.items():
        (folder / f"{name}.toml").write_text(
            f"[train]\nepochs = {epochs}\nepoch_steps = {steps}\nlr = {lr}\nwarmup_steps = 1\n"
        )
    return [folder / f"{name}.toml" for name in PHASES]


def go(files, output, *flags) -> int:
    return run(
        train.main, ["--phases", *map(str, files), *SIZE, "--output", str(output), *map(str, flags)]
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, files):
    output = tmp_path_factory.mktemp("unbroken")
    assert go(files, output) == 0
    return output


def assert_same(a, b):
    for name in ("1_one", "2_two", "3_three"):
        one, other = (load_file(root / name / "last.safetensors") for root in (a, b))
        assert all(torch.equal(one[key], other[key]) for key in one), name


def printed(capsys) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out + captured.err


# -- from phase to phase ---------------------------------------------------------------------------


@pytest.mark.slow
def test_each_phase_starts_from_the_average_of_the_one_before_with_its_own_settings(unbroken):
    configs = [
        read_weights(unbroken / name / "last.safetensors")[1].train
        for name in ("1_one", "2_two", "3_three")
    ]
    assert [(c.epochs, c.epoch_steps, c.lr) for c in configs] == list(PHASES.values())
    assert [c.init_weights for c in configs] == [
        "",
        f"{unbroken}/1_one/last.safetensors",
        f"{unbroken}/2_two/last.safetensors",
    ]


def test_the_start_is_that_of_the_first_phase(files, tmp_path, unbroken, monkeypatch):
    starts = []
    monkeypatch.setattr(
        phases,
        "run",
        lambda config, *_: (
            starts.append(config.train.init_weights) or loop.TrainResult(1, 1, "", None, 0.0)
        ),
    )
    go(files, tmp_path, "--init_weights", unbroken / "3_three" / "last.safetensors")
    assert starts == [
        f"{unbroken}/3_three/last.safetensors",
        f"{tmp_path}/1_one/last.safetensors",
        f"{tmp_path}/2_two/last.safetensors",
    ]


def test_flags_hold_for_every_phase(files, tmp_path, monkeypatch):
    rates = []
    monkeypatch.setattr(
        phases,
        "run",
        lambda config, *_: (
            rates.append((config.train.lr, config.train.epochs))
            or loop.TrainResult(1, 1, "", None, 0.0)
        ),
    )
    go(files, tmp_path, "--lr", 0.5)
    assert rates == [(0.5, 1), (0.5, 2), (0.5, 1)]


# -- resuming --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_that_is_always_stopped_at_once_ends_like_the_unbroken_one(
    files, tmp_path, unbroken, capsys
):
    lines = []
    for _ in range(9):
        assert go(files, tmp_path, "--max_minutes", 1e-9) == 0
        lines.append(printed(capsys))
        if "all phases are finished" in lines[-1]:
            break
    assert (
        len(lines) == 7
    )  # four steps and three validations: each time goes at least one of them further
    assert (
        "phase 1 of 3 (one): step 1 of 2" in lines[0]
        and "remaining: 1 steps of one, two (2 steps), three (1 steps)" in lines[0]
    )
    assert_same(tmp_path, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_phases(files, tmp_path, unbroken, monkeypatch, capsys, number):
    with monkeypatch.context() as patch:
        stop_after(patch, 2, number)
        assert go(files, tmp_path) == 128 + number
    assert signal.Signals(number).name in printed(capsys) and not (tmp_path / "2_two").exists()
    assert go(files, tmp_path) == 0
    assert_same(tmp_path, unbroken)


@pytest.mark.slow
def test_a_kill_before_the_weights_of_a_finished_phase_costs_nothing(
    files, tmp_path, unbroken, monkeypatch
):
    real = loop.save_weights

    def kill(path, *arguments, **metadata):
        if path.name == "last.safetensors" and metadata["step"] == "2":
            raise KeyboardInterrupt
        real(path, *arguments, **metadata)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_weights", kill)
        assert go(files, tmp_path) == 130
    assert checkpoints.find(tmp_path / "1_one", "auto").name == "checkpoint-00000002"
    assert not (tmp_path / "1_one" / "last.safetensors").exists()
    assert go(files, tmp_path) == 0
    assert_same(tmp_path, unbroken)


def test_a_finished_training_does_nothing_and_says_so(files, unbroken, capsys, monkeypatch):
    monkeypatch.setattr(phases, "run", None)  # would be called for a phase with steps to make
    assert go(files, unbroken) == 0
    assert "phase 3 of 3 (three): step 1 of 1" in printed(capsys)


def test_a_phase_may_be_added(files, unbroken, monkeypatch):
    started = []
    monkeypatch.setattr(
        phases,
        "run",
        lambda config, *_: (
            started.append(config.train.output) or loop.TrainResult(1, 1, "", None, 0.0)
        ),
    )
    go([*files, files[0]], unbroken)
    assert started == [f"{unbroken}/4_one"]


# -- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--lr", 1], "lr is 0.001 there and 1.0 here"),
        (["--resume", "never"], "leave out --resume never"),
        (["--preset", "small"], "preset is tiny there and small here"),
    ],
)
def test_a_training_is_not_mixed_with_another(files, unbroken, capsys, flags, words):
    before = {p: p.stat().st_mtime_ns for p in unbroken.rglob("*")}
    assert go(files, unbroken, *flags) == 1
    assert words in printed(capsys)
    assert {p: p.stat().st_mtime_ns for p in unbroken.rglob("*")} == before


def test_other_phases_are_refused(files, unbroken, capsys):
    assert go(files[:2], unbroken) == 1
    assert "3_three, a phase of another training" in printed(capsys)


def test_a_single_run_and_a_training_in_phases_do_not_share_a_folder(files, unbroken, capsys):
    assert run(train.main, [*SIZE, "--output", str(unbroken)]) == 1
    assert "1_one, 2_two, 3_three" in printed(capsys)
    assert go(files, unbroken / "1_one") == 1
    assert "has a single run" in printed(capsys)


def test_phases_of_different_models_are_refused(files, tmp_path, capsys):
    for name, width in {"narrow": 8, "wide": 16}.items():
        (tmp_path / f"{name}.toml").write_text(f"[model]\nhidden4 = {width}\n")
    assert (
        run(
            train.main,
            [
                "--phases",
                str(tmp_path / "narrow.toml"),
                str(tmp_path / "wide.toml"),
                "--output",
                str(tmp_path / "new"),
            ],
        )
        == 1
    )
    assert (
        "narrow and wide train different models (hidden4 is 8 there and 16 here)" in printed(capsys)
        and not (tmp_path / "new").exists()
    )


@pytest.mark.parametrize("flags", [["--phases", "warmup", "--memory_report"], ["--phases"]])
def test_phases_without_files_or_with_a_report_are_refused(capsys, flags):
    with pytest.raises(SystemExit) as ending:
        run(train.main, flags)
    assert ending.value.code == 2 and "--phases" in printed(capsys)


def test_the_help_names_the_builtin_configurations(capsys):
    with pytest.raises(SystemExit):
        run(train.main, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(path.stem in text for path in BUILTIN_FOLDER.glob("*.toml"))
