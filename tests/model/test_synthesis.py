"""Stage 4: the plain blend at a quarter, and a residual that starts at zero."""

import torch

from lift.model.synthesis import CoarseSynthesis
from lift.model.types import FlowEstimate
from tests.support.models import TINY, wake


def inputs(flow=0.0, visible=(9.0, 9.0)):
    still = torch.full((1, 2, 8, 8), flow)
    occ = [torch.full((1, 1, 8, 8), x) for x in visible]
    return {
        "quarter0": torch.rand(1, 3, 8, 8),
        "quarter1": torch.rand(1, 3, 8, 8),
        "estimate": FlowEstimate.from_parts(still, still, *occ, 4),
        "hidden": torch.rand(1, TINY.hidden4, 8, 8),
        "context": torch.rand(1, TINY.attn_channels, 2, 2),
    }


@torch.no_grad()
def test_before_training_it_is_the_blend():
    given = inputs()
    coarse = CoarseSynthesis(TINY)(**given)
    torch.testing.assert_close(coarse, (given["quarter0"] + given["quarter1"]) / 2)


@torch.no_grad()
def test_what_only_one_reference_shows_comes_from_it():
    given = inputs(visible=(81.0, -81.0))
    torch.testing.assert_close(CoarseSynthesis(TINY)(**given), given["quarter0"])


@torch.no_grad()
def test_flows_are_in_quarter_resolution_pixels():
    given = inputs(flow=1.0)
    blend = (given["quarter0"] + given["quarter1"]) / 2
    made = CoarseSynthesis(TINY)(**given)
    torch.testing.assert_close(made[..., :-1, :-1], blend[..., 1:, 1:])


def test_hidden_features_and_context_shape_the_residual():
    stage, given = wake(CoarseSynthesis(TINY)), inputs()
    for name in ("hidden", "context"):
        given[name].requires_grad_()
    stage(**given).square().sum().backward()
    assert given["hidden"].grad.any() and given["context"].grad.any()
    assert all(p.grad.any() for p in stage.parameters())
