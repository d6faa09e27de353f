"""`curve_flows`: how paths bend, and which arguments it takes."""

import pytest
import torch

from lift import kernels
from lift.kernels import extension
from tests.support.path_cases import curves

NAMES = (
    "predicted",
    "bias",
    "state",
    "differences",
    "times",
    "valid",
    "t",
    "confidence_logit",
    "largest_weight",
    "noise_agreement",
)


def given(**changed) -> dict:
    made = curves(torch.float32, torch.Generator().manual_seed(0))
    return dict(zip(NAMES, made, strict=True)) | changed


def call(**changed) -> torch.Tensor:
    return kernels.curve_flows(**given(**changed))


def test_both_flows_move_alike_and_visibilities_stay():
    state = given()["state"]
    moved = call() - state
    assert moved[:, :4].abs().min() > 0
    torch.testing.assert_close(moved[:, 0:2], moved[:, 2:4], atol=1e-5, rtol=0)
    assert torch.equal(call()[:, 4:], state[:, 4:])


def test_without_frames_beside_the_references_paths_stay_straight():
    assert torch.equal(call(valid=torch.zeros(2, 6, dtype=torch.bool)), given()["state"])


def test_a_bias_is_added_to_what_was_predicted():
    made = given()
    added = made["predicted"] + made["bias"].view(-1, 1, 1)
    torch.testing.assert_close(call(predicted=added, bias=None), call())


def test_with_full_confidence_a_parabola_is_a_parabola():
    """x(s) = 3 s^2, one frame before the references; at t it is 3 t (t - 1) off the chord."""
    differences = torch.zeros(1, 2, 2, 1, 1)
    differences[:, 0, 0] = 3.0
    t, state = torch.tensor([0.25]), torch.zeros(1, 6, 1, 1)
    moved = kernels.curve_flows(
        torch.tensor([50.0, 50, 0, 0]).view(1, 4, 1, 1),
        None,
        state,
        differences,
        torch.tensor([[-1.0, 2.0]]),
        torch.tensor([[True, False]]),
        t,
        0.0,
        2.0,
        [],
    )
    expected = torch.tensor([-3 * 0.25 * -0.75, 0, -3 * 0.25 * -0.75, 0, 0, 0])
    torch.testing.assert_close(moved.flatten(), expected)


def test_the_trust_in_differences_has_no_gradient():
    """So the flows are linear in them as far as gradients know."""
    made = given()
    made["differences"].requires_grad_()
    out = kernels.curve_flows(**made)
    (grad,) = torch.autograd.grad(out[:, :2].sum(), made["differences"])
    moved = (out - made["state"])[:, :2].sum()
    without = call(differences=torch.zeros_like(made["differences"])) - made["state"]
    torch.testing.assert_close((grad * made["differences"]).sum(), moved - without[:, :2].sum())


@pytest.mark.skipif(extension.module is None, reason=str(extension.failure))
class TestCpp:
    def test_it_takes_any_strides_and_float64(self):
        expected = call(backend="reference")
        apart = {
            name: torch.stack((x, x), -1)[..., 0] if torch.is_tensor(x) else x
            for name, x in given().items()
        }
        doubled = {
            name: x.double() if torch.is_tensor(x) and x.is_floating_point() else x
            for name, x in given().items()
        }
        for form in (apart, doubled):
            found = kernels.curve_flows(**form, backend="cpp")
            torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("known", [2, 3, 4, 5])
    def test_gaps_from_one_on_may_be_unknown(self, known):
        valid = (torch.arange(6) < known).expand(2, 6)
        differences = given()["differences"] * valid[..., None, None, None]
        found, expected = (
            call(differences=differences, valid=valid, backend=backend)
            for backend in ("cpp", "reference")
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    def test_what_it_does_not_support_is_left_to_pytorch(self):
        def reason(**changed) -> str | None:
            return kernels.unsupported_reasons("curve_flows", *given(**changed).values())["cpp"]

        assert reason() is None
        predicted, bias = given()["predicted"], given()["bias"]
        assert reason(predicted=predicted.bfloat16(), bias=bias.bfloat16()) is None
        assert "predictions of torch.float16" in reason(predicted=predicted.half())
        assert "gradient" in reason(bias=bias.requires_grad_())


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("predicted", torch.zeros(2, 7, 4, 9), "predicted must be (2, 8, 4, 9)"),
        ("bias", torch.zeros(7), "bias must be (8,)"),
        ("state", torch.zeros(2, 4, 6, 9), "state must be (B, 6, h, w), got (2, 4, 6, 9)"),
        ("differences", torch.zeros(2, 6, 2, 6, 8), "differences must be (2, 6, 2, 4, 9)"),
        ("times", torch.zeros(2, 2), "times must be (2, 6)"),
        ("valid", torch.zeros(2, 6), "valid must be a bool tensor, got torch.float32"),
        ("t", torch.zeros(3), "t must be (2,)"),
        ("noise_agreement", [0.0], "noise_agreement must have 2 values, got 1"),
    ],
)
def test_wrong_arguments_are_named(name, value, error):
    with pytest.raises((TypeError, ValueError)) as raised:
        call(**{name: value})
    assert str(raised.value).startswith(f"curve_flows: {error}")
