"""What `time_mlp` computes, and which arguments it refuses."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.time_mlp import op
from lift.kernels.ops.time_mlp.reference import time_features

INTERPRETED = op.triton is not None and op.triton.INTERPRETED and not torch.cuda.is_available()
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
backends = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("triton", marks=needs_interpreter)]
)
GIVEN = {
    "k_times": torch.tensor([[-1.0, 0.0, 1.0, 2.5], [0.0, 0.5, 3.0, 4.0]]),
    "q_times": torch.tensor([[0.5], [0.25]]),
    "weight1": torch.randn(9, 6),
    "bias1": torch.randn(9),
    "weight2": torch.randn(3, 9),
    "bias2": torch.randn(3),
}


@backends
def test_it_is_two_linear_layers_of_the_features_of_differences(backend):
    out = kernels.time_mlp(**GIVEN, backend=backend)
    for b in range(2):
        features = time_features(GIVEN["k_times"][b] - GIVEN["q_times"][b])
        hidden = F.gelu(F.linear(features, GIVEN["weight1"], GIVEN["bias1"]))
        expected = F.linear(hidden, GIVEN["weight2"], GIVEN["bias2"])
        torch.testing.assert_close(out[b, :, 0], expected.T)
    assert out.shape == (2, 3, 1, 4) and out.is_contiguous()


@backends
def test_one_layer_embeds_times(backend):
    given = GIVEN | {"q_times": None, "weight2": None, "bias2": None, "dtype": torch.bfloat16}
    out = kernels.time_mlp(**given, backend=backend)
    expected = F.linear(time_features(GIVEN["k_times"]), GIVEN["weight1"], GIVEN["bias1"])
    torch.testing.assert_close(out[:, :, 0], expected.mT.bfloat16())


@backends
def test_autocast_and_strides_change_nothing(backend):
    expected = kernels.time_mlp(**GIVEN, backend=backend)
    given = {name: torch.stack((x, x), -1)[..., 0] for name, x in GIVEN.items()}
    with torch.autocast("cpu", torch.bfloat16):
        found = kernels.time_mlp(**given, backend=backend)
    torch.testing.assert_close(found, expected)


@backends
def test_small_differences_keep_their_digits(backend):
    given = GIVEN | {"weight1": torch.eye(6), "bias1": torch.zeros(6), "q_times": None}
    given |= {"k_times": torch.tensor([[1e-7, -3e-6, 2e-3]]), "weight2": None, "bias2": None}
    out = kernels.time_mlp(**given, backend=backend)
    expected = time_features(given["k_times"].double()).mT[:, :, None].float()
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=0)


@pytest.mark.skipif(op.triton is None, reason="needs Triton")
@pytest.mark.parametrize(
    "match, changed",
    [
        ("k_times is required", {"k_times": GIVEN["k_times"].clone().requires_grad_()}),
        ("another dtype than float32", {"weight2": GIVEN["weight2"].double()}),
        ("up to 2048 only", {"weight1": torch.rand(2049, 6)}),
        ("a result of torch.float64", {"dtype": torch.float64}),
    ],
)
def test_the_reference_takes_what_triton_cannot(match, changed):
    given = GIVEN | {"dtype": torch.float32} | changed
    assert match in op.triton.unsupported_reason(*given.values())


@pytest.mark.parametrize(
    "error, match, changed",
    [
        (TypeError, "k_times must be a tensor", {"k_times": 1}),
        (ValueError, "k_times must be .B, Tk.", {"k_times": torch.rand(2)}),
        (ValueError, "q_times must be .2, 1. to fit", {"q_times": torch.rand(3, 1)}),
        (ValueError, "weight1 must be .9, 6.", {"weight1": torch.rand(9, 5)}),
        (ValueError, "bias1 must be .9,.", {"bias1": torch.rand(8)}),
        (ValueError, "weight2 must be .3, 9.", {"weight2": torch.rand(3, 8)}),
        (ValueError, "both be tensors, or both be None", {"weight2": None}),
        (TypeError, "bias2 must be torch.float32", {"bias2": torch.rand(3).half()}),
        (TypeError, "dtype must be a floating dtype", {"dtype": torch.int32}),
    ],
)
def test_wrong_arguments_are_named(error, match, changed):
    with pytest.raises(error, match=f"time_mlp: .*{match}"):
        kernels.time_mlp(**GIVEN | changed)
