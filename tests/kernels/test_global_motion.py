"""`global_motion`: what it computes, and which arguments it takes."""

import pytest
import torch

from lift import kernels
from tests.support.global_motion_cases import make

NAMES = ("volume", "left", "right", "inv_temperature", "prior", "t", "radius", "dtype")


def inputs(**changed) -> dict:
    made = make(torch.float32, torch.Generator().manual_seed(0))
    return dict(zip(NAMES, made, strict=True)) | changed


def call(**changed) -> tuple[torch.Tensor, torch.Tensor]:
    return kernels.global_motion(**inputs(**changed))


def test_channels_are_in_the_order_of_the_definition():
    given = inputs()
    found, state = call()
    _, left, right, motion, t = found.split((9, 3, 3, 2, 1), 1)
    assert torch.equal(left, given["left"]) and torch.equal(right, given["right"])
    time = given["t"].view(-1, 1, 1, 1)
    assert torch.equal(t, time.expand_as(t))
    torch.testing.assert_close(state[:, 0:2], -time * motion)
    torch.testing.assert_close(state[:, 2:4], (1 - time) * motion)
    assert not state[:, 4:].any()


def test_the_motion_is_that_of_the_largest_correlation():
    """Sampled where its path starts in the left reference."""
    volume = torch.zeros(1, 25, 9, 9)
    m = 2 * 5 + 4  # dx = 2, dy = 0
    volume[0, m, 4, 3] = 1.0
    zeros = torch.zeros(25)
    maps = torch.zeros(1, 1, 9, 9)
    _, state = kernels.global_motion(
        volume, maps, maps, torch.tensor(100.0), zeros, torch.tensor([0.5]), 2, torch.float32
    )
    at = state[0, :, 4, 4]  # half of dx = 2 further
    torch.testing.assert_close(at, torch.tensor([-1.0, 0, 1, 0, 0, 0]), atol=1e-4, rtol=0)
    assert state[0, :4, 4, 3].abs().max() < 1e-4


def test_the_output_has_the_dtype_asked_for_and_the_state_float32():
    found, state = call(dtype=torch.bfloat16)
    assert found.dtype == torch.bfloat16 and state.dtype == torch.float32


def test_autocast_changes_nothing():
    with torch.autocast("cpu", torch.bfloat16):
        found = call()
    assert all(map(torch.equal, found, call()))


def test_times_get_no_gradient():
    given = inputs()
    for name in ("t", "prior"):
        given[name].requires_grad_()
    sum(x.sum() for x in kernels.global_motion(**given)).backward()
    assert given["t"].grad is None and given["prior"].grad is not None


@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
def test_backends_agree(backend):
    torch.testing.assert_close(call(backend=backend), call(backend="reference"))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("volume", torch.zeros(2, 8, 4, 6), "volume must be (2, 9, 4, 6)"),
        ("volume", torch.zeros(2, 9, 4, 6).half(), "volume must be float32 or float64"),
        ("left", torch.zeros(2, 3, 4, 5), "left must be (2, 3, 4, 6)"),
        ("right", torch.zeros(2, 3, 4, 6).half(), "right must be torch.float32"),
        ("inv_temperature", torch.zeros(1), "inv_temperature must be ()"),
        ("prior", torch.zeros(8), "prior must be (9,)"),
        ("t", torch.zeros(3), "t must be (2,)"),
        ("t", 0.5, "t must be a tensor"),
        ("radius", 0, "radius must be an integer of at least 1, got 0"),
        ("dtype", torch.int32, "dtype must be a floating dtype, got torch.int32"),
    ],
)
def test_wrong_arguments_are_named(name, value, error):
    with pytest.raises((TypeError, ValueError)) as raised:
        call(**{name: value})
    assert str(raised.value).startswith(f"global_motion: {error}")
