"""`path_inputs`: what its channels are, and which arguments it takes."""

import pytest
import torch

from lift import kernels
from lift.kernels import extension
from lift.kernels.ops.path_inputs.reference import divided_differences
from tests.support.path_cases import inputs

NAMES = ("hidden", "state", "motions", "times", "valid", "gaps", "factors", "dtype")


def given(**changed) -> dict:
    made = inputs(torch.float32, torch.Generator().manual_seed(0))
    return dict(zip(NAMES, made, strict=True)) | changed


def call(**changed) -> tuple[torch.Tensor, torch.Tensor]:
    return kernels.path_inputs(**given(**changed))


def test_channels_are_in_the_order_of_the_definition():
    made = given()
    state, motion = made["state"], [made[name] for name in ("motions", "times", "valid")]
    out, differences = call()
    expected = divided_differences(state[:, 0:2], state[:, 2:4], *motion, kernels.warp)
    torch.testing.assert_close(differences, expected)
    hidden, inner, velocity, outer, unknown = out.split((5, 4, 2, 4, 4), 1)
    assert torch.equal(hidden, made["hidden"])
    assert torch.equal(inner, differences[:, :2].flatten(1, 2) / 4)
    assert torch.equal(velocity, (state[:, 2:4] - state[:, 0:2]) / 8)
    assert torch.equal(outer, differences[:, 2:].flatten(1, 2))
    assert not unknown.any()


def test_steady_motion_has_no_differences():
    still = torch.zeros(1, 6, 4, 5)
    still[:, 0], still[:, 2] = -1.0, 2.0  # three pixels in the references' interval
    times = torch.tensor([[-1.0, 3, -2, 3.5]])
    motions = (
        3
        * torch.tensor([1.0, 2, 1, 0.5]).view(1, 4, 1, 1, 1)
        * torch.tensor([1.0, 0]).view(1, 1, 2, 1, 1)
    )
    _, differences = call(
        hidden=torch.zeros(1, 5, 4, 5),
        state=still,
        motions=motions.expand(1, 4, 2, 4, 5),
        times=times,
        valid=torch.ones(1, 4, dtype=torch.bool),
    )
    torch.testing.assert_close(differences, torch.zeros(1, 4, 2, 4, 5))


def test_the_first_output_has_the_dtype_asked_for_or_autocasts():
    expected = call()[0].bfloat16()
    assert torch.equal(call(dtype=torch.bfloat16)[0], expected)
    assert call(dtype=None)[0].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        out, differences = call(dtype=None)
    assert torch.equal(out, expected) and differences.dtype == torch.float32


@pytest.mark.parametrize("backend", ["auto", "eager", "reference"])
def test_backends_agree(backend):
    for found, expected in zip(call(backend=backend), call(backend="reference"), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_motions_with_a_gradient_are_left_to_pytorch():
    made = given()
    made["motions"].requires_grad_()
    reason = kernels.unsupported_reasons("path_inputs", *made.values())["triton"]
    assert reason and ("motions" in reason or "Triton cannot" in reason or "CUDA" in reason)
    kernels.path_inputs(**made)[1].sum().backward()
    assert made["motions"].grad is not None


@pytest.mark.skipif(extension.module is None, reason=str(extension.failure))
class TestCpp:
    def test_it_takes_any_strides_and_float64(self):
        made = given()
        expected = call(backend="reference")
        apart = {
            name: torch.stack((x, x), -1)[..., 0] if torch.is_tensor(x) else x
            for name, x in made.items()
        }
        doubled = {
            name: x.double() if torch.is_tensor(x) and x.is_floating_point() else x
            for name, x in made.items()
        }
        for form in (apart, doubled | {"dtype": torch.float64}):
            found = kernels.path_inputs(**form, backend="cpp")
            assert found[0].is_contiguous(memory_format=torch.channels_last)
            for x, y in zip(found, expected, strict=True):
                torch.testing.assert_close(x.float(), y, atol=1e-5, rtol=1e-5)

    def test_what_is_not_known_is_zero_whatever_the_motion(self):
        made = given(valid=torch.zeros(2, 4, dtype=torch.bool))
        made["motions"][:] = torch.inf
        out, differences = kernels.path_inputs(**made, backend="cpp")
        assert not differences.any() and out.isfinite().all()

    def test_what_it_does_not_support_is_left_to_pytorch(self):
        def reason(**changed) -> str | None:
            return kernels.unsupported_reasons("path_inputs", *given(**changed).values())["cpp"]

        assert reason() is None
        assert "features of torch.bfloat16" in reason(hidden=given()["hidden"].bfloat16())
        assert "an output of torch.bfloat16" in reason(dtype=torch.bfloat16)
        assert "gradient" in reason(hidden=given()["hidden"].requires_grad_())


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("hidden", torch.zeros(2, 5, 6, 8), "hidden must be (2, 5, 6, 9)"),
        ("state", torch.zeros(2, 4, 6, 9), "state must be (B, 6, h, w), got (2, 4, 6, 9)"),
        ("state", torch.zeros(2, 6, 6, 9).half(), "state must be float32 or float64"),
        ("motions", torch.zeros(2, 3, 2, 6, 9), "motions must be (B, G, 2, h, w) of 2, 4 or 6"),
        ("motions", torch.zeros(2, 4, 2, 6, 8), "motions must be (2, 4, 2, 6, 9)"),
        ("times", torch.zeros(2, 2), "times must be (2, 4)"),
        ("valid", torch.zeros(2, 4), "valid must be a bool tensor, got torch.float32"),
        ("valid", torch.zeros(2, 2, dtype=torch.bool), "valid must be (B, G) = (2, 4)"),
        ("gaps", 2, "gaps must be 2, 4 or 6 and at least 4, got 2"),
        ("factors", (1.0, 2.0), "factors must be three numbers, got 2"),
        ("dtype", torch.int32, "dtype must be a floating dtype, got torch.int32"),
    ],
)
def test_wrong_arguments_are_named(name, value, error):
    with pytest.raises((TypeError, ValueError)) as raised:
        call(**{name: value})
    assert str(raised.value).startswith(f"path_inputs: {error}")
