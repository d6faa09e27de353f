"""Releasing weights: the files hold what was trained and recorded; a card keeps its prose."""

import csv
import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from lift.commands.evaluate import main as evaluate
from lift.config import PRESETS, from_dict
from lift.errors import LiftError, run
from lift.evaluation.protocols import real16
from lift.model.bundled import NAMES, pretrained_path
from lift.model.lift import LIFT
from lift.model.weights import load_weights, read_weights, sha256
from lift.release import export, model_card
from lift.training.loop import train
from tests.support.training_runs import DATA, MODEL, TRAIN
from tests.support.video_samples import moving_frames, write_video

SETS = ("tiny", "tiny_open")
CLIPS = {"one": "train", "two": "val"}
WHOLE_PRESETS = dict(PRESETS)
SIZES = from_dict(
    {"model": MODEL}
).model  # take the place of tiny's, since only a whole preset's weights are bundled
CARD = (
    "# Card\n\n## tiny\n\nBefore.\n<!-- weights: tiny facts -->\n{}<!-- weights: end -->\nAfter.\n"
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two short videos of frames that slide, and their manifest."""
    pytest.importorskip("av", reason="PyAV is not installed")
    root = tmp_path_factory.mktemp("clips")
    entries = [
        {
            "name": name,
            "file": f"{name}.mp4",
            "frames": 30,
            "split": split,
            "cuts": [],
            "duplicate_frames": [],
            "source_repo": f"example.org/{name}",
            "commit": "0123456789abcdef",
            "path": f"a/{name}.mp4",
            "licence": "CC0",
            "may_be_redistributed": name == "one",
        }
        for name, split in CLIPS.items()
    ]
    for entry in entries:
        write_video(root / entry["file"], moving_frames(30, 64, 96))
    (root / "manifest.json").write_text(json.dumps({"clips": entries}))
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory, clips):
    """Two phases of a training, the second one from the first one's weights."""
    root, init = tmp_path_factory.mktemp("runs"), ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lift.provenance.commit", lambda: "0123456789+")
        for name, settings in {
            "first": {"seed": 1},
            "second": {"lr": 2e-4, "accumulate": 2},
        }.items():
            data = {
                **DATA,
                "data_source": "mixed",
                "data_root": str(clips),
                "frame_cache": str(clips / "cache"),
                "crop_height": 32,
                "crop_width": 32,
            }
            settings = {
                **TRAIN,
                "epochs": 1,
                **settings,
                "init_weights": init,
                "output": str(root / name),
            }
            train(from_dict({"model": MODEL, "data": data, "train": settings}))
            init = str(root / name / "last.safetensors")
    return [root / "first", root / "second"]


@pytest.fixture(autouse=True)
def small_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", lambda: SIZES)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory, runs, clips):
    output = tmp_path_factory.mktemp("weights")
    (output / "README.md").write_text(CARD.format("outdated\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", lambda: SIZES)
        assert go(*runs, "--data_root", clips, "--output", output, "--device", "cpu") == 0
    return output


def go(*argv) -> int:
    return run(export.main, [str(word) for word in argv])


# -- what is shipped -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_weights_are_those_of_the_last_phase_and_name_no_folder_of_this_machine(
    shipped, runs, clips
):
    shipped_tensors, config, _ = read_weights(shipped / "tiny.safetensors")
    trained, _, _ = read_weights(runs[1] / "last.safetensors")
    assert shipped_tensors.keys() == trained.keys()
    for name, tensor in shipped_tensors.items():
        stored = trained[name].half() if tensor.dtype == torch.float16 else trained[name]
        assert torch.equal(tensor, stored), name
    assert (
        config.train.lr == 2e-4
        and config.train.init_weights == "first/last.safetensors"
        and config.data.data_root == "D"
    )
    everything = b"".join(path.read_bytes() for path in shipped.iterdir() if path.suffix != ".png")
    assert str(clips).encode() not in everything and str(runs[0].parent).encode() not in everything


def test_the_record_counts_what_was_done(shipped):
    record = json.loads((shipped / "tiny.json").read_text())
    assert record["files"] == {"tiny.safetensors": sha256(shipped / "tiny.safetensors")}
    assert (record["name"], record["set"], record["chosen"]) == ("tiny", "default", "")
    stored = record["stored"]
    assert sum(stored.values()) == record["parameters"]
    assert stored["float16"] > 10 * stored["float32"] > 0
    first, second = record["phases"]
    assert (first["steps"], first["samples"], second["samples"]) == (2, 4, 8) and first[
        "start"
    ] == second["start"] == ""
    assert first["flags"]["seed"] == "--seed 1" and second["flags"]["lr"] == "--lr 0.0002"
    assert (
        record["parameters"]
        == load_weights(shipped / "tiny.safetensors")[0].count_parameters()["total"]
    )
    assert [clip["name"] for clip in record["data"]["train"]] == ["one"] and record["data"][
        "synthetic"
    ]


def test_the_record_states_what_float16_changed(shipped, runs, clips):
    record = json.loads((shipped / "tiny.json").read_text())
    found = record["rounding"]
    assert (found["clips"], found["clip"], found["context_frames"]) == (1, "two", 15)
    assert found["mean"] == record["scores"]["mean"]["val"]["lift_15"]["psnr"]
    assert found["largest"] == abs(found["mean"] - found["mean_float32"]) < 0.1
    candidate = real16.model_candidate(load_weights(runs[1] / "last.safetensors")[0], 15)
    full = real16.score(str(clips), {"float32": candidate}, "val")
    assert found["mean_float32"] == full["mean"]["all"]["float32"]["psnr"]


@pytest.mark.parametrize("loss, refused", [(0.006, True), (0.004, False), (-0.1, False)])
def test_a_storage_that_loses_score_is_refused(loss, refused):
    found = {"mean": 30.0, "mean_float32": 30.0 + loss, "clips": 14}
    with pytest.raises(LiftError, match="--dtype float32") if refused else nullcontext():
        export.check_rounding(found)


@pytest.mark.slow
def test_its_scores_are_those_of_lift_evaluate(shipped, clips, tmp_path):
    evaluate(
        [
            "--checkpoint",
            str(shipped / "tiny.safetensors"),
            "--data_root",
            str(clips),
            "--context_frames",
            "2,4,15",
            "--split",
            "val",
            "--device",
            "cpu",
            "--output",
            str(tmp_path / "scores.json"),
        ]
    )
    expected, found = (
        json.loads((tmp_path / "scores.json").read_text()),
        json.loads((shipped / "tiny.json").read_text())["scores"],
    )
    assert found["mean"] == expected["mean"] and found["clips"]["two"]["scores"].keys() == {
        "lift_15",
        "lift_4",
        "lift_2",
        "average",
        "dis",
        "dis_cubic",
    }


def test_the_card_has_facts_data_and_scores_and_keeps_the_prose(shipped):
    text = (shipped / "README.md").read_text()
    before, after = CARD.split("{}")
    assert text.startswith(before) and text.endswith(after) and "outdated" not in text
    for words in (
        sha256(shipped / "tiny.safetensors"),
        "Two phases",
        "`0123456+`",
        "12 samples",
        "--lr 0.0002",
        "--data_root D",
    ):
        assert words in text, words


def test_a_card_without_a_section_gets_one_with_all_blocks(shipped):
    record = json.loads((shipped / "tiny.json").read_text())
    text = model_card.fill_blocks(model_card.add_section("", "tiny"), {"tiny": record})
    assert (
        model_card.add_section(text, "tiny") == text
        and model_card.fill_blocks(text, {"tiny": record}) == text
    )
    val, mean = record["scores"]["clips"]["two"]["scores"], record["scores"]["mean"]["val"]
    for words in (
        "| one | example.org/one | `0123456789ab` | `a/one.mp4` | CC0 |",
        "Validation clips, not trained on: `two`",
        "**mean of 1**",
        f"| two | val | {val['lift_15']['psnr']:.2f} / {val['lift_15']['ssim']:.4f} |",
        f"{mean['lift_15']['psnr'] - mean['dis']['psnr']:+.2f} |",
    ):
        assert words in text, words


def test_files_that_came_from_another_machine_get_their_card(shipped, tmp_path, capsys):
    shutil.copytree(shipped, tmp_path / "weights", ignore=shutil.ignore_patterns("README.md"))
    model_card.main([str(tmp_path / "weights")])
    assert (
        "README.md" in capsys.readouterr().out
        and "12 samples" in (tmp_path / "weights" / "README.md").read_text()
    )
    model_card.main([str(tmp_path / "weights")])
    assert not capsys.readouterr().out


def test_runs_are_bundled_without_their_tensors(runs, shipped, tmp_path):
    for folder in runs:
        shutil.copytree(
            folder,
            tmp_path / folder.name,
            ignore=shutil.ignore_patterns("state.pt", "model.safetensors", "ema.safetensors"),
        )
    moved = [export.read(tmp_path / folder.name) for folder in runs]
    assert export.phases(moved) == json.loads((shipped / "tiny.json").read_text())["phases"]


def test_the_curve_holds_all_phases(shipped, runs):
    with open(shipped / "tiny_curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["phase"] for row in rows)) == ["first", "second"] and all(
        row["step"] for row in rows
    )
    assert (shipped / "tiny_curve.png").stat().st_size > 0


@pytest.mark.slow
def test_runs_that_continue_bundled_weights_are_recorded_after_them(
    runs, clips, tmp_path, shipped, capsys
):
    (tmp_path / "README.md").write_text(CARD.format("outdated\n"))
    where = "--data_root", clips, "--output", tmp_path, "--device", "cpu"
    assert go(runs[1], "--continued", *where) == 1
    assert "leave out --continued" in capsys.readouterr().err
    assert go(runs[0], *where) == 0 and go(runs[1], "--continued", *where) == 0
    once, twice = (json.loads((f / "tiny.json").read_text())["phases"] for f in (shipped, tmp_path))
    assert [phase["name"] for phase in twice] == ["first", "second"]
    assert twice[0] == once[0]
    assert (tmp_path / "tiny_curve.csv").read_text() == (shipped / "tiny_curve.csv").read_text()


def test_the_open_set_stands_beside_the_default_one(tmp_path, runs, clips, monkeypatch, shipped):
    scores = json.loads((shipped / "tiny.json").read_text())["scores"]
    monkeypatch.setattr(export.scores, "of_clips", lambda *arguments: scores)
    for path in shipped.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "tiny_other.json").write_text("[]")  # no record of weights
    parts = ["tiny.2.safetensors", "tiny_open.7.safetensors", "tiny_open.mine.safetensors"]
    for name in parts:
        (tmp_path / name).write_bytes(b"")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("tiny.*")}
    where = "--data_root", clips, "--output", tmp_path
    assert go(*runs, "--set", "open", "--dtype", "float32", "--chosen", "the rate", *where) == 0
    assert before == {path.name: path.read_bytes() for path in tmp_path.glob("tiny.*")}
    assert [(tmp_path / name).exists() for name in parts] == [True, False, True]
    record = json.loads((tmp_path / "tiny_open.json").read_text())
    assert record["files"].keys() == {"tiny_open.safetensors"} and "rounding" not in record
    assert (record["set"], record["stored"].keys()) == ("open", {"float32"})
    assert (tmp_path / "tiny_open_curve.csv").is_file()
    _, mine, opened = re.split("^## ", (tmp_path / "README.md").read_text(), flags=re.M)
    assert "pretrained=True" in mine and "float16" in mine and "tiny_open" not in mine
    assert 'pretrained="open"' in opened and "last one ships); the rate |" in opened
    assert "The footage of all of them may be redistributed" in opened
    table = model_card.sets([json.loads((tmp_path / f"{n}.json").read_text()) for n in SETS[::-1]])
    assert [row.split(" | ")[0] for row in table.splitlines()[2:]] == ["| `tiny`", "| `tiny_open`"]


