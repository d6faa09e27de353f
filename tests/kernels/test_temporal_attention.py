"""Windowed temporal attention is scaled_dot_product_attention on explicit windows.

Masked frames change nothing.
"""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels import temporal_attention

#        B  Tq Tk  H  W heads d window shift
CASES = [
    (2, 1, 3, 8, 8, 2, 8, 4, 0),
    (2, 1, 5, 7, 10, 2, 8, 4, 0),  # windows that do not divide
    (1, 1, 4, 6, 5, 3, 4, 4, 2),  # shifted
    (1, 3, 3, 5, 6, 2, 4, 2, 1),  # self-attention among frames
    (2, 1, 15, 3, 4, 2, 8, 1, 0),  # one location per window
    (1, 1, 1, 1, 1, 1, 4, 8, 7),  # one frame, one pixel
    (1, 1, 2, 9, 3, 1, 4, 8, 3),
]


def arguments(case, dtype=torch.float64, masked=True):
    B, Tq, Tk, H, W, heads, d, window, shift = case
    mask = torch.ones(B, Tk, dtype=torch.bool)
    if masked and Tk > 1:
        mask[0, -1] = False
    return {
        "q": torch.randn(B, Tq, H, W, heads, d, dtype=dtype),
        "k": torch.randn(B, Tk, H, W, heads, d, dtype=dtype),
        "v": torch.randn(B, Tk, H, W, heads, d, dtype=dtype),
        "window": window,
        "shift": shift,
        "time_bias": torch.randn(B, heads, Tq, Tk, dtype=dtype),
        "window_bias": torch.randn(heads, 2 * window - 1, 2 * window - 1, dtype=dtype),
        "mask": mask,
        "scale": 0.3,
    }


