"""Attention in C++ on a CPU against its definition, and which calls it leaves to PyTorch."""

import pytest
import torch

from lift import kernels
from lift.kernels import extension
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference
from tests.support.chunked_attention_cases import CASES, doubled, make
from tests.support.parity import assert_close, poison

pytestmark = pytest.mark.skipif(extension.module is None, reason=str(extension.failure))
LARGE = [
    (2, 1, 15, 18, 20, 2, 32, 8, 4),  # queries of several vectors
    (1, 6, 6, 12, 12, 2, 20, 4, 0),  # channels that fill no block
    (1, 1, 3, 7, 9, 3, 5, 4, 3),
]


def compute(given, backend="cpp"):
    q, k, v, window, shift, time_bias, window_bias, mask, scale = given
    return kernels.temporal_attention(
        q,
        k,
        v,
        window=window,
        shift=shift,
        time_bias=time_bias,
        window_bias=window_bias,
        mask=mask,
        scale=scale,
        with_frame_weights=False,
        backend=backend,
    )[0]


@pytest.mark.parametrize("case", CASES + LARGE, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_the_definition(case, dtype, monkeypatch):
    given = make(case, dtype)
    low = temporal_attention_reference(*given)[0]
    exact = temporal_attention_reference(*doubled(given))[0]
    poison(monkeypatch)
    arithmetic = given[5].dtype  # that of the biases
    assert_close("the output", compute(given), low, exact, arithmetic)


@pytest.mark.parametrize("absent", [(5,), (6,), (7,), (5, 6, 7), (8,)])
def test_biases_mask_and_scale_may_be_left_out(absent):
    given = [None if i in absent else x for i, x in enumerate(make(CASES[1], torch.float32))]
    torch.testing.assert_close(compute(given), temporal_attention_reference(*given)[0])


def test_tokens_may_have_any_strides():
    given = make(CASES[1], torch.float32)
    expected = compute(given)
    given[0] = given[0].transpose(2, 3).contiguous().transpose(2, 3)
    given[1] = given[1].movedim(-1, 0).contiguous().movedim(0, -1)
    assert torch.equal(compute(given), expected)


def test_frames_that_are_not_real_change_nothing():
    given = make(CASES[1], torch.float32)
    expected = compute(given)
    for x in given[1:3]:
        x[~given[7]] = torch.nan
    assert torch.equal(compute(given), expected)
    assert not expected[0].any()  # without a real frame


def test_what_it_does_not_support_is_left_to_pytorch():
    given = make(CASES[1], torch.float32)
    q, k, v, *rest = given

    def selected(*arguments):
        return kernels.selected_backend("temporal_attention", *arguments)

    assert selected(*given, False) == "cpp"
    assert selected(*given, True) == selected(*given) == "eager"
    assert selected(q.half(), k.half(), v.half(), *rest, False) == "eager"
    assert selected(q.bfloat16(), k.bfloat16(), v.bfloat16(), *rest, False) == "cpp"
    given[6].requires_grad_()
    assert selected(*given, False) == "eager"
    with torch.no_grad():
        assert selected(*given, False) == "cpp"