def test_an_open_set_with_other_clips_is_refused(tmp_path, runs, clips, capsys):
    manifest = json.loads((clips / "manifest.json").read_text())
    manifest["clips"][0]["may_be_redistributed"] = False
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "manifest.json").write_text(json.dumps(manifest))
    where = "--data_root", tmp_path / "d", "--output", tmp_path / "out"
    assert go(*runs, "--set", "open", *where) == 1
    assert "(one)" in capsys.readouterr().err
    assert go(runs[1], "--set", "open", *where) == 1
    assert "second began with" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_parts_of_larger_weights_before_are_removed(tmp_path, runs, clips, monkeypatch, shipped):
    record = json.loads((shipped / "tiny.json").read_text())
    monkeypatch.setattr(export.scores, "of_clips", lambda *arguments: record["scores"])
    monkeypatch.setattr(export.scores, "of_rounding", lambda *arguments: record["rounding"])
    (tmp_path / "tiny.2.safetensors").write_bytes(b"")
    assert go(runs[1], "--data_root", clips, "--output", tmp_path) == 0
    assert (
        not (tmp_path / "tiny.2.safetensors").exists()
        and "from `first/last.safetensors`" in (tmp_path / "README.md").read_text()
    )


# -- what is refused -------------------------------------------------------------------------------


