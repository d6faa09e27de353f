"""`lift evaluate` under the protocol of a test set: flags, files, and mistakes in one sentence."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lift import kernels
from lift.commands import evaluate as command
from lift.commands import evaluate_methods
from lift.errors import LiftError, run
from lift.evaluation.protocols.registry import TEST_SETS
from tests.support.published_folders import write

pytestmark = [pytest.mark.native, pytest.mark.videos]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of nine frames."""
    write((tmp_path / "clip" / f"im{k:02d}.png" for k in range(9)), 32, 48)
    return tmp_path / "clip"


@pytest.fixture
def function(tmp_path) -> str:
    """A function in a user's file."""
    path = tmp_path / "mine.py"
    path.write_text("def right(a, b, t):\n    return b\n")
    return f"{path}:right"


def evaluate(folder: Path, *flags):
    return command.main(["--protocol", "frames", "--data_root", str(folder), *map(str, flags)])


def scores(path: Path) -> dict:
    return json.loads(path.read_text())["scores"]


# -- protocols and methods -------------------------------------------------------------------------


def test_the_list_of_protocols_has_every_layout(capsys):
    command.main(["--protocol", "list"])
    shown = capsys.readouterr().out
    assert all(each.layout in shown for each in TEST_SETS.values())
    assert "real16" in shown and "long_context" in shown


def test_without_methods_the_baselines_are_scored(folder, tmp_path, capsys):
    evaluate(folder, "--output", tmp_path / "s.json")
    assert list(scores(tmp_path / "s.json")) == ["average", "dis", "dis_cubic"]
    assert "protocol frames" in capsys.readouterr().out


def test_a_preset_names_the_bundled_weights_and_context_is_compared(folder, tmp_path):
    flags = ["--checkpoint", "tiny", "--limit", 1, "--device", "cpu", "--methods", "lift,nearest"]
    evaluate(folder, *flags, "--output", tmp_path / "s.json")
    assert list(scores(tmp_path / "s.json")) == ["lift_2", "lift_15", "nearest"]
    result = json.loads((tmp_path / "s.json").read_text())
    assert result["weights"]["file"] == "tiny.safetensors"
    assert set(result["ms_per_frame"]) == {"lift_2", "lift_15", "nearest"}
    assert result["peak_process_memory"] > 2**20


def test_a_function_and_saved_frames_are_methods(folder, function, tmp_path):
    evaluate(folder, "--methods", function, "--save_frames", tmp_path / "saved")
    flags = ["--methods", f"nearest,{function}", "--frames", f"theirs={tmp_path / 'saved/right'}"]
    evaluate(folder, *flags, "--output", tmp_path / "s.json")
    found = scores(tmp_path / "s.json")
    assert found["right"] == found["theirs"] == found["nearest"]


def test_another_model_stands_in_the_same_table(folder, tmp_path):
    program = tmp_path / "rife-ncnn-vulkan"
    program.write_text(
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n"
        'case "$1" in -0) in="$2";; -o) out="$2";; esac; shift\ndone\ncp "$in" "$out"\n'
    )
    program.chmod(0o755)
    flags = ["--methods", "rife_ncnn,copy", "--rife_ncnn", program, "--output", tmp_path / "s.json"]
    evaluate(folder, *flags)
    found = scores(tmp_path / "s.json")
    assert found["rife_ncnn"] == found["copy"]


