"""The fused attention's backward with gradients that are large or not finite.

Nothing overflows on the way, and what is not finite stays where the definition has it.
"""

import math

import pytest
import torch

from lift.kernels.ops.temporal_attention import op
from tests.support.temporal_attention_cases import (
    NAMES,
    assert_parity,
    fused,
    make,
    reference,
    results,
)

if op.triton is None or op.triton.unsupported_reason():
    pytest.skip("Triton has neither a GPU nor its interpreter here", allow_module_level=True)

pytestmark = pytest.mark.native

#               B  Tq Tk H  W  heads d window shift
CASES = {
    "dk and dv by the program of dq": (1, 1, 3, 3, 8, 1, 32, 8, 0),
    "dk and dv by the program of dq, window 4": (1, 1, 3, 4, 5, 1, 16, 4, 1),
    "dk and dv by a kernel of their own": (1, 1, 3, 5, 3, 1, 64, 8, 0),
    "many query frames": (1, 2, 3, 4, 4, 1, 16, 4, 0),
    "small window": (1, 1, 3, 3, 4, 1, 32, 1, 0),
    "small window, dk and dv by a kernel of their own": (1, 1, 3, 2, 2, 1, 16, 2, 0),
}
LARGEST = torch.finfo(torch.float16).max

cases = pytest.mark.parametrize("case", CASES)


# -- large gradients in float16 --------------------------------------------------------------------


def large(case) -> tuple[dict, torch.Tensor]:
    """Arguments and the output's gradient; float16 holds these and all gradients."""
    arguments = make(CASES[case], "float16")
    if arguments["window"] == 1:  # its one number cancels in the softmax
        arguments["window_bias"] = None
    for name, factor in (("q", 1 / 64), ("k", 1 / 64), ("v", 32)):
        arguments[name] *= factor
    grad = torch.randn(arguments["q"].shape, generator=torch.Generator().manual_seed(2))
    return arguments, (16384 * grad).half().to(arguments["q"].device)


def gradient_of_scores(arguments: dict, grad: torch.Tensor, monkeypatch) -> float:
    """The largest, by the reference."""
    softmax, found = torch.Tensor.softmax, []

    def watched(scores, dim):
        scores.register_hook(lambda d: found.append(d.abs().max().item()))
        return softmax(scores, dim)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "softmax", watched)
        results(reference, arguments, grad=grad)
    return found[0]


@pytest.mark.slow
@cases
def test_float16_takes_gradients_of_scores_that_it_cannot_hold(case, monkeypatch):
    arguments, grad = large(case)
    assert gradient_of_scores(arguments, grad, monkeypatch) > 1.5 * LARGEST
    assert_parity(results(fused, arguments, grad=grad), arguments, grad)


@pytest.mark.slow
@cases
def test_a_query_with_a_large_gradient_costs_the_others_no_precision(case):
    """Each gradient of q is as close to the definition as `parity` allows for it alone."""
    arguments, grad = large(case)
    grad[:, :, 1:] /= 256
    found = results(fused, arguments, ("q",), grad)
    expected = results(reference, arguments, ("q",), grad)
    for row in ((slice(None), slice(None), 0), (slice(None), slice(None), slice(1, None))):
        a, b = (x["gradient of q"][row].double() for x in (found, expected))
        assert (a - b).norm() <= 16 * torch.finfo(torch.float16).eps * b.norm()


# -- gradients that are not finite -----------------------------------------------------------------


@pytest.mark.slow
@cases
@pytest.mark.parametrize(("dtype", "value"), [("float32", math.nan), ("float16", math.inf)])
def test_a_gradient_that_is_not_finite_reaches_what_it_touches_and_nothing_else(case, dtype, value):
    """Of one query: its own gradient, and those of its window's keys in real frames."""
    arguments = make(CASES[case], dtype)
    grad = torch.randn(arguments["q"].shape, generator=torch.Generator().manual_seed(2))
    grad = grad.to(arguments["q"].device, arguments["q"].dtype)
    grad[0, 0, 1, 1, 0, 3] = value
    found, expected = (results(f, arguments, grad=grad) for f in (fused, reference))
    plain = results(fused, arguments, grad=grad.nan_to_num(posinf=0.0))
    for name in (f"gradient of {n}" for n in NAMES):
        finite = expected[name].isfinite()
        assert not found[name][~finite].isfinite().any(), name
        if name != "gradient of window_bias":  # a sum over all places, those over the edge too
            assert torch.equal(found[name].isfinite(), finite), name
            assert torch.equal(found[name][finite], plain[name][finite]), name
    assert not expected["gradient of q"].isfinite().all()
    assert expected["gradient of k"][:, -1].isfinite().all()  # its frame is masked