def window_by_window(q, k, v, window, shift, time_bias, window_bias, mask, scale):
    """The definition as a loop over windows, each one call of F.scaled_dot_product_attention with
    an explicit bias.
    """
    B, Tq, H, W, heads, d = q.shape
    Tk = k.shape[1]
    out, frame_weights = torch.zeros_like(q), torch.zeros(B, Tq, Tk, dtype=q.dtype)
    places = {}
    for y in range(H):
        for x in range(W):
            places.setdefault(((y + shift) // window, (x + shift) // window), []).append((y, x))
    for b in range(B):
        frames = [u for u in range(Tk) if mask[b, u]]
        for place in places.values():
            ys, xs = torch.tensor(place).T
            bias = torch.stack(
                [
                    torch.stack(
                        [
                            torch.cat(
                                [
                                    time_bias[b, :, s, u, None]
                                    + window_bias[:, ys - yq + window - 1, xs - xq + window - 1]
                                    for u in frames
                                ],
                                1,
                            )
                            for yq, xq in place
                        ],
                        1,
                    )
                    for s in range(Tq)
                ],
                1,
            ).flatten(1, 2)  # (heads, Tq n, frames n)
            queries = q[b, :, ys, xs].permute(2, 0, 1, 3).flatten(1, 2)
            keys, values = (
                z[b, frames][:, ys, xs].permute(2, 0, 1, 3).flatten(1, 2) for z in (k, v)
            )
            answer = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=bias, scale=scale
            )
            out[b, :, ys, xs] = answer.unflatten(1, (Tq, len(place))).permute(1, 2, 0, 3)
            p = (
                (queries @ keys.mT * scale + bias)
                .softmax(-1)
                .unflatten(1, (Tq, -1))
                .unflatten(-1, (len(frames), -1))
            )
            frame_weights[b][:, frames] += p.sum((0, 2, 4)) / (heads * H * W)
    return out, frame_weights


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_attention_inside_each_window(case):
    a = arguments(case)
    out, frame_weights = temporal_attention(**a)
    expected, expected_weights = window_by_window(**a)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(frame_weights, expected_weights, atol=1e-12, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_is_the_exact_result_rounded(case, dtype):
    a = arguments(case, dtype)
    out, frame_weights = temporal_attention(**a)
    doubled = {
        n: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for n, x in a.items()
    }
    exact, exact_weights = temporal_attention(**doubled)
    assert out.dtype == dtype and frame_weights.dtype == torch.float32
    scale = exact.abs().max().item()
    torch.testing.assert_close(out.double(), exact, atol=torch.finfo(dtype).eps * 8 * scale, rtol=0)
    torch.testing.assert_close(frame_weights.double(), exact_weights, atol=2e-6, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_frame_weights_sum_to_one_and_are_zero_where_masked(case):
    a = arguments(case, torch.float32)
    _, frame_weights = temporal_attention(
        **{n: x.requires_grad_() if n in "qkv" else x for n, x in a.items()}
    )
    torch.testing.assert_close(frame_weights.sum(-1), torch.ones(frame_weights.shape[:2]))
    assert (frame_weights.transpose(1, 2)[~a["mask"]] == 0).all()
    assert not frame_weights.requires_grad


@pytest.mark.parametrize("backend", ["reference", "eager", "triton"])
@pytest.mark.parametrize("window", [2, 4])
def test_frame_weights_can_be_left_out(backend, window):
    """The output and its gradients are the same."""
    q, k, v = (torch.randn(1, frames, 3, 5, 2, 16, requires_grad=True) for frames in (1, 3, 3))
    if kernels.unsupported_reasons("temporal_attention", q, k, v, window)[backend]:
        pytest.skip("not supported here")

    def results(with_frame_weights):
        out, weights = kernels.temporal_attention(
            q, k, v, window=window, with_frame_weights=with_frame_weights, backend=backend
        )
        assert (weights is not None) == with_frame_weights
        return out, *torch.autograd.grad(out.square().sum(), (q, k, v))

    assert all(map(torch.equal, results(True), results(False)))


@pytest.mark.parametrize("case", CASES[:5], ids=str)
@pytest.mark.parametrize("content", [1e6, float("nan"), float("inf")])
def test_masked_frames_change_nothing(case, content):
    a = arguments(case, torch.float32)
    results = []
    for filling in (0.0, content):
        b = {n: x.clone() if isinstance(x, torch.Tensor) else x for n, x in a.items()}
        for name in "kv":
            b[name][~b["mask"]] = filling
        leaves = [b[n].requires_grad_() for n in ("q", "k", "v", "time_bias", "window_bias")]
        out, frame_weights = temporal_attention(**b)
        results.append((out, frame_weights, *torch.autograd.grad(out.square().sum(), leaves)))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)
    assert (results[0][3][~a["mask"]] == 0).all()


def test_a_clip_with_every_frame_masked_gives_zeros_and_finite_gradients():
    a = arguments(CASES[1], torch.float32)
    a["mask"][1] = False
    leaves = [a[n].requires_grad_() for n in ("q", "k", "v", "time_bias", "window_bias")]
    out, frame_weights = temporal_attention(**a)
    assert (out[1] == 0).all() and (frame_weights[1] == 0).all()
    assert (out[0] != 0).any()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.square().sum(), leaves))


def test_a_full_mask_and_no_mask_agree():
    a = arguments(CASES[1], torch.float32, masked=False)
    assert torch.equal(temporal_attention(**a)[0], temporal_attention(**a | {"mask": None})[0])


def test_without_biases_the_default_scale_is_that_of_d():
    a = arguments(CASES[0])
    plain = {n: a[n] for n in "qkv"} | {"window": 4}
    zero = a | {
        "time_bias": a["time_bias"] * 0,
        "window_bias": a["window_bias"] * 0,
        "scale": 8**-0.5,
        "mask": torch.ones_like(a["mask"]),
    }
    torch.testing.assert_close(temporal_attention(**plain), temporal_attention(**zero))


def test_one_time_bias_applies_to_the_whole_batch():
    a = arguments(CASES[0])
    one = a | {"time_bias": a["time_bias"][:1]}
    each = a | {"time_bias": a["time_bias"][:1].expand(2, -1, -1, -1)}
    torch.testing.assert_close(temporal_attention(**one), temporal_attention(**each))


