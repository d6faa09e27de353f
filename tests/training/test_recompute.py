"""Recompute switches: less is kept for backward, and nothing that is computed changes."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lift.data.clip import Clip
from lift.model import blocks
from lift.model.lift import LIFT
from tests.support.models import TINY

MODEL = replace(TINY, layers=1)

SWITCHES = ("encoder", "refine")


def step(
    autocast: torch.dtype | None = None, recompute: tuple[str, ...] = (), frozen: bool = False
) -> dict[str, torch.Tensor]:
    """The frame and all gradients of one step."""
    torch.manual_seed(0)
    model = LIFT(MODEL)
    with torch.no_grad():
        for p in model.parameters():  # the corrections that start at zero say something too
            if not p.any():
                p.copy_(0.02 * torch.randn(p.shape))
    model.set_epoch(0 if frozen else model.freeze_epochs)
    for stage in recompute:
        getattr(model, stage).recompute = True
    clip = Clip(
        torch.rand(2, 9, 3, 32, 48),
        torch.arange(-4.0, 5).expand(2, 9),
        torch.ones(2, 9, dtype=torch.bool),
        4,
    )
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        frame = model(clip, torch.tensor([0.3, 0.7])).frame
    frame.float().square().mean().backward()
    return {"frame": frame.detach()} | {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("recompute", [("encoder",), ("refine",), SWITCHES], ids="+".join)
def test_recomputing_changes_nothing(recompute, frozen, autocast):
    plain, lean = step(autocast, frozen=frozen), step(autocast, recompute, frozen)
    assert (
        plain.keys() == lean.keys() and any(name.startswith("encoder.") for name in plain) != frozen
    )
    share = {None: 1e-5, torch.bfloat16: 3e-2}[
        autocast
    ]  # frames and clips are summed in other parts
    faint = (
        1e-3 * share * max(x.norm() for name, x in plain.items() if name != "frame")
    )  # what cancels has a gradient of rounding alone
    for name, x in plain.items():
        assert (lean[name] - x).norm() <= share * x.norm() + faint, name


def test_without_gradients_nothing_is_recomputed(monkeypatch):
    monkeypatch.setattr(blocks, "checkpoint", None)
    model = LIFT(MODEL)
    model.encoder.recompute = model.refine.recompute = True
    with torch.no_grad():
        model(
            Clip(
                torch.rand(1, 2, 3, 32, 32),
                torch.tensor([[0.0, 1.0]]),
                torch.ones(1, 2, dtype=torch.bool),
                0,
            ),
            torch.tensor([0.5]),
        )


def test_activating_in_place_is_the_same_function():
    x = torch.cat(
        (
            torch.randn(50),
            torch.tensor([0.0, -0.0, 1e-45, -1e-45, float("inf"), -float("inf"), float("nan")]),
        )
    ).requires_grad_()
    found, expected = blocks.leaky_relu_(x * 1), F.leaky_relu(x, blocks.SLOPE)
    assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7))
    grads = [torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (found, expected)]
    assert torch.equal(*grads)
