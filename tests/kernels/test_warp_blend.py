"""The warp and the blend are what their definition says, in every plain backend."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.warp_blend.eager import warp_blend_eager, warp_eager
from lift.kernels.ops.warp_blend.reference import warp_blend_reference, warp_reference

WARPS = {"reference": warp_reference, "eager": warp_eager}
BLENDS = {"reference": warp_blend_reference, "eager": warp_blend_eager}
SHAPES = [(1, 1, 1, 1), (1, 3, 1, 7), (2, 2, 6, 1), (2, 3, 5, 8), (1, 5, 9, 4)]


def pixel_by_pixel(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The definition as a loop, in float64; flow finite."""
    B, C, H, W = image.shape
    out = np.zeros_like(image)
    for b in range(B):
        for y in range(H):
            for x in range(W):
                sx = min(max(x + flow[b, 0, y, x], 0.0), W - 1.0)
                sy = min(max(y + flow[b, 1, y, x], 0.0), H - 1.0)
                west, north = math.floor(sx), math.floor(sy)
                for row, wy in ((north, 1 - (sy - north)), (north + 1, sy - north)):
                    for column, wx in ((west, 1 - (sx - west)), (west + 1, sx - west)):
                        if wx * wy > 0:
                            out[b, :, y, x] += wx * wy * image[b, :, row, column]
    return out


