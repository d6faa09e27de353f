"""`align`: Lucas-Kanade steps that move the flows of a state, and which arguments it takes."""

import pytest
import torch

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.lucas_kanade.op import ALIGN
from tests.support.op_suite import OpSuite

BACKENDS = [i.name for i in dispatch.operations()["align"]]


def make(dtype, generator, B: int, h: int, w: int, steps: int) -> tuple:
    lumas = [torch.rand(B, 1, h, w, generator=generator).to(dtype) for _ in range(2)]
    state = torch.randn(B, 6, h, w, generator=generator)
    return *lumas, state, torch.rand(B, generator=generator), steps


LUMA0, LUMA1, STATE, T, STEPS = make(torch.float32, torch.Generator().manual_seed(0), 2, 4, 9, 2)


class TestAlign(OpSuite):
    op = ALIGN
    cases = {
        "two steps": lambda dtype, generator: make(dtype, generator, 2, 2, 5, 2),
        "one step": lambda dtype, generator: make(dtype, generator, 1, 5, 66, 1),
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_steps_of_lucas_kanade_added_to_the_flows(backend):
    if kernels.unsupported_reasons("align", LUMA0, LUMA1, STATE, T, STEPS)[backend]:
        pytest.skip("not supported here")
    out, missing = kernels.align(LUMA0, LUMA1, STATE, T, STEPS, backend=backend)
    flow0, flow1, t = STATE[:, 0:2], STATE[:, 2:4], T.view(-1, 1, 1, 1)
    total = torch.zeros_like(flow0)
    for _ in range(STEPS):
        flows = flow0 - t * total, flow1 + (1 - t) * total
        total = total + kernels.lucas_kanade(LUMA0, LUMA1, *flows, T)
    expected = torch.cat((flow0 - t * total, flow1 + (1 - t) * total, STATE[:, 4:]), 1)
    torch.testing.assert_close(missing, total, atol=1e-4, rtol=0)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)
    assert out.is_contiguous() and missing.is_contiguous()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_pass_to_the_state_unchanged(backend):
    if kernels.unsupported_reasons("align", LUMA0, LUMA1, STATE, T, STEPS)[backend]:
        pytest.skip("not supported here")
    state, t, luma = (x.clone().requires_grad_() for x in (STATE, T, LUMA0))
    out, missing = kernels.align(luma, LUMA1, state, t, 1, backend=backend)
    assert not missing.requires_grad
    weights = torch.randn_like(out)
    found = torch.autograd.grad((out * weights).sum(), (state, t, luma), allow_unused=True)
    assert torch.equal(found[0], weights) and found[1] is None and found[2] is None


@pytest.mark.native
@pytest.mark.slow
def test_nothing_is_saved_for_backward():
    saved = []
    state = STATE.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda x: x):
        kernels.align(LUMA0, LUMA1, state, T, 1, backend=_triton())
    assert not saved


def _triton() -> str:
    reason = kernels.unsupported_reasons("align", LUMA0, LUMA1, STATE, T, STEPS)["triton"]
    if reason:
        pytest.skip(reason)
    return "triton"


def test_under_autocast_half_states_and_times_are_cast():
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = kernels.align(LUMA0, LUMA1, STATE.bfloat16(), T.bfloat16(), STEPS)
    assert out.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LUMA0[0], LUMA1, STATE, T, 1), ValueError, r"luma0 must be \(B, C, H, W\)"),
        ((STATE, STATE, STATE, T, 1), ValueError, "luma0 must have 1 channel, got 6"),
        ((LUMA0, LUMA1.half(), STATE, T, 1), TypeError, "luma1 must be torch.float32"),
        ((LUMA0, LUMA1, STATE[:, 1:], T, 1), ValueError, r"state must be \(2, 6, 4, 9\)"),
        ((LUMA0, LUMA1, STATE.half(), T, 1), TypeError, "state must be torch.float32"),
        ((LUMA0, LUMA1, STATE, T[:1], 1), ValueError, r"t must be \(2,\)"),
        ((LUMA0, LUMA1, STATE, T, 0), ValueError, "steps must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_have_a_clear_error(arguments, error, message):
    with pytest.raises(error, match=message):
        kernels.align(*arguments)
