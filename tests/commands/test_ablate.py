"""`lift ablate`: variants under the same conditions, resumed, and in a table that adds up."""

import json
from pathlib import Path

import numpy as np
import pytest

from lift.ablation import builtin, cost, runs
from lift.commands import ablate
from lift.errors import LiftError, run
from lift.training.state import TrainState
from tests.support.training_runs import DATA, MODEL, stop_after
from tests.support.video_samples import moving_frames, write_folder

pytestmark = [pytest.mark.native, pytest.mark.videos]

TOML = """
[variants.old]
[variants.wide.model]
hidden4 = 16
[variants.scored]
checkpoint = "{weights}"
"""
FLAGS = ["--eval_targets", "2", "--eval_context_frames", "2,4"]


def section(values: dict) -> str:
    def text(value):
        return f'"{value}"' if isinstance(value, str) else str(value)

    return "".join(f"{key} = {text(value)}\n" for key, value in values.items())


def train_settings(**settings) -> dict:
    return {
        "batch_size": 1,
        "epochs": 1,
        "epoch_steps": 3,
        "warmup_steps": 2,
        "freeze_epochs": 0,
        "device": "cpu",
        **settings,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with clips, their manifest, a file of variants, and weights that are only scored."""
    from lift.config import from_dict
    from lift.model.lift import LIFT
    from lift.model.weights import save_weights

    root = tmp_path_factory.mktemp("ablation")
    clips = []
    for name, split in (("learn", "train"), ("judge", "val"), ("check", "val")):
        tint = (60, 90, 120) if name == "judge" else (120, 90, 60)
        write_folder(root / "clips" / name, moving_frames(26, 64, 96, tint))
        clips.append({"name": name, "file": name, "frames": 26, "split": split})
    (root / "clips" / "manifest.json").write_text(json.dumps({"clips": clips}))
    config = from_dict({"model": MODEL})
    save_weights(root / "weights.safetensors", LIFT(config.model), config)
    data = {**DATA, "data_source": "folder", "data_root": str(root / "clips")}
    common = f"[model]\n{section(MODEL)}[data]\n{section(data)}[train]\n{section(train_settings())}"
    (root / "variants.toml").write_text(common + TOML.format(weights=root / "weights.safetensors"))
    return root


@pytest.fixture(autouse=True)
def small_streams(monkeypatch):
    """Costs are measured on small frames."""
    monkeypatch.setattr(cost, "HEIGHT", 64)
    monkeypatch.setattr(cost, "WIDTH", 64)
    monkeypatch.setattr(cost, "ROUNDS", 1)


def go(folder: Path, output: Path, *flags) -> int:
    words = ["--variants", folder / "variants.toml", "--output", output, "--seeds", 0, 1]
    return run(ablate.main, [str(word) for word in (*words, *FLAGS, *flags)])


@pytest.fixture(scope="module")
def finished(folder) -> Path:
    output = folder / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "HEIGHT", 64)
        patch.setattr(cost, "WIDTH", 64)
        patch.setattr(cost, "ROUNDS", 1)
        assert go(folder, output) == 0
    return output


def results(output: Path) -> dict:
    return json.loads((output / "results.json").read_text())


def table_row(output: Path, *cells: str) -> list[str]:
    """Cells of the first line of the details that begins with these."""
    lines = (output / "details.md").read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"| {' | '.join(cells)} |"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def psnr(found: dict) -> dict:
    return {
        (entry["variant"], entry["seed"], entry["context_frames"]): entry["psnr"]
        for entry in found["methods"]
        if not entry["shuffled"]
    }


# -- the table -------------------------------------------------------------------------------------


def test_the_means_of_the_table_are_those_of_the_scores(finished):
    found = results(finished)
    clips = np.array([target["clip"] for target in found["targets"]])
    means = []
    for seed in (0, 1):
        values = np.array(psnr(found)["wide", seed, 4])
        means.append(np.mean([values[clips == clip].mean() for clip in ("judge", "check")]))
    shown = table_row(finished, "wide", "4")[2]
    assert shown == f"{np.mean(means):.2f} ± {abs(means[0] - means[1]) / 2:.2f}"


def test_classes_have_the_mean_of_their_targets(finished):
    found = results(finished)
    members = ["slow" in target["classes"] for target in found["targets"]]
    head = table_row(finished, "variant")
    assert head[3] == f"slow ({sum(members)})" and sum(members) > 0
    values = np.array(psnr(found)["dis", None, 2])[members]
    assert table_row(finished, "dis", "2")[3] == f"{values.mean():.2f}"


def test_gains_are_over_the_first_variant_seed_by_seed(finished):
    found = psnr(results(finished))
    gains = [
        np.mean(found["wide", seed, 2]) - np.mean(found["old", seed, 2])  # clips of equal length
        for seed in (0, 1)
    ]
    text = (finished / "details.md").read_text().partition("Gain over old")[2]
    shown = next(line for line in text.splitlines() if line.startswith("| wide | 2 |"))
    assert f"| {np.mean(gains):+.2f} ± {abs(gains[0] - gains[1]) / 2:.2f} |" in shown


def test_every_run_states_its_size_steps_and_cost(finished):
    for entry in results(finished)["methods"]:
        if not entry["baseline"]:
            facts = ("parameters", "flops", "bytes", "milliseconds")
            assert all(entry[name] > 0 for name in facts)
        if entry["trained"]:
            assert entry["steps"] == 3 and entry["seconds_per_step"] > 0
    sizes = {e["variant"]: e["flops"] for e in results(finished)["methods"]}
    assert sizes["wide"] > sizes["old"]


def test_what_differs_is_recorded(finished):
    variants = results(finished)["variants"]
    assert variants["wide"] == {"model": {"hidden4": 16}} and variants["old"] == {}


def test_clips_have_the_mean_of_seeds_and_targets(finished):
    found = results(finished)
    where = [i for i, target in enumerate(found["targets"]) if target["clip"] == "check"]
    values = np.array([psnr(found)["wide", seed, 4] for seed in (0, 1)])[:, where]
    assert table_row(finished, "clip")[2] == "wide, 4 frames"
    assert table_row(finished, "check")[2] == f"{values.mean():.2f}"


def test_the_csv_has_a_line_for_each_row(finished):
    lines = (finished / "table.csv").read_text().splitlines()
    control = 1  # of the first variant
    assert len(lines) == 1 + 3 * 2 + control + len(runs.BASELINES)
    assert lines[0].startswith("variant,context_frames,shuffled,seeds,parameters")


def test_the_control_sees_another_clip_beyond_the_references(finished):
    found = results(finished)["methods"]
    control = [entry for entry in found if entry["shuffled"]]
    assert {(e["variant"], e["context_frames"], e["seed"]) for e in control} == {
        ("old", 4, 0),
        ("old", 4, 1),
    }
    for entry in control:
        plain = psnr(results(finished))["old", entry["seed"], 4]
        assert np.all(np.array(entry["psnr"]) != plain)


def test_the_table_states_its_budget_and_marks_the_best(finished):
    text, tex = ((finished / f"table.{kind}").read_text() for kind in ("md", "tex"))
    budget = "3 steps of 1 clips of 64x64, folder (clips) data, preset tiny with other sizes"
    assert f"{budget}, seeds 0, 1" in text and budget in tex
    best = [line for line in text.splitlines() if "**" in line]
    assert best and r"\textbf{" in tex and r"\toprule" in tex
    assert "old, shuffled context" in text and "shuffled context" in tex


def test_gains_are_drawn_for_the_web_and_for_paper(finished):
    assert (finished / "gains.png").read_bytes().startswith(b"\x89PNG")
    assert (finished / "gains.pdf").read_bytes().startswith(b"%PDF")


# -- the same conditions, resumed ------------------------------------------------------------------


@pytest.mark.slow
def test_all_variants_see_the_same_data_in_the_same_order(folder, tmp_path, monkeypatch):
    seen, step = {}, TrainState.train_step

    def train_step(self, network, batches, lr):
        width = self.model.config.hidden4
        key = width, self.settings.seed
        seen.setdefault(key, []).extend(batch.target.double().sum().item() for batch in batches)
        return step(self, network, batches, lr)

    monkeypatch.setattr(TrainState, "train_step", train_step)
    assert go(folder, tmp_path, "--eval_targets", 1, "--eval_context_frames", 2) == 0
    assert len(seen) == 4 and all(len(sums) == 3 for sums in seen.values())
    assert seen[8, 0] == seen[16, 0] != seen[8, 1] == seen[16, 1]


def test_a_finished_ablation_is_only_printed_again(folder, finished, monkeypatch, capsys):
    before = (finished / "table.md").read_text()
    monkeypatch.setattr(runs, "work", lambda job, stop: pytest.fail(f"{job.label} runs again"))
    assert go(folder, finished) == 0
    assert capsys.readouterr().out.startswith(before)
    assert (finished / "table.md").read_text() == before


@pytest.mark.slow
def test_a_stopped_ablation_goes_on_and_ends_like_the_unbroken_one(
    folder, finished, tmp_path, capsys
):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, step=2)
        assert go(folder, tmp_path) == 128 + 15
    printed = capsys.readouterr().out
    assert "not finished: old, seed 0; wide, seed 0" in printed and "resumes" in printed
    assert {key[0] for key in psnr(results(tmp_path))} == set(runs.BASELINES)
    assert go(folder, tmp_path) == 0
    assert psnr(results(tmp_path)) == psnr(results(finished))


@pytest.mark.slow
def test_more_targets_add_to_the_scores_that_exist(folder, finished, monkeypatch):
    known = json.loads((finished / "old" / "seed0" / "scores.json").read_text())
    assert go(folder, finished, "--eval_targets", 3) == 0
    scores = json.loads((finished / "old" / "seed0" / "scores.json").read_text())
    assert all(
        str(k) in scores["ssim"]["lift_2"]["judge"] for k in scores["psnr"]["lift_2"]["judge"]
    )
    assert scores["psnr"]["lift_2"]["judge"].items() >= known["psnr"]["lift_2"]["judge"].items()
    assert results(finished)["targets_per_clip"] == 3
    assert go(folder, finished) == 0 and results(finished)["targets_per_clip"] == 2


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(folder, tmp_path, monkeypatch, capsys):
    step = TrainState.train_step

    def train_step(self, *arguments):
        if self.model.config.hidden4 == 16:
            raise LiftError("the loss of step 1 is not finite")
        return step(self, *arguments)

    monkeypatch.setattr(TrainState, "train_step", train_step)
    assert go(folder, tmp_path) == 1
    assert "wide, seed 0: the loss of step 1 is not finite" in capsys.readouterr().err
    assert {key[0] for key in psnr(results(tmp_path))} >= {"old", "scored"}


@pytest.mark.slow
def test_runs_in_processes_of_their_own_score_the_same(folder, finished, tmp_path):
    flags = ["--only", "old", "--seeds", 0, "--eval_context_frames", 2]
    assert go(folder, tmp_path, "--jobs", 2, *flags) == 0  # the run, and the baselines
    known, found = psnr(results(finished)), psnr(results(tmp_path))
    assert ("old", 0, 2) in found
    assert found == {key: known[key] for key in found}


@pytest.mark.slow
def test_ablations_share_the_scores_of_baselines(folder, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_score_baselines", lambda *_: pytest.fail("scored again"))
    flags = ["--frame_cache", finished / "frames", "--seeds", 0, "--eval_context_frames", 2]
    assert go(folder, tmp_path, *flags) == 0
    assert not (tmp_path / "frames").exists()


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("[variants.wide.model]\nhiden4 = 1\n", ["variant 'wide'", "model.hiden4", "hidden4"]),
        ("[variants.wide.modell]\nhidden4 = 1\n", ["variant 'wide'", "'modell'", "model"]),
        ("[variants.wide.train]\nseed = 1\n", ["variant 'wide'", "train.seed", "same for all"]),
        ("[variants.wide.data]\ntargets = 2\n", ["variant 'wide'", "data.targets", "flag"]),
        ('[variants.a]\ncheckpoint = "none.safetensors"\n', ["variant 'a'", "none.safetensors"]),
        ('[variants."a/b"]\n', ["variant 'a/b'", "letters"]),
        ("[variants.frames]\n", ["variant 'frames'", "name"]),
        ("[model]\nlayers = 1\n", ["no variants", "[variants.wide.model]"]),
        ("[model]\nlayer = 1\n[variants.a]\n", ["model.layer"]),
        ("[train]\nseed = 1\n[variants.a]\n", ["train.seed", "--seeds"]),
        ("[variants", ["not valid TOML"]),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_variant(tmp_path, capsys, text, words):
    (tmp_path / "wrong.toml").write_text(text)
    flags = ["--variants", tmp_path / "wrong.toml", "--data_root", tmp_path, "--targets", 1]
    assert run(ablate.main, [*map(str, flags), "--output", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and all(word in lines[0] for word in ["wrong.toml", *words])
    assert not (tmp_path / "out").exists()


def test_another_configuration_is_an_error_before_anything_runs(folder, finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert go(folder, finished, "--lr", "0.1") == 1
    line = capsys.readouterr().err.strip()
    assert "old, seed 0" in line and "lr" in line
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize(
    "flags, word",
    [(["--seed", 1], "--seeds"), (["--eval_targets", 21], "20"), (["--jobs", 0], "at least 1")],
)
def test_a_wrong_flag_is_one_sentence(folder, tmp_path, capsys, flags, word):
    with pytest.raises(SystemExit):
        go(folder, tmp_path, *flags)
    assert word in capsys.readouterr().err


def test_an_unknown_variant_is_one_sentence(folder, tmp_path, capsys):
    assert go(folder, tmp_path, "--only", "old,wider") == 1
    line = capsys.readouterr().err.strip()
    assert "no variant is named 'wider'; did you mean 'wide'?" in line and "\n" not in line


# -- the built-in variants -------------------------------------------------------------------------


def go_builtin(folder: Path, output: Path, *flags) -> int:
    words = ["--config", folder / "small.toml", "--eval_root", folder / "clips"]
    words += ["--eval_targets", 1, "--output", output, *flags]
    return run(ablate.main, list(map(str, words)))


@pytest.fixture(scope="module")
def small(folder) -> Path:
    """The folder with the configuration of the smallest runs, on synthetic clips."""
    config = f"[model]\n{section(MODEL)}[data]\n{section(DATA)}"
    config += f"[train]\n{section(train_settings(epoch_steps=1))}"
    (folder / "small.toml").write_text(config)
    return folder


def test_builtin_variants_need_no_file_and_no_data_root(small, tmp_path, capsys):
    only = "full,no_transformer,context2,window4"
    assert go_builtin(small, tmp_path, "--only", only, "--seeds", 0) == 0
    found = results(tmp_path)
    known = [key for key in psnr(found) if key[1] is not None]
    assert known == [("full", 0, 4), ("no_transformer", 0, 4), ("context2", 0, 2)]
    assert found["same"] == {"window4": "full"}
    assert found["variants"]["context2"] == {"data": {"context_frames": 2}}
    assert "window4 is full itself" in (tmp_path / "table.md").read_text()
    assert "scoring 2 frames of 2 clips" in capsys.readouterr().err


@pytest.mark.slow
def test_every_kind_of_builtin_variant_trains_and_is_scored(small, tmp_path):
    """Of the windows and of the numbers of input frames one each."""
    repeated = ("window2", "window8", "context4", "context7")
    chosen = [change.name for change in builtin.CHANGES if change.name not in repeated]
    assert go_builtin(small, tmp_path, "--seeds", 0, "--only", ",".join(chosen)) == 0
    found = results(tmp_path)
    names = {entry["variant"] for entry in found["methods"] if entry["trained"]}
    assert names | set(found["same"]) >= set(chosen)


def test_clips_without_a_manifest_and_short_ones_are_scored(small, tmp_path, capsys):
    for name, count in (("long", 26), ("short", 6), ("pair", 3)):
        write_folder(tmp_path / "frames" / name, moving_frames(count, 64, 96))
    flags = ["--only", "full", "--seeds", 0, "--eval_root", tmp_path / "frames"]
    flags += ["--eval_targets", 5, "--eval_context_frames", 2]
    assert go_builtin(small, tmp_path / "out", *flags) == 0
    found = results(tmp_path / "out")
    counts = [sum(t["clip"] == name for t in found["targets"]) for name in ("long", "short")]
    assert found["split"] == "all" and found["left_out"] == ["pair"]
    assert counts == [5, 2]
    assert "not scored, less than five frames without a cut: pair" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_said_before_any_training(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(LiftError, match="taken: could not be written: .* a file, not a folder"):
        ablate.main(["--data_root", str(tmp_path), "--output", str(tmp_path / "taken")])
