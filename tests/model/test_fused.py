"""The whole model with fused kernels against the reference: outputs and gradients."""

from dataclasses import replace

import pytest
import torch

from lift.config import TrainConfig
from lift.data.clip import Batch
from lift.kernels import dispatch
from lift.model.lift import LIFT
from lift.training.losses import total_loss
from tests.support.models import TINY, random_clip, wake

ROUNDINGS = 2  # of the inputs, which tell how much rounding changes the results
pytestmark = [pytest.mark.native, pytest.mark.slow]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batch(rounding: int = 0) -> Batch:
    """Two clips of five frames and their targets; the frames rounded in another way."""
    torch.manual_seed(0)
    clip, target = random_clip(), torch.rand(2, 3, 32, 48)
    made = Batch(
        clip=clip,
        target=target,
        t=torch.tensor([0.3, 0.7]),
        flow=torch.randn(2, 4, 32, 48),
        visible=torch.ones(2, 2, 32, 48),
        flow_known=torch.ones(2, dtype=torch.bool),
    )
    if rounding:
        generator = torch.Generator().manual_seed(rounding)
        noise = torch.rand(clip.frames.shape, generator=generator) - 0.5
        frames = clip.frames * (1 + 2 * torch.finfo(torch.float32).eps * noise)
        made = replace(made, clip=replace(clip, frames=frames))
    return made.to(device())


def run(kernels: str, config, dtype: torch.dtype, rounding: int = 0) -> dict[str, torch.Tensor]:
    """Outputs, losses and the gradients of all parameters."""
    torch.manual_seed(1)
    model, made = wake(LIFT(config, kernels)).to(device()), batch(rounding)
    model.set_epoch(99)
    with dispatch.use(kernels):
        with torch.autocast(device().type, dtype, enabled=dtype != torch.float32):
            prediction = model(made.clip, made.t)
        loss, scalars = total_loss(prediction, made, TrainConfig())
    loss.backward()
    found = {"frame": prediction.frame, "coarse": prediction.coarse, "state": prediction.state}
    found |= {f"losses.{name}": value for name, value in scalars.items()}
    found |= {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: x.detach().double() for name, x in found.items()}


def distances(found: dict, exact: dict) -> dict[str, float]:
    """The distance of each output, of all losses, and of the gradients of each part of the model.

    Relative to their size. In half precision that of a single loss or small gradient is chance.
    """
    parts: dict[str, list[str]] = {}
    for name in exact:
        depth = 1 if name.startswith("losses") else 2
        parts.setdefault(".".join(name.split(".")[:depth]), []).append(name)
    return {
        part: (_flat(found, names) - _flat(exact, names)).norm().item()
        / _flat(exact, names).norm().clamp(min=1e-4).item()
        for part, names in parts.items()
    }


def _flat(results: dict, names: list[str]) -> torch.Tensor:
    return torch.cat([results[name].flatten() for name in names])


@pytest.fixture(scope="module")
def interpreted():
    triton = [b for b in dispatch.operations()["warp"] if b.name == "triton"]
    if not triton or triton[0].unsupported_reason():
        pytest.skip("Triton has neither a GPU nor its interpreter here")


ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
ABLATED = {
    "context_mode": "average",
    "occlusion": False,
    "full_resolution_blend": False,
    "global_motion": False,
    "path_frames": 2,
}


@pytest.mark.parametrize(
    ("switches", "dtype"),
    [
        ({}, "float32"),
        ({"refine_stride": 1, "propagation": 2}, "float32"),
        ({}, "bfloat16"),
        pytest.param({}, "float16", marks=ON_A_GPU),  # bfloat16 stands for it in the interpreter
        (ABLATED, "float32"),
    ],
)
def test_outputs_and_gradients_agree(interpreted, switches, dtype):
    """No result is further off than twice what the reference is in the same precision.

    In half precision five times: of the errors of a hundred layers, two samples are few.
    """
    config = replace(TINY, **switches)
    exact, dtype = run("reference", config, torch.float32), getattr(torch, dtype)
    low = [run("reference", config, dtype, i + 1) for i in range(ROUNDINGS)]
    found = run("fused", config, dtype)
    assert found.keys() == exact.keys()
    noise = [distances(one, exact) for one in low]
    factor = 2 if dtype == torch.float32 else 5
    for name, error in distances(found, exact).items():
        if name == "refine.log_static_threshold" and dtype != torch.float32:
            continue  # a single number, the sum of contributions that nearly cancel
        allowed = factor * max(n[name] for n in noise) + 1e-5
        assert error <= allowed, f"{name}: off by {error:.3g}, allowed {allowed:.3g}"
