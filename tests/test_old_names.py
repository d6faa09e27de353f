"""Names, flags and modules that any version of README.md showed: each still works, or raises with
the name that it has now.
"""

import importlib
import inspect
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import benchmarks.__main__ as benchmarks
import lift
from lift import kernels
from lift.cli import command
from lift.commands import inference
from lift.config import builtin_configs
from lift.moved import MOVED
from lift.training import overfit

ROOT = Path(__file__).resolve().parent.parent

# -- flags -----------------------------------------------------------------------------------------

MAINS = {"inference": inference.main, "overfit": overfit.main, "bench": benchmarks.main}
REQUIRED = {
    "interpolate": ["in.mp4", "out.mp4"],
    "evaluate": ["--data_root", "D"],
    "inference": ["--input", "A", "--output", "B"],
}
ACCEPTED = {
    "train": """--data_root D|--batch_size 4|--preset tiny|--preset small|--max_minutes 30
        --output R|--config warmup|--config finetune|--config polish|--phases warmup finetune polish
        --phases pairs128 pairs224 context224|--pretrained_encoder F|--kernels auto|--device cpu
        --memory_report|--recompute_encoder|--recompute_refine|--targets 4|--accumulate 4
        --compile|--val_split val|--train_split train|--sampling skip|--sampling dense
        --num_workers 4|--lr 1|--crop_height 128|--crop_width 128|--context_frames 4|--amp off
        --preload|--freeze_epochs 0|--epochs 2|--strides 2 2 4|--resume never|--seed 1
        --memory-report|--batch-size 4|--init tiny|--init_weights tiny""",
    "interpolate": """--multi 2|--overwrite|--context 2|--dtype bfloat16|--dtype auto|--compile
        --cuda_graph|--kernels reference|--fps 60|--checkpoint C|--crf 20|--device cpu|--batch 2
        --no_scenes|--reverse_average|--source_fps 24|--quiet|--context_frames 2|--no-scenes""",
    "inference": "--checkpoint C|--multi 4|--context 2|--overwrite|--context_frames 2",
    "evaluate": """--checkpoint C|--output F|--context 2,4,15|--kernels auto|--reversal|--split val
        --methods lift,dis|--clips a,b|--device cpu|--threads 1
        --context_frames 2,4|--data-root D""",
    "demo": "--output D|--checkpoint C|--context 2|--kernels auto|--device cpu|--context_frames 2",
    "doctor": "--json F",
    "bench": "--quick|--toy|--only x|--json F|--compare A B|--tune|--threads 1|--forms plain",
    "overfit": "--preset tiny|--steps 10|--data_root D|--device cpu",
}
RENAMED = {
    "train": """--data synthetic: --data_source|--data mixed: --data_source
        --cover 256: --resize_short_side|--context 8: --attn_channels|--context 8: --context_frames
        --ema 0.9: --ema_decay|--flow 0: --flow_weight|--census 0: --census_weight
        --coarse 1: --coarse_weight|--cascade 1: --cascade_weight|--match 8: --corr_channels
        --blocks 2: --encoder_blocks|--context_min 2: --min_context_frames
        --context_full 1: --full_context_prob|--synthetic_share 1: --synthetic_fraction""",
    "overfit": "--data synthetic: --data_source",
}


def rows(table: dict[str, str]) -> list[tuple[str, str]]:
    return [
        (name, row.strip())
        for name, lines in table.items()
        for line in lines.splitlines()
        for row in line.split("|")
    ]


def error_of(name: str, flags: list[str], capsys) -> str:
    """What a command answers to these flags and to one that it does not have."""
    main = MAINS.get(name) or command(name)
    with pytest.raises(SystemExit) as stop:
        main([*REQUIRED.get(name, []), *flags])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name, flag", rows(ACCEPTED))
def test_a_flag_is_accepted(name, flag, capsys):
    message = error_of(name, [*flag.split(), "--no_such_flag"], capsys)
    assert "unknown flag '--no_such_flag'" in message


@pytest.mark.parametrize("name, row", rows(RENAMED))
def test_a_former_flag_names_the_one_of_today(name, row, capsys):
    former, today = row.split(": ")
    message = error_of(name, former.split(), capsys)
    assert former.split()[0] in message and today in message and message.count("\n") == 1


def test_built_in_configurations_have_their_names():
    shown = {"warmup", "finetune", "polish", "pairs128", "pairs224", "context224"}
    assert shown <= set(builtin_configs())


# -- modules ---------------------------------------------------------------------------------------

MODULES = """lift lift.train lift.inference lift.model lift.model.encoder lift.model.transformer
    lift.model.flow lift.model.trajectory lift.model.synthesis lift.model.refine
    lift.training.overfit lift.release.export lift.release.model_card lift.kernels
    lift.kernels.extension""".split()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_to_run_is_where_it_was(module):
    spec = find_spec(module)
    runnable = f"{module}.__main__" if spec.submodule_search_locations else module
    assert find_spec(runnable) or module == "lift.kernels"


@pytest.mark.parametrize("former, today", MOVED.items())
def test_a_moved_module_names_its_new_place(former, today):
    assert find_spec(today)
    with pytest.raises(ModuleNotFoundError, match=f"{former} is now {today}"):
        importlib.import_module(former)


@pytest.mark.parametrize("module", ["lift.training.bundle", "lift.training.card"])
def test_running_a_moved_module_names_its_new_place(module, monkeypatch):
    monkeypatch.setattr(sys, "argv", [module])
    with pytest.raises(ImportError, match=f"{module} is now {MOVED[module]}"):
        runpy.run_module(module, run_name="__main__")


def test_neither_the_package_nor_its_tests_are_inside_it():
    assert find_spec("lift.lift") is None and find_spec("lift.tests") is None


def test_the_command_is_installed():
    assert 'lift = "lift.cli:main"' in (ROOT / "pyproject.toml").read_text()


# -- Python ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Clip", "Interpolator", "LIFT", "Prediction", "create_lift_model"]
)
def test_a_public_name_is_imported_from_lift(name):
    assert name in lift.__all__ and getattr(lift, name).__name__ == name


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("warp", ["image", "flow"]),
        ("warp_blend", ["image0", "image1", "flow0", "flow1", "occ0", "occ1"]),
        ("grid_sample", ["input", "grid", "mode", "padding_mode", "align_corners"]),
        ("temporal_attention", []),
        ("correlation", []),
        ("use", []),
    ],
)
def test_an_operation_takes_the_arguments_that_were_shown(name, parameters):
    signature = inspect.signature(getattr(kernels, name))
    assert list(signature.parameters)[: len(parameters)] == parameters


@pytest.mark.parametrize("former, today", [("reasons", "unsupported_reasons")])
def test_a_former_name_of_the_kernels_still_works(former, today):
    with pytest.warns(DeprecationWarning, match=today):
        assert getattr(kernels, former)("warp") == getattr(kernels, today)("warp")


def test_the_former_name_of_context_frames_still_works():
    model = lift.create_lift_model("tiny")
    with pytest.warns(DeprecationWarning, match="context_frames"):
        video = lift.Interpolator(model, context=2, device="cpu")
    assert callable(video.video) and callable(video.between)


def test_the_model_takes_a_clip_and_the_times():
    frames = torch.rand(1, 2, 3, 32, 32)
    times, mask = torch.tensor([[0.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool)
    model = lift.create_lift_model("tiny", kernels="reference").eval()
    with torch.inference_mode():
        prediction = model(lift.Clip(frames, times, mask, 0), torch.tensor([0.5]))
    assert prediction.frame.shape == (1, 3, 32, 32)