def some_flow(shape: tuple, reach: float = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(B, 2, H, W), a quarter pixel clear of whole numbers, where a gradient jumps."""
    B, _, H, W = shape
    return ((torch.randn(B, 2, H, W) * reach).round() + 0.25 + 0.5 * torch.rand(B, 2, H, W)).to(
        dtype
    )


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reach", [0, 1, 30])
def test_warp_is_the_loop_over_pixels(warp, shape, reach):
    image, flow = torch.randn(shape), some_flow(shape, reach)
    expected = pixel_by_pixel(image.double().numpy(), flow.double().numpy())
    torch.testing.assert_close(
        warp(image, flow), torch.from_numpy(expected).float(), atol=3e-5, rtol=0
    )


@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (1, 2, 7, 4)], ids=str)
def test_warp_agrees_with_grid_sample_in_value_and_gradient(shape):
    B, _, H, W = shape
    image, flow = torch.randn(shape, dtype=torch.float64), some_flow(shape, dtype=torch.float64)

    def composed(image, flow):
        place = torch.stack(torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy")) + flow
        grid = 2 * place / torch.tensor([W - 1, H - 1], dtype=torch.float64).view(2, 1, 1) - 1
        return F.grid_sample(
            image, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=True
        )

    results = []
    for warp in (warp_reference, warp_eager, composed):
        leaves = [x.clone().requires_grad_() for x in (image, flow)]
        out = warp(*leaves)
        results.append((out, *torch.autograd.grad(out.sin().sum(), leaves)))
    for result in results[:2]:
        torch.testing.assert_close(result, results[2], atol=1e-10, rtol=0)


@pytest.mark.parametrize("backend", ["auto", "triton", "cpp", "reference"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (1, 2, 6, 4)], ids=str)
def test_warp_takes_the_place_of_rife_s(backend, shape):
    """`warp(tenInput, tenFlow)` of RIFE's model/warplayer.py: a grid of -1 to 1, and flow in units
    of half the image.
    """
    B, _, H, W = shape
    image, flow = torch.randn(shape), some_flow(shape)
    if backend != "auto" and kernels.unsupported_reasons("warp", image, flow)[backend]:
        pytest.skip(kernels.unsupported_reasons("warp", image, flow)[backend])
    across = torch.linspace(-1, 1, W).view(1, 1, 1, W).expand(B, 1, H, W)
    down = torch.linspace(-1, 1, H).view(1, 1, H, 1).expand(B, 1, H, W)
    moved = torch.cat((across, down), 1) + torch.cat(
        (flow[:, :1] / ((W - 1) / 2), flow[:, 1:] / ((H - 1) / 2)), 1
    )
    expected = F.grid_sample(
        image, moved.permute(0, 2, 3, 1), mode="bilinear", padding_mode="border", align_corners=True
    )
    torch.testing.assert_close(
        kernels.warp(image, flow, backend=backend), expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("width", [37, 3840])
def test_integer_flow_moves_pixels_exactly(width):
    image = torch.rand(1, 2, 3, width)
    flow = torch.zeros(1, 2, 3, width)
    flow[:, 0], flow[:, 1] = 5, -1
    out = warp_reference(image, flow)
    assert torch.equal(out[..., 1:, :-5], image[..., :-1, 5:])
    assert torch.equal(out[..., 0, :-5], image[..., 0, 5:])
    assert torch.equal(out[..., -5:], out[..., -6:-5].expand(-1, -1, -1, 5))


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_images_keep_subpixel_flow_at_column_1000(warp, dtype):
    ramp = (
        (torch.arange(1201) % 2).to(dtype).expand(1, 1, 2, 1201)
    )  # 0 1 0 1 ...: the value tells the fraction
    out = warp(ramp, torch.full((1, 2, 2, 1201), 0.25))
    assert out.dtype == dtype
    torch.testing.assert_close(
        out[0, 0, 0, 1000:1004].float(), torch.tensor([0.25, 0.75, 0.25, 0.75]), atol=4e-3, rtol=0
    )


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
def test_flow_has_no_gradient_where_clamped(warp):
    image = torch.randn(1, 2, 6, 6)
    flow = torch.full((1, 2, 6, 6), 0.3)
    flow[0, 0, :, :3], flow[0, 1, :, 3:] = -50.5, 50.5
    flow.requires_grad_()
    warp(image, flow).square().sum().backward()
    dx, dy = flow.grad[0]
    assert (dx[:, :3] == 0).all() and (dy[:, 3:] == 0).all()
    assert (dx[:, 3:5] != 0).all() and (dy[:5, :3] != 0).all()
    assert (dx[:, 5] == 0).all()  # 5.3 lies outside 0..5


@pytest.mark.parametrize("warp", WARPS.values(), ids=WARPS)
def test_nan_and_infinite_flow_stay_inside_the_image(warp):
    image = torch.arange(20.0).view(1, 1, 4, 5).requires_grad_()
    flow = torch.zeros(1, 2, 4, 5)
    flow[0, 0, 1] = torch.tensor([math.inf, -math.inf, math.nan, 1e30, -1e30])
    flow.requires_grad_()
    out = warp(image, flow)
    torch.testing.assert_close(
        out[0, 0, 1], torch.tensor([9.0, 5.0, 5.0, 9.0, 5.0]), atol=1e-5, rtol=0
    )
    out.square().sum().backward()
    assert flow.grad.isfinite().all() and image.grad.isfinite().all()
    assert (flow.grad[0, 0, 1] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 2, 4, 5), (1, 1, 1, 3)], ids=str)
def test_warp_is_differentiable_twice(shape):
    image = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    flow = some_flow(shape, 1, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(warp_reference, (image, flow))
    assert torch.autograd.gradgradcheck(warp_reference, (image, flow))


@pytest.mark.parametrize("blend", BLENDS.values(), ids=BLENDS)
def test_blend_weights_are_the_visibilities(blend):
    shape = (2, 3, 5, 6)
    image0, image1, flow0, flow1 = (
        torch.randn(shape),
        torch.randn(shape),
        some_flow(shape),
        some_flow(shape),
    )
    occ0, occ1 = torch.randn(2, 1, 5, 6) * 3, torch.randn(2, 1, 5, 6) * 3
    v0, v1 = torch.sigmoid(occ0.double()), torch.sigmoid(occ1.double())
    warped0, warped1 = (
        warp_reference(i.double(), f.double()) for i, f in ((image0, flow0), (image1, flow1))
    )
    expected = (v0 * warped0 + v1 * warped1) / (v0 + v1)
    torch.testing.assert_close(
        blend(image0, image1, flow0, flow1, occ0, occ1), expected.float(), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("blend", BLENDS.values(), ids=BLENDS)
@pytest.mark.parametrize(
    ("first", "second", "weight"),
    [(1e4, 1e4, 0.5), (-1e4, -1e4, 0.5), (1e4, -1e4, 1.0), (-1e4, 1e4, 0.0)],
)
def test_extreme_logits_are_safe(blend, first, second, weight):
    shape = (1, 2, 3, 4)
    flow, logits = torch.full(shape, 0.25), torch.ones(1, 1, 3, 4)
    leaves = [
        x.requires_grad_()
        for x in (
            torch.ones(shape),
            torch.zeros(shape),
            flow,
            flow.clone(),
            first * logits,
            second * logits,
        )
    ]
    out = blend(*leaves)
    torch.testing.assert_close(out, torch.full(shape, weight))
    out.sum().backward()
    assert all(x.grad.isfinite().all() for x in leaves)


def test_blend_gradients_are_right():
    shape = (1, 2, 3, 4)
    leaves = [
        x.double().requires_grad_()
        for x in (
            torch.randn(shape),
            torch.randn(shape),
            some_flow(shape, 1),
            some_flow(shape, 1),
            torch.randn(1, 1, 3, 4),
            torch.randn(1, 1, 3, 4),
        )
    ]
    assert torch.autograd.gradcheck(warp_blend_reference, leaves)
    assert torch.autograd.gradcheck(warp_blend_eager, leaves)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (2, 0, 4, 5)], ids=str)
def test_empty_images_give_empty_results(shape):
    B, _, H, W = shape
    assert kernels.warp(torch.zeros(shape), torch.zeros(B, 2, H, W)).shape == shape
    occ = torch.zeros(B, 1, H, W)
    assert (
        kernels.warp_blend(
            torch.zeros(shape), torch.zeros(shape), *[torch.zeros(B, 2, H, W)] * 2, occ, occ
        ).shape
        == shape
    )


def test_layout_changes_nothing():
    shape = (2, 4, 5, 6)
    image, flow = torch.randn(shape), some_flow(shape)
    expected = kernels.warp(image, flow)
    last = torch.channels_last
    torch.testing.assert_close(
        kernels.warp(image.to(memory_format=last), flow.to(memory_format=last)), expected
    )
    torch.testing.assert_close(
        kernels.warp(image[:1].expand(shape), flow),
        kernels.warp(image[:1].repeat(2, 1, 1, 1), flow),
    )
    torch.testing.assert_close(
        kernels.warp(image.mT, flow.mT), kernels.warp(image.mT.contiguous(), flow.mT.contiguous())
    )


def test_autocast_takes_a_half_flow_as_float32():
    with torch.autocast("cpu", torch.bfloat16):
        out = kernels.warp(
            torch.randn(1, 3, 4, 5, dtype=torch.bfloat16),
            torch.randn(1, 2, 4, 5, dtype=torch.bfloat16),
        )
    assert out.dtype == torch.bfloat16


WRONG = [
    (
        {"flow0": torch.zeros(2, 3, 4, 5)},
        ValueError,
        r"flow0 must be \(2, 2, 4, 5\).*got \(2, 3, 4, 5\)",
    ),
    (
        {"flow1": torch.zeros(2, 2, 4, 6)},
        ValueError,
        r"flow1 must be \(2, 2, 4, 5\).*got \(2, 2, 4, 6\)",
    ),
    (
        {"flow0": torch.zeros(2, 2, 4, 5, dtype=torch.bfloat16)},
        TypeError,
        "flow0 must be torch.float32.*got torch.bfloat16",
    ),
    (
        {"flow0": torch.zeros(2, 2, 4, 5, device="meta")},
        ValueError,
        "flow0 must be on cpu.*got meta",
    ),
    (
        {"image0": torch.zeros(2, 3, 4, 5, dtype=torch.uint8)},
        TypeError,
        "image0 must be a floating tensor, got torch.uint8",
    ),
    (
        {"image0": torch.zeros(3, 4, 5)},
        ValueError,
        r"image0 must be \(B, C, H, W\), got \(3, 4, 5\)",
    ),
    (
        {"image1": torch.zeros(2, 1, 4, 5)},
        ValueError,
        r"image1 must be \(2, 3, 4, 5\).*got \(2, 1, 4, 5\)",
    ),
    (
        {"image1": torch.zeros(2, 3, 4, 5, dtype=torch.float16)},
        TypeError,
        "image1 must be torch.float32.*got torch.float16",
    ),
    ({"occ1": torch.zeros(2, 4, 5)}, ValueError, r"occ1 must be \(2, 1, 4, 5\).*got \(2, 4, 5\)"),
    ({"occ0": None}, TypeError, "occ0 must be a tensor, got NoneType"),
]


@pytest.mark.parametrize(("change", "error", "words"), WRONG, ids=[w[2][:24] for w in WRONG])
def test_wrong_arguments_are_named(change, error, words):
    arguments = {
        "image0": torch.zeros(2, 3, 4, 5),
        "image1": torch.zeros(2, 3, 4, 5),
        "flow0": torch.zeros(2, 2, 4, 5),
        "flow1": torch.zeros(2, 2, 4, 5),
        "occ0": torch.zeros(2, 1, 4, 5),
        "occ1": torch.zeros(2, 1, 4, 5),
    }
    with pytest.raises(error, match=words):
        kernels.warp_blend(**arguments | change)


@pytest.mark.parametrize(
    ("image", "flow", "error", "words"),
    [
        (
            torch.zeros(1, 3, 4, 5),
            torch.zeros(1, 3, 4, 5),
            ValueError,
            r"warp: flow must be \(1, 2, 4, 5\) to fit image.*got \(1, 3, 4, 5\)",
        ),
        (
            torch.zeros(1, 3, 4, 5),
            torch.zeros(1, 2, 4, 5).half(),
            TypeError,
            "warp: flow must be torch.float32.*got torch.float16",
        ),
        (
            torch.zeros(1, 3, 4, 5),
            torch.zeros(1, 2, 4, 5, device="meta"),
            ValueError,
            "warp: flow must be on cpu like image, got meta",
        ),
        (
            torch.zeros(3, 4, 5),
            torch.zeros(1, 2, 4, 5),
            ValueError,
            r"warp: image must be \(B, C, H, W\), got \(3, 4, 5\)",
        ),
        (None, torch.zeros(1, 2, 4, 5), TypeError, "warp: image must be a tensor, got NoneType"),
    ],
    ids=["channels", "dtype", "device", "dimensions", "none"],
)
def test_wrong_arguments_of_warp_are_named(image, flow, error, words):
    with pytest.raises(error, match=words):
        kernels.warp(image, flow)
