"""Lucas-Kanade steps and propagation: what they find, and what gradients pass."""

import pytest
import torch

from lift.model.alignment import aligned, propagated


def texture(shift: float) -> torch.Tensor:
    """A smooth pattern (1, 1, 48, 64) moved to the right by `shift` and down by half of it."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    x, y = x - shift, y - shift / 2
    return (0.5 + 0.2 * torch.sin(x / 2.1) * torch.cos(y / 2.6) + 0.2 * torch.sin(y / 3))[
        None, None
    ]


def state_of(flow0: torch.Tensor, flow1: torch.Tensor) -> torch.Tensor:
    """A state (1, 6, 48, 64) of two flows, each (2,)."""
    flows = torch.cat((flow0, flow1, torch.tensor([3.0, -2.0])))
    return flows.view(1, 6, 1, 1).repeat(1, 1, 48, 64)


MOTION, NONE = torch.tensor([0.8, 0.4]), torch.zeros(2)


@pytest.mark.parametrize("t", [0.25, 0.5])
def test_steps_find_the_motion_that_the_flows_lack(t):
    state, time = state_of(NONE, NONE), torch.tensor([t])
    out, found = aligned(texture(0), texture(0.8), state, time, 2)
    inner = found[..., 8:-8, 8:-8]
    want = MOTION.view(1, 2, 1, 1).expand_as(inner)
    torch.testing.assert_close(inner, want, atol=0.1, rtol=0)
    _, one = aligned(texture(0), texture(0.8), state, time, 1)
    error = [(x[..., 8:-8, 8:-8] - want).abs().mean() for x in (one, found)]
    assert error[1] < error[0]
    torch.testing.assert_close(out[:, 0:2], -t * found)
    torch.testing.assert_close(out[:, 2:4], (1 - t) * found)
    assert torch.equal(out[:, 4:], state[:, 4:])


def test_right_flows_are_left_alone():
    state = state_of(-0.25 * MOTION, 0.75 * MOTION)
    _, found = aligned(texture(0), texture(0.8), state, torch.tensor([0.25]), 1)
    assert found[..., 8:-8, 8:-8].abs().max() < 0.05


def test_a_flat_image_tells_nothing():
    flat, flow = torch.full((1, 1, 16, 16), 0.3), torch.randn(1, 2, 16, 16)
    state = torch.cat((flow, flow, flow), 1)
    out, found = aligned(flat, flat, state, torch.tensor([0.5]), 2)
    assert not found.any() and torch.equal(out, state)


def test_without_a_step_the_state_is_the_same():
    state = state_of(MOTION, NONE)
    out, found = aligned(texture(0), texture(0.8), state, torch.tensor([0.5]), 0)
    assert out is state and found is None


def test_gradients_pass_to_the_state_unchanged():
    state = state_of(NONE, NONE).requires_grad_()
    out, found = aligned(texture(0), texture(0.8), state, torch.tensor([0.5]), 2)
    assert not found.requires_grad
    weights = torch.randn(out.shape)
    (out * weights).sum().backward()
    assert torch.equal(state.grad, weights)


def test_passes_carry_a_right_flow_far():
    """A patch has it; three passes reach 8 + 4 + 2 pixels to each side."""
    torch.manual_seed(0)
    image = torch.rand(1, 1, 96, 128)
    moved = image.roll(12, 3)  # 6 pixels of the state
    right, state = state_of(torch.tensor([-3.0, 0]), torch.tensor([3.0, 0])), state_of(NONE, NONE)
    state[..., 20:28, 28:36] = right[..., 20:28, 28:36]
    errors = []
    for passes in range(4):
        out = propagated(image, moved, state, passes)
        assert torch.equal(out[:, 4:], state[:, 4:])
        errors.append((out - right)[0, 0].abs())
    reached = [(error < 0.1).sum().item() for error in errors]
    assert reached[0] == 64 and reached[0] < reached[1] < reached[2] < reached[3]
    assert (errors[3][22:26, 20:44] < 0.1).all()


def test_without_a_pass_the_state_is_the_same():
    state = state_of(MOTION, NONE)
    assert propagated(texture(0), texture(0), state, 0) is state