def test_every_and_limit_choose_samples(folder, tmp_path):
    evaluate(
        folder, "--methods", "copy", "--every", 2, "--limit", 1, "--output", tmp_path / "s.json"
    )
    assert json.loads((tmp_path / "s.json").read_text())["samples"] == ["clip/000001"]
    evaluate(folder, "--methods", "copy", "--every", 2, "--output", tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["samples"] == [
        "clip/000001",
        "clip/000005",
    ]


def test_clips_choose_groups(folder, tmp_path):
    write(folder.parent / "more" / name / f"{k}.png" for name in "ab" for k in range(5))
    flags = ["--methods", "copy", "--clips", "b", "--output", tmp_path / "s.json"]
    evaluate(folder.parent / "more", *flags)
    assert list(json.loads((tmp_path / "s.json").read_text())["groups"]) == ["b"]


def test_further_metrics_are_columns(folder, tmp_path):
    flags = ["--methods", "copy", "--metrics", "tof,psnr,nie", "--output", tmp_path / "s.json"]
    evaluate(folder, *flags)
    head = (tmp_path / "s.csv").read_text().splitlines()[0]
    assert head == "sample,group,method,psnr,psnr_float,ssim,ssim_rife,ie,nie,tof"


def test_without_output_nothing_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    evaluate(folder, "--methods", "copy")
    assert sorted(tmp_path.rglob("*")) == before


# -- stopped, resumed, sharded ---------------------------------------------------------------------


def test_two_shards_write_what_one_process_writes(folder, tmp_path, capsys):
    evaluate(folder, "--output", tmp_path / "one.json")
    for part in ("2/2", "1/2"):
        evaluate(folder, "--output", tmp_path / "two.json", "--shard", part)
    shown = capsys.readouterr().out
    assert "2 of 4 samples are scored; other parts are missing" in shown
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_finished_evaluation_is_shown_and_restart_scores_anew(folder, tmp_path, capsys):
    flags = ["--methods", "copy", "--output", tmp_path / "s.json"]
    evaluate(folder, *flags)
    (tmp_path / "s.csv").unlink()
    capsys.readouterr()
    evaluate(folder, *flags)
    shown = capsys.readouterr().out
    assert "protocol frames" in shown and "scored before" in shown
    assert not (tmp_path / "s.csv").exists()
    evaluate(folder, *flags, "--restart")
    assert (tmp_path / "s.csv").exists()


def test_processes_of_torchrun_are_shards(folder, tmp_path, monkeypatch):
    evaluate(folder, "--output", tmp_path / "one.json")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        evaluate(folder, "--output", tmp_path / "two.json")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with pytest.raises(LiftError, match="--shard does not go with torchrun"):
        evaluate(folder, "--output", tmp_path / "two.json", "--shard", "1/2")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_one_sentence_and_the_same_command_resumes(folder, tmp_path, number, code):
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\ndef half(a, b, t):\n    time.sleep(0.3)\n    return a / 2 + b / 2\n"
    )
    flags = ["--protocol", "frames", "--data_root", folder, "--methods", f"{slow}:half,dis"]
    words = [sys.executable, "-m", "lift", "evaluate", *map(str, flags)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(output):
        return subprocess.Popen(
            [*words, "--output", str(output)], env=environment, stderr=subprocess.PIPE, text=True
        )

    stopped = start(tmp_path / "killed.json")
    rows = tmp_path / "killed.rows" / "rows-1-of-1.jsonl"
    for _ in range(300):
        if rows.is_file() and rows.stat().st_size:
            break
        time.sleep(0.1)
    stopped.send_signal(number)
    _, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == code
    sentence = [line for line in errors.splitlines() if "lift:" in line]
    assert len(sentence) == 1 and "of 4 samples; the same command resumes" in sentence[0]
    assert "Traceback" not in errors and not (tmp_path / "killed.json").exists()
    for output in ("killed.json", "whole.json"):
        command.main([*map(str, flags), "--output", str(tmp_path / output)])
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "1/2"], "several processes need --output"),
        (["--restart"], "--restart replaces what is at --output; give"),
        (["--restart", "--shard", "1/2", "--output", "s.json"], "would remove the rows of the oth"),
        (["--output", "scores.csv"], "--output must be a .json file, got scores.csv"),
        (["--methods", "lift"], "scoring lift needs weights"),
        (["--checkpoint", "tiny", "--methods", "dis"], "does not name lift"),
        (["--checkpoint", "base"], "'base' is neither a file nor the name of bundled weights"),
        (["--checkpoint", "none.safetensors"], "none.safetensors is not a file"),
        (["--metrics", "lpips"], "LPIPS needs"),
        (["--frames", "a=nowhere"], "nowhere is not a folder; --frames takes"),
        (["--methods", "none.py:f"], "none.py is not a file"),
        (["--clips", "no"], "there is no clip or group no in protocol frames; there are clip"),
        (["--worst", "a.png"], "--worst compares lift with dis"),
    ],
)
def test_mistakes_are_one_sentence(folder, monkeypatch, flags, message):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(LiftError, match=message):
        evaluate(folder, *flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--protocol", "vimeo_tripled"], "unknown protocol 'vimeo_tripled'.*vimeo_triplet"),
        (["--methods", "rive"], "unknown method 'rive'"),
        (["--metrics", "lpisp"], "unknown metric 'lpisp'; did you mean 'lpips'"),
        (["--shard", "3/2"], "must be I/N with I from 1 to N"),
        (["--frames", "dir"], "must be NAME=DIR"),
        (["--threads", "-1"], "--threads: must be a whole number of at least 0, got '-1'"),
        (["--frames", "../x=dir"], "a NAME has letters, digits and .* only, got '../x'"),
    ],
)
def test_values_that_make_no_sense_are_refused(folder, capsys, flags, message):
    with pytest.raises(SystemExit):
        evaluate(folder, *flags)
    assert re.search(message, capsys.readouterr().err)


def test_fused_kernels_without_a_gpu_are_one_sentence(folder, monkeypatch, capsys):
    text = "attention: no fused backend supports this call (triton: no GPU); use kernels='auto'"

    class Model(torch.nn.Module):
        def forward(self, clip, t):
            raise kernels.UnsupportedError(text)  # as the kernels' dispatcher does

    monkeypatch.setattr(evaluate_methods, "load", lambda *_: Model())
    flags = ["--protocol", "frames", "--data_root", str(folder), "--checkpoint", "tiny"]
    assert run(command.main, [*flags, "--kernels", "fused"]) == 1
    assert capsys.readouterr().err.endswith(f"lift: error: --kernels: {text}\n")


def test_clips_without_a_manifest_are_pointed_to_the_protocol_of_any_frames(folder):
    with pytest.raises(LiftError, match="has no manifest.json.*use --protocol frames"):
        command.main(["--data_root", str(folder)])


def test_test_sets_need_a_folder():
    with pytest.raises(LiftError, match="protocol xiph_2k needs --data_root: BoxingPractice-001"):
        command.main(["--protocol", "xiph_2k"])


def test_a_result_that_cannot_be_written_is_said_before_scoring(folder, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(LiftError, match="a part of the path is a file"):
        command.main(
            ["--data_root", str(folder), "--methods", "average"]
            + ["--output", str(tmp_path / "taken" / "e.json")]
        )
