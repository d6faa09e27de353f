"""Lucas-Kanade steps between two references: what they find, and what gradients pass."""

import pytest
import torch

from lift.model.alignment import add_motion, luma, missing_motion


def texture(shift: float) -> torch.Tensor:
    """A smooth pattern (1, 1, 48, 64) moved to the right by `shift` and down by half of it."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    x, y = x - shift, y - shift / 2
    return (0.5 + 0.2 * torch.sin(x / 2.1) * torch.cos(y / 2.6) + 0.2 * torch.sin(y / 3))[
        None, None
    ]


@pytest.mark.parametrize("t", [0.25, 0.5])
def test_steps_find_the_motion_that_the_flows_lack(t):
    zero, time = torch.zeros(1, 2, 48, 64), torch.tensor([t])
    found = missing_motion(texture(0), texture(0.8), zero, zero, time, steps=2)
    inner = found[..., 8:-8, 8:-8]
    want = torch.tensor([0.8, 0.4]).view(1, 2, 1, 1).expand_as(inner)
    torch.testing.assert_close(inner, want, atol=0.1, rtol=0)
    one = missing_motion(texture(0), texture(0.8), zero, zero, time, steps=1)
    error = [(x[..., 8:-8, 8:-8] - want).abs().mean() for x in (one, found)]
    assert error[1] < error[0]


def test_right_flows_are_left_alone():
    time, motion = torch.tensor([0.25]), torch.tensor([0.8, 0.4]).view(1, 2, 1, 1)
    flows = add_motion(torch.zeros(1, 2, 48, 64), torch.zeros(1, 2, 48, 64), motion, time)
    found = missing_motion(texture(0), texture(0.8), *flows, time, steps=1)
    assert found[..., 8:-8, 8:-8].abs().max() < 0.05


def test_a_flat_image_tells_nothing():
    flat, flow = torch.full((1, 1, 16, 16), 0.3), torch.randn(1, 2, 16, 16)
    assert not missing_motion(flat, flat, flow, flow, torch.tensor([0.5]), steps=2).any()


def test_a_change_of_motion_moves_both_ends_away_from_the_target():
    flow0, flow1 = add_motion(
        torch.zeros(1, 2, 2, 2),
        torch.ones(1, 2, 2, 2),
        torch.full((1, 2, 2, 2), 4.0),
        torch.tensor([0.25]),
    )
    assert (flow0 == -1).all() and (flow1 == 4).all()


def test_gradients_pass_to_the_flows_unchanged():
    flow = torch.zeros(1, 2, 48, 64, requires_grad=True)
    found = missing_motion(texture(0), texture(0.8), flow, flow, torch.tensor([0.5]), steps=1)
    assert not found.requires_grad
    add_motion(flow, flow, found, torch.tensor([0.5]))[0].sum().backward()
    assert (flow.grad == 1).all()


def test_luma_is_that_of_bt601():
    assert luma(torch.ones(1, 3, 2, 2)).allclose(torch.ones(1, 1, 2, 2))
    assert luma(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)).item() == pytest.approx(0.587)
