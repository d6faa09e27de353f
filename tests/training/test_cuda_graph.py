"""Training with forward and backward recorded as a CUDA graph: a stand-in records on a CPU."""

from dataclasses import replace

import pytest
import torch

from benchmarks.harness import training_step
from lift.config import Config, DataConfig, TrainConfig
from lift.errors import LiftError
from lift.training.cuda_graph import GraphedGradients
from lift.training.state import TrainState, build_model
from tests.support.models import TINY
from tests.support.recorder import Recorder

MODEL = replace(TINY, layers=1, radius16=1, hidden16=8, hidden8=8, hidden4=8)
DATA = DataConfig(data_source="synthetic", crop_height=32, crop_width=32, context_frames=4)
SETTINGS = TrainConfig(batch_size=1, freeze_epochs=1, lr=1e-3, warmup_steps=0)


@pytest.fixture(scope="module")
def batches():
    return [training_step.batch(1, 4, 32, 32, seed) for seed in range(4)]


def learner(settings: TrainConfig = SETTINGS, device: str = "cpu") -> TrainState:
    torch.manual_seed(0)
    model = build_model(Config(MODEL, DATA, settings)).to(device)
    return TrainState(model, settings, torch.device(device))


def learn(state: TrainState, batches: list, epochs=(0, 1)) -> tuple[list, list]:
    """A step of each epoch on two accumulated batches; the scalars, and the weights at the end."""
    scalars = []
    for step, epoch in enumerate(epochs):
        state.model.set_epoch(epoch)
        parts = batches[2 * step : 2 * step + 2]
        scalars.append(state.train_step(state.network, parts, 1e-3).read())
    return scalars, [p.detach().clone() for p in state.model.parameters()]


@pytest.mark.parametrize("channels_last", (True, False))
def test_a_recorded_step_trains_like_a_launched_one(batches, channels_last):
    """Also as the encoder thaws, and with accumulation."""
    settings = replace(SETTINGS, channels_last=channels_last)
    plain, recorded = learner(settings), learner(settings)
    recorder = Recorder()
    recorded.graphed = GraphedGradients(recorded.model, recorded._forward, recorder)
    expected, got = learn(plain, batches), learn(recorded, batches)
    assert recorder.recorded == 2 and recorder.replayed == 4 + 2  # once more after each recording
    assert got[0] == expected[0]
    for a, b in zip(expected[1], got[1], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_gradient_that_overflows_in_both_is_no_difference():
    """As gradients in float16 do until the scaler has found its scale; NaN in one alone is one."""
    big = torch.tensor([1.0, 3e38])

    def forward(batch, weight):
        loss = (model.weight * batch * 10).sum()
        return loss, {"loss": loss.detach()}, batch

    model = torch.nn.Linear(2, 1, bias=False)
    GraphedGradients(model, forward, Recorder())(big, 1.0)
    assert model.weight.grad.isinf().tolist() == [[False, True]]
    model.weight.grad = None
    spoilt = Recorder(lambda results: results[0].fill_(float("nan")))
    with pytest.raises(LiftError, match="another result"):
        GraphedGradients(model, forward, spoilt)(torch.ones(2), 1.0)


def test_it_needs_a_gpu_and_only_one(tmp_path):
    from lift.training import loop  # needs what the steps of `gpu.sh` do without
    from lift.training.distributed import DistributedContext
    from lift.training.signals import StopRequest

    settings = replace(SETTINGS, cuda_graph=True, output=str(tmp_path))
    with pytest.raises(LiftError, match="need a GPU.*--cuda_graph"):
        learner(settings)
    several = DistributedContext(torch.device("cpu"), rank=0, world_size=2)
    with pytest.raises(LiftError, match="one GPU"):
        loop.Trainer(Config(MODEL, DATA, settings), several, StopRequest())


@pytest.mark.gpu
def test_a_graph_trains_like_launches_on_a_gpu(batches):
    """One step, so that no rounding has grown in the optimiser."""
    plain, graphed = learner(device="cuda"), learner(replace(SETTINGS, cuda_graph=True), "cuda")
    (expected,), _ = learn(plain, batches, epochs=(1,))
    (got,), _ = learn(graphed, batches, epochs=(1,))
    for a, b in zip(expected[0], got[0], strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-5)
    a, b = (
        torch.cat([p.grad.flatten() for p in state.model.parameters()])
        for state in (plain, graphed)
    )
    assert (a - b).norm() < 1e-3 * a.norm()
