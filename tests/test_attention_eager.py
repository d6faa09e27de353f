"""Attention through F.scaled_dot_product_attention on a CPU: what the definition says, in less memory, without gradients."""
import pytest
import torch
from lift.kernels import backend
from lift.kernels.attention.eager import temporal_attention_sdpa
from lift.kernels.attention.reference import temporal_attention_reference

from lift import kernels

#        B  Tq Tk H  W heads d window shift
CASES = [(2, 1, 3, 8, 8, 2, 8, 8, 0), (2, 1, 5, 9, 14, 2, 8, 8, 3), (1, 3, 3, 5, 6, 2, 4, 3, 1), (2, 2, 1, 4, 4, 1, 4, 4, 0),
         (1, 1, 15, 3, 4, 2, 8, 1, 0)]
LARGE = [(1, 1, 15, 16, 16, 4, 32, 8, 0), (2, 1, 15, 18, 20, 2, 32, 8, 4), (1, 1, 2, 16, 16, 4, 32, 8, 0)]


@pytest.fixture(autouse=True)
def no_flag(monkeypatch):
    monkeypatch.setattr(backend, "_environment", "")


def arguments(case, dtype=torch.float64, bias_batch=True):
    B, Tq, Tk, H, W, heads, d, window, shift = case
    mask = torch.rand(B, Tk) < 0.7
    mask[-1, 0] = True
    mask[0] = mask[0] & (B == 1)                         # of two clips the first is masked altogether
    mask[-1, -1] = True
    time_bias = torch.randn(B if bias_batch else 1, heads, Tq, Tk)
    return (*(torch.randn(B, T, H, W, heads, d).to(dtype) for T in (Tq, Tk, Tk)), window, shift, time_bias,
            torch.randn(heads, 2 * window - 1, 2 * window - 1), mask, 0.3)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("absent", [(), (5,), (6, 8), (7,)], ids=str)
def test_it_is_the_definition(case, dtype, absent):
    given = [None if i in absent else x for i, x in enumerate(arguments(case, dtype, bias_batch=case[1] == 1))]
    out, share = temporal_attention_sdpa(*given)
    expected, expected_share = temporal_attention_reference(*given)
    assert (out.dtype, out.shape, share.dtype) == (expected.dtype, expected.shape, expected_share.dtype)
    unit = torch.finfo(dtype).eps if dtype != torch.float64 else 1e-13
    torch.testing.assert_close(out, expected, atol=32 * unit, rtol=0)
    torch.testing.assert_close(share, expected_share, atol=32 * min(unit, 2e-7), rtol=0)


@pytest.mark.parametrize("content", [float("nan"), float("inf"), 1e6])
def test_masked_frames_change_nothing(content):
    given = list(arguments(CASES[1], torch.float32))
    expected = temporal_attention_sdpa(*given)
    for i in (1, 2):
        given[i] = torch.where(given[7][:, :, None, None, None, None], given[i], content)
    assert all(torch.equal(a, b) for a, b in zip(temporal_attention_sdpa(*given), expected, strict=True))


def test_it_serves_large_windows_where_no_gradient_is_wanted():
    given = list(arguments(CASES[0], torch.float32))
    assert kernels.serving("temporal_attention", *given) == "sdpa"
    given[6].requires_grad_()
    assert kernels.serving("temporal_attention", *given) == "reference"
    assert "gradients are wanted" in kernels.reasons("temporal_attention", *given)["sdpa"]
    with torch.no_grad():
        assert kernels.serving("temporal_attention", *given) == "sdpa"
    given[3], given[6] = 4, None
    assert "a window of 4" in kernels.reasons("temporal_attention", *given)["sdpa"]
    given[3] = 8
    given[0] = given[0][:, :, :0]
    assert "empty" in kernels.reasons("temporal_attention", *given)["sdpa"]


def test_it_compiles_without_a_break():
    torch._dynamo.reset()
    given = arguments(CASES[1], torch.float32)
    with torch.no_grad():
        compiled = torch.compile(temporal_attention_sdpa, backend="aot_eager", fullgraph=True)(*given)
        torch.testing.assert_close(compiled, temporal_attention_sdpa(*given))


def peak(function) -> int:
    """Largest number of bytes that PyTorch holds at once during the call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    now = largest = 0
    for event in sorted((e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        largest = max(largest, now)
    return largest


@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_takes_no_more_memory_than_the_reference(shape, dtype):
    given = arguments(shape, dtype)
    with torch.no_grad():
        assert peak(lambda: temporal_attention_sdpa(*given)) <= peak(lambda: temporal_attention_reference(*given))
