"""lift visualize: what it writes, and what it refuses in one sentence."""

import csv
import json

import pytest
import torch

from lift import kernels
from lift.cli import main
from lift.commands import visualize
from lift.config import Config
from lift.model.weights import save_weights, sha256
from tests.support.models import TINY, awake_lift
from tests.support.pages import Page
from tests.support.video_samples import moving_frames, write_folder, write_video

pytestmark = pytest.mark.videos
QUICK = ["--dpi", "50", "--device", "cpu", "--context_frames", "5"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights of the smallest model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "smallest.safetensors"
    save_weights(path, awake_lift(), Config(model=TINY))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video of nine frames whose name needs escaping."""
    path = tmp_path_factory.mktemp("clips") / "a <b> & $c$ ä.mp4"
    write_video(path, moving_frames(9, 48, 64))
    return path


def run(*words) -> int:
    return main(["visualize", *map(str, words)])


def the_error(capsys) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("lift: error: "), lines
    return lines[0]


# -- what it writes --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_page_of_clips_and_runs_opens_without_a_network(tmp_path, checkpoint, clip, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "curve.csv").write_text("step,loss\n1,0.5\n2,0.4\n3,")
    output = tmp_path / "out"
    words = [clip, "--checkpoint", checkpoint, "--output", output, *QUICK]
    words += ["--frame", "4", "--point", "20,30", "--format", "png"]
    assert run(*words, "--runs", tmp_path / "run", "--labels", "my $run$") == 0
    page = Page(output / "index.html")
    page.check_offline()
    page.check_nesting()
    assert clip.name in page.text and "my $run$" in page.text
    assert sha256(checkpoint) in page.text and "given with --point" in page.text
    assert "lift visualize" in page.text and f"--checkpoint {checkpoint}" in page.text
    figures = sorted(path.name for path in (output / "figures").iterdir())
    kinds = ("attention", "4_inputs", "4_result", "4_motion", "4_window", "4_path")
    stems = [f"a_b_c_ä_{kind}" for kind in kinds] + ["curves"]
    assert figures == sorted(f"{stem}.png" for stem in stems)
    assert len(page.images) == len(stems) + 4  # and those of the slider
    assert f"written: {output / 'index.html'}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_worst_samples_of_an_evaluation(tmp_path, checkpoint):
    write_folder(tmp_path / "data" / "one", moving_frames(26, 32, 64), first=0)
    manifest = {"clips": [{"file": "one"}]}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    psnr = {"dis": [30, 28], "average": [27, 27], "lift_5": [31, 27], "other": [29, 29]}
    entry = {"targets": [8, 12], "scores": {m: {"psnr_each": each} for m, each in psnr.items()}}
    scores = {"protocol": "real16", "clips": {"one": entry}}
    path, output = tmp_path / "scores.json", tmp_path / "out"
    path.write_text(json.dumps(scores))
    words = ["--evaluation", path, "--data_root", tmp_path / "data", "--worst", 1, *QUICK]
    words += ["--checkpoint", checkpoint, "--output", output, "--by", "gain:dis"]
    assert run(*words, "--format", "png") == 0
    page = Page(output / "index.html")
    page.check_offline()
    assert "only the scores are known: other" in page.text and "real16" in page.text
    assert [path.name for path in (output / "figures").iterdir()] == ["worst_1_one_000012.png"]


@pytest.mark.slow
def test_the_worst_samples_of_a_test_set(tmp_path, checkpoint):
    """Every odd frame of a folder, with a method whose frames were saved."""
    frames = moving_frames(7, 32, 64)
    folder = write_folder(tmp_path / "clip", frames, first=0)
    names = [f"clip/{k:06d}" for k in (1, 3, 5)]
    for i, name in enumerate(names):
        write_folder(tmp_path / "saved" / "clip", [frames[2 * i]], pattern=f"{name[5:]}.png")
    with open(tmp_path / "scores.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sample", "group", "method", "psnr", "ssim"])
        for i, name in enumerate(names):
            table.writerow([name, "clip", "peer", 30 + i, 0.9])
            table.writerow([name, "clip", "dis", 29 - i, 0.9])
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"protocol": "frames", "samples": names, "scores": {}}))
    words = ["--evaluation", path, "--data_root", folder, "--checkpoint", checkpoint, *QUICK]
    words += ["--frames", f"peer={tmp_path / 'saved'}", "--worst", 1, "--format", "svg"]
    assert run(*words, "--output", tmp_path / "out") == 0
    page = Page(tmp_path / "out" / "index.html")
    page.check_offline()
    assert "clip/000001" in page.text and "clip/000003" not in page.text
    labels = [image["alt"] for image in page.images[1:]]
    assert labels == ["left reference", "peer", "dis", "truth", "right reference"]


# -- what it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is nothing to draw"),
        (["missing.mp4"], "missing.mp4: no such file or folder"),
        (["CLIP", "--frame", "40"], "the clip has the frames 0 to 8"),
        (["CLIP", "--frame", "0"], "no neighbour on one side"),
        (["CLIP", "--point", "64,0"], "X is 0 to 63 and Y 0 to 47"),
        (["CLIP", "--labels", "a"], "--labels names training runs"),
        (["--runs", "missing"], "missing: no such file"),
        (["--runs", "missing", "--frame", "3"], "--frame and --point choose in clips"),
        (["--evaluation", "s.json"], "--evaluation needs --data_root"),
        (["--evaluation", "s.json", "--data_root", "d"], "s.json: no such file"),
        (["CLIP", "--data_root", "d"], "belong to --evaluation"),
        (["CLIP", "--device", "tpu"], "--device must be"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    tmp_path, monkeypatch, checkpoint, clip, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    words = [clip if word == "CLIP" else word for word in words]
    options = ["--output", "out", "--checkpoint", checkpoint, "--device", "cpu"]
    assert run(*options, *words) == 1
    assert message in the_error(capsys)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_kernels_that_are_not_supported_are_one_sentence(tmp_path, clip, capsys, monkeypatch):
    def unsupported(*_):
        raise kernels.UnsupportedError(
            "warp: no fused backend supports this call; use kernels='auto'"
        )

    monkeypatch.setattr(visualize, "_draw", unsupported)
    assert run(clip, "--output", tmp_path / "out", "--kernels", "fused") == 1
    assert "no fused backend" in the_error(capsys)


def test_weights_that_are_none_are_refused(tmp_path, clip, capsys):
    assert run(clip, "--output", tmp_path / "out", "--checkpoint", tmp_path / "no", *QUICK) == 1
    assert "is not a file" in the_error(capsys)


def test_scores_of_other_weights_are_refused(tmp_path, checkpoint, capsys):
    path = tmp_path / "scores.json"
    result = {"protocol": "frames", "samples": ["a"], "scores": {"dis": {"psnr_each": [1]}}}
    path.write_text(json.dumps(result | {"weights": {"sha256": "0" * 64}}))
    words = ["--evaluation", path, "--data_root", tmp_path, "--checkpoint", checkpoint]
    assert run(*words, "--output", tmp_path / "out") == 1
    assert "has scores of other weights" in the_error(capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["--frame", "a"],
        ["--frame", "1,,2"],
        ["--point", "3"],
        ["--point", "-1,4"],
        ["--format", "bmp"],
        ["--dpi", "10"],
        ["--worst", "0"],
        ["--by", "luck"],
        ["--by", "gain:"],
        ["--frames", "peer"],
        ["--context_frames", "1"],
        ["--resize_short_side", "-5"],
        ["--threads", "x"],
    ],
)
def test_flags_of_another_form_are_refused_before_anything_is_read(tmp_path, capsys, words):
    with pytest.raises(SystemExit) as stopped:
        visualize.main(["missing.mp4", "--output", str(tmp_path / "out"), *words])
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