def test_the_order_of_frames_carries_no_meaning():
    a = arguments(CASES[1])
    order = torch.randperm(5)
    out, frame_weights = temporal_attention(**a)
    moved, moved_weights = temporal_attention(
        **a
        | {
            "k": a["k"][:, order],
            "v": a["v"][:, order],
            "mask": a["mask"][:, order],
            "time_bias": a["time_bias"][..., order],
        }
    )
    torch.testing.assert_close(moved, out)
    torch.testing.assert_close(moved_weights, frame_weights[..., order])


def test_strides_change_nothing():
    a = arguments(CASES[1])
    strided = {
        n: x.permute(4, 2, 0, 5, 1, 3).contiguous().permute(2, 4, 1, 5, 0, 3) if n in "qkv" else x
        for n, x in a.items()
    }
    assert not strided["k"].is_contiguous()
    torch.testing.assert_close(temporal_attention(**strided), temporal_attention(**a))


@pytest.mark.parametrize("case", [CASES[2], (1, 2, 2, 3, 3, 2, 3, 2, 1)], ids=str)
def test_gradients_are_right(case):
    a = arguments((*case[:3], 3, 3, *case[5:]))
    names = ("q", "k", "v", "time_bias", "window_bias")
    leaves = [a[n].requires_grad_() for n in names]
    assert torch.autograd.gradcheck(
        lambda *x: temporal_attention(**a | dict(zip(names, x, strict=True)))[0],
        leaves,
        fast_mode=True,
    )


def test_autocast_takes_queries_and_keys_in_its_dtype():
    a = arguments(CASES[0], torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, frame_weights = temporal_attention(**a | {"k": a["k"].bfloat16()})
    assert out.dtype == torch.bfloat16 and frame_weights.dtype == torch.float32
    lowered = temporal_attention(**a | {n: a[n].bfloat16() for n in "qkv"})
    assert torch.equal(out, lowered[0])


WRONG = [
    (
        {"q": torch.zeros(2, 8, 8, 2, 8)},
        ValueError,
        r"q must be \(B, Tq, H, W, heads, d\), got \(2, 8, 8, 2, 8\)",
    ),
    (
        {"k": torch.zeros(2, 3, 8, 9, 2, 8)},
        ValueError,
        r"k must be \(2, 3, 8, 8, 2, 8\).*got \(2, 3, 8, 9, 2, 8\)",
    ),
    (
        {"v": torch.zeros(2, 4, 8, 8, 2, 8)},
        ValueError,
        r"v must be \(2, 3, 8, 8, 2, 8\).*got \(2, 4, 8, 8, 2, 8\)",
    ),
    (
        {"v": torch.zeros(2, 3, 8, 8, 2, 8, dtype=torch.float16)},
        TypeError,
        "v must be torch.float32.*got torch.float16",
    ),
    ({"k": torch.zeros(2, 3, 8, 8, 2, 8, device="meta")}, ValueError, "k must be on cpu.*got meta"),
    ({"window": 0}, ValueError, "window must be an integer of at least 1, got 0"),
    ({"shift": 4}, ValueError, r"shift must be an integer in 0..3 for window 4, got 4"),
    (
        {"time_bias": torch.zeros(2, 2, 1, 4)},
        ValueError,
        r"time_bias must be \(2, 2, 1, 3\).*got \(2, 2, 1, 4\)",
    ),
    (
        {"window_bias": torch.zeros(2, 4, 4)},
        ValueError,
        r"window_bias must be \(2, 7, 7\).*got \(2, 4, 4\)",
    ),
    ({"mask": torch.ones(2, 3)}, TypeError, "mask must be a bool tensor, got torch.float32"),
    (
        {"mask": torch.ones(2, 4, dtype=torch.bool)},
        ValueError,
        r"mask must be \(B, Tk\) = \(2, 3\), got \(2, 4\)",
    ),
]


@pytest.mark.parametrize(("change", "error", "words"), WRONG, ids=[w[2][:24] for w in WRONG])
def test_wrong_arguments_are_named(change, error, words):
    with pytest.raises(error, match=words):
        temporal_attention(**arguments(CASES[0], torch.float32) | change)
