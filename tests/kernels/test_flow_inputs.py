"""`flow_inputs`: what its channels are, and which arguments it takes."""

import pytest
import torch

from lift import kernels
from tests.support.flow_inputs_cases import make

NAMES = ("left", "right", "local", "zero_motion", "state", "missing", "t", "scale", "dtype")


def inputs(**changed) -> dict:
    made = make(torch.float32, torch.Generator().manual_seed(0))
    return dict(zip(NAMES, made, strict=True)) | changed


def call(**changed) -> torch.Tensor:
    return kernels.flow_inputs(**inputs(**changed))


def test_channels_are_in_the_order_of_the_definition():
    given = inputs()
    state = given["state"]
    left, right, local, zero_motion, flows, occ, t, missing = call().split(
        (3, 3, 9, 1, 4, 2, 1, 2), 1
    )
    torch.testing.assert_close(left, kernels.warp(given["left"], state[:, 0:2]))
    torch.testing.assert_close(right, kernels.warp(given["right"], state[:, 2:4]))
    assert torch.equal(local, given["local"]) and torch.equal(zero_motion, given["zero_motion"])
    assert torch.equal(flows, state[:, :4] * (4 / 32)) and torch.equal(occ, state[:, 4:])
    assert torch.equal(t, given["t"].view(-1, 1, 1, 1).expand_as(t))
    assert torch.equal(missing, given["missing"])


def test_without_missing_motion_its_channels_do_not_exist():
    assert torch.equal(call(missing=None), call()[:, :-2])


def test_the_output_has_the_dtype_asked_for():
    assert torch.equal(call(dtype=torch.bfloat16), call().bfloat16())


def test_missing_motion_and_times_get_no_gradient():
    given = inputs()
    for name in ("missing", "t", "state"):
        given[name].requires_grad_()
    kernels.flow_inputs(**given).sum().backward()
    assert given["missing"].grad is None and given["t"].grad is None
    assert given["state"].grad is not None


@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
def test_backends_agree(backend):
    torch.testing.assert_close(call(backend=backend), call(backend="reference"))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("right", torch.zeros(2, 3, 4, 5), "right must be (2, 3, 4, 6)"),
        ("right", torch.zeros(2, 3, 4, 6).half(), "right must be torch.float32"),
        ("local", torch.zeros(2, 9, 4, 5), "local must be (2, 9, 4, 6)"),
        ("zero_motion", torch.zeros(2, 2, 4, 6), "zero_motion must be (2, 1, 4, 6)"),
        ("state", torch.zeros(2, 4, 4, 6), "state must be (2, 6, 4, 6)"),
        ("state", torch.zeros(2, 6, 4, 6).half(), "state must be torch.float32"),
        ("missing", torch.zeros(2, 1, 4, 6), "missing must be (2, 2, 4, 6)"),
        ("t", torch.zeros(3), "t must be (2,)"),
        ("t", 0.5, "t must be a tensor"),
        ("scale", 0, "scale must be an integer of at least 1, got 0"),
        ("dtype", torch.int32, "dtype must be a floating dtype, got torch.int32"),
    ],
)
def test_wrong_arguments_are_named(name, value, error):
    with pytest.raises((TypeError, ValueError)) as raised:
        call(**{name: value})
    assert str(raised.value).startswith(f"flow_inputs: {error}")
