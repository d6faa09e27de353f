"""A training step of the benchmarks does not synchronize, and can be made deterministic."""

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.harness import training_step
from lift.config import Config, DataConfig, TrainConfig, tiny
from lift.model.lift import LIFT
from lift.profiling import memory
from lift.profiling.dataless import GPU, dataless
from tests.support.device_traffic import device_traffic

CONFIG = replace(
    Config(),
    model=tiny(),
    train=TrainConfig(batch_size=2),
    data=DataConfig(data_source="synthetic", crop_height=60, crop_width=76, context_frames=5),
)
DTYPES = [None, torch.bfloat16]


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", DTYPES, ids=str)
def test_only_reading_the_loss_waits_for_the_gpu(autocast):
    clips = training_step.batch(2, 5, 60, 76, seed=0, device="cuda")
    training = training_step.Training(CONFIG, "cuda", autocast)
    for _ in range(2):  # kernels and the optimiser's state are made
        training.step(clips)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            loss = training.step(clips)
            before = waits(found)
            loss.item()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert before == []
    assert len(waits(found)) == 1  # so waits are seen


def waits(found: list[warnings.WarningMessage]) -> list[str]:
    return [f"{x.filename}:{x.lineno}" for x in found if "called a synchronizing" in str(x.message)]


# -- determinism -----------------------------------------------------------------------------------

# Gradients that `torch.use_deterministic_algorithms` documents as errors on a GPU.
RAISING = (
    "AvgPool3D",
    "AdaptiveAvgPool",
    "MaxPool",
    "AdaptiveMaxPool",
    "FractionalMaxPool",
    "MaxUnpool",
    "UpsampleLinear",
    "UpsampleBilinear",
    "UpsampleBicubic",
    "UpsampleTrilinear",
    "ReflectionPad",
    "ReplicationPad",
    "NllLoss",
    "CtcLoss",
    "EmbeddingBag",
    "Put",
    "Median",
    "Kthvalue",
    "GridSampler",
    "Cumsum",
    "Cumprod",
    "ScatterReduce",
)


def raising(training: training_step.Training, deterministic: bool) -> set[str]:
    """Which of RAISING the backward of a step would run."""
    batch = memory.empty_batch(CONFIG).to(GPU)
    torch.use_deterministic_algorithms(deterministic)
    try:
        waiting = [training.loss(batch).grad_fn]
    finally:
        torch.use_deterministic_algorithms(False)
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return {name for name in (node.name() for node in seen) if name.startswith(RAISING)}


@pytest.mark.slow
def test_a_step_has_no_gradient_without_a_deterministic_algorithm(monkeypatch):
    """Tensors without data stand for a GPU's."""
    monkeypatch.setattr(training_step, "LIFT", lambda *given: dataless(LIFT(*given)))
    with device_traffic():
        training = training_step.Training(CONFIG, GPU, torch.bfloat16)
        usual, deterministic = (raising(training, wanted) for wanted in (False, True))
    assert usual == {"ReplicationPad2DBackward0", "UpsampleBilinear2DBackward0"}
    assert deterministic == set()


STEPS = """
import sys
from dataclasses import replace
import torch
from benchmarks.harness.training_step import Training, batch
from lift.config import Config, tiny

device, (H, W) = sys.argv[1], map(int, sys.argv[2:])
clips = batch(2, 3, H, W, seed=0, device=device)
torch.use_deterministic_algorithms(True)

def results(autocast):
    training = Training(replace(Config(), model=tiny()), device, autocast)
    found = {f"loss of step {i}": training.step(clips) for i in range(2)}
    names = training.model.named_parameters()
    return found | {name: part for k, p in names
                    for name, part in ((k, p.detach()), (f"gradient of {k}", p.grad))}

for autocast in (None, torch.bfloat16):
    first, second = results(autocast), results(autocast)
    assert first["loss of step 0"] != first["loss of step 1"]       # it learns
    off = [name for name in first if not torch.equal(first[name], second[name])]
    print(autocast, len(first), "compared,", len(off), "differ", off[:8])
"""


@pytest.mark.slow
@pytest.mark.native
def test_deterministic_steps_have_the_same_bits_in_two_runs():
    """In a process of its own: cuBLAS reads its setting when CUDA starts."""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONPATH": str(root)}
    where = ("cuda", "124", "140") if torch.cuda.is_available() else ("cpu", "28", "28")
    answer = subprocess.run(
        [sys.executable, "-c", STEPS, *where],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert len(lines) == 2 and all(line.endswith(" 0 differ []") for line in lines), answer.stdout