def test_weights_that_are_not_a_whole_preset_are_refused(
    runs, clips, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(PRESETS, "tiny", lambda: replace(SIZES, layers=2))
    assert go(*runs, "--data_root", clips, "--output", tmp_path) == 1
    assert "layers is 1 there and 2 here" in capsys.readouterr().err and not list(
        tmp_path.iterdir()
    )


@pytest.mark.parametrize("what", ["run", "clips"])
def test_what_is_missing_is_told_and_nothing_is_written(runs, clips, tmp_path, capsys, what):
    folder, root = (tmp_path / "none", clips) if what == "run" else (runs[0], tmp_path)
    assert go(folder, "--data_root", root, "--output", tmp_path / "out") == 1
    assert ("has no run" if what == "run" else "manifest.json") in capsys.readouterr().err and not (
        tmp_path / "out"
    ).exists()


# -- what has been shipped -------------------------------------------------------------------------


def test_the_bundled_card_is_what_the_records_say():
    folder = pretrained_path("any").parent
    records = model_card.read_records(folder)
    assert "tiny" in records
    for record in records.values():
        for name, digest in record["files"].items():
            assert (
                sha256(folder / name) == digest and (folder / name).stat().st_size <= export.LIMIT
            ), name
    for path in (folder / "README.md", model_card.README):
        assert model_card.fill_blocks(path.read_text(), records) == path.read_text(), (
            f"{path}: run python -m lift.release.model_card"
        )


def test_every_block_in_the_documents_is_known():
    for path in (pretrained_path("any").parent / "README.md", model_card.README):
        marks = re.findall(r"<!-- weights: (.+?) -->", path.read_text())
        assert all(
            mark in ("end", "all sets")
            or mark.split()[0] in NAMES
            and mark.split()[1] in model_card.BLOCKS
            for mark in marks
        )
        assert len(marks) == 2 * marks.count("end")


@pytest.mark.parametrize("preset", PRESETS)
def test_the_readme_states_the_parameters_of_the_preset(preset):
    row = re.search(rf"^\| `{preset}` \| ([\d.]+) M \|", model_card.README.read_text(), re.M)
    with torch.device("meta"):
        count = LIFT(WHOLE_PRESETS[preset]()).count_parameters()["total"]
    decimals = len(row[1].partition(".")[2])
    assert float(row[1]) == round(count / 1e6, decimals)
