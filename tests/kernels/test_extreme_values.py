"""Values far outside, huge vectors, nothing at all, mixed dtypes: every backend agrees."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels import dispatch

INF, NAN = float("inf"), float("nan")
FAR = (NAN, INF, -INF, 1e30, -1e30, 2.5e38, -2.5e38, 3.4e38, -3.4e38, 2.0**31, 2.0**63, 1e-40)


def backends(operation):
    """The backends that compute on the CPU here."""
    return [
        backend.name
        for backend in dispatch.operations()[operation]
        if backend.device != "cuda" and backend.unsupported_reason() is None
    ]


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


IMAGE = noise(1, 3, 6, 7)


def with_gradients(call, *inputs):
    """The output of a call and its gradients."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    out = call(*inputs)
    grads = torch.autograd.grad(out.sum(), inputs, allow_unused=True, materialize_grads=True)
    return [x.detach() for x in (out, *grads)]


@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("side", [1, 5, 64])
def test_grid_sample_far_outside(side, mode, padding_mode):
    """A finite number that overflows on its way to pixels is one of them."""
    grid = noise(1, 4, 6, 2)
    grid.flatten()[: len(FAR)] = torch.tensor(FAR)
    inputs = noise(1, 2, side, side, seed=1), grid
    for align_corners in (True, False):
        sample = partial(
            kernels.grid_sample,
            mode=mode,
            padding_mode=padding_mode,
            align_corners=align_corners,
        )
        expected = with_gradients(partial(sample, backend="reference"), *inputs)
        assert all([x.isfinite().all() for x in expected])
        for backend in backends("grid_sample"):
            found = with_gradients(partial(sample, backend=backend), *inputs)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_warp_far_outside():
    flow = noise(1, 2, 6, 7)
    flow.flatten()[: len(FAR)] = torch.tensor(FAR)
    expected = with_gradients(partial(kernels.warp, backend="reference"), IMAGE, flow)
    assert all([x.isfinite().all() for x in expected])
    for backend in backends("warp"):
        found = with_gradients(partial(kernels.warp, backend=backend), IMAGE, flow)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scales", [(1e29, 1e20), (1e28, 10.0), (1e-20, 1e29)])
@pytest.mark.parametrize("backend", backends("correlation"))
def test_huge_vectors_have_cosines(backend, scales):
    """Their squares overflow float32, and the products of two."""
    maps = [noise(1, 4, 5, 6, seed=seed).clamp(-1, 1) * scale for seed, scale in enumerate(scales)]

    def correlate(a, b):
        name = backend if a.dtype == torch.float32 else "reference"
        return kernels.correlation(a, b, 1, normalize=True, backend=name)

    found = with_gradients(correlate, *maps)
    expected = with_gradients(correlate, *[x.double() for x in maps])
    for x, y in zip(found, expected, strict=True):
        largest = y.abs().max().clamp(min=1e-38)
        torch.testing.assert_close(x / largest, (y / largest).float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 2, 4, 5), (1, 0, 4, 5), (1, 2, 0, 5), (1, 2, 4, 0)])
def test_empty_maps_have_empty_results(shape):
    B, _, H, W = shape
    image, flow, occ = torch.zeros(shape), torch.zeros(B, 2, H, W), torch.zeros(B, 1, H, W)
    for call, tensors in (
        (kernels.warp, (image, flow)),
        (kernels.warp_blend, (image, image, flow, flow, occ, occ)),
        (partial(kernels.correlation, radius=1, normalize=True), (image, image)),
    ):
        operation = getattr(call, "__name__", "correlation")
        expected = with_gradients(partial(call, backend="reference"), *tensors)
        for backend in backends(operation):
            try:
                found = with_gradients(partial(call, backend=backend), *tensors)
            except kernels.UnsupportedError:
                continue  # it said why
            torch.testing.assert_close(found, expected)


def test_grid_sample_of_no_pixels_is_an_error_as_in_pytorch():
    for backend in (None, "reference"):
        with pytest.raises(ValueError, match=r"input must have a pixel, got \(1, 2, 0, 5\)"):
            kernels.grid_sample(torch.zeros(1, 2, 0, 5), torch.zeros(1, 3, 3, 2), backend=backend)


def test_autocast_promotes_mixed_dtypes():
    half, flow, occ = IMAGE.bfloat16(), noise(1, 2, 6, 7), noise(1, 1, 6, 7)
    grid = torch.rand(1, 4, 4, 2) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        found = kernels.warp_blend(IMAGE, half, flow, flow, occ, occ)
        assert found.dtype == torch.float32
        wide = kernels.warp_blend(IMAGE, half.float(), flow, flow, occ, occ)
        torch.testing.assert_close(found, wide)
        wide = kernels.correlation(IMAGE, half.float(), 1)
        torch.testing.assert_close(kernels.correlation(IMAGE, half, 1), wide)
        for i, g in ((half, grid), (half, grid.bfloat16()), (IMAGE, grid.bfloat16())):
            expected = F.grid_sample(i, g, align_corners=False)
            torch.testing.assert_close(kernels.grid_sample(i, g), expected)  # dtype too
    with pytest.raises(TypeError, match="image1 must be torch.float32 to fit image0"):
        kernels.warp_blend(IMAGE, half, flow, flow, occ, occ)
    with pytest.raises(TypeError, match="fmap1 must be torch.float32 to fit fmap0"):
        kernels.correlation(IMAGE, half, 1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE.to(torch.float8_e4m3fn), "image must be float32, float16, .* got torch.float8"),
        (IMAGE.to_sparse(), "image must be a dense tensor, got torch.sparse_coo"),
        (torch.nested.nested_tensor([IMAGE[0]]), "image must be a dense tensor, got a nested"),
    ],
    ids=["float8", "sparse", "nested"],
)
def test_other_kinds_of_tensors_are_an_error(image, message):
    with pytest.raises(TypeError, match=message):
        kernels.warp(image, noise(1, 2, 6, 7))
    for name, reason in kernels.unsupported_reasons("warp", image, noise(1, 2, 6, 7)).items():
        assert reason is not None or name in ("eager", "reference")  # plain PyTorch decides


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_infinities_in_a_grid_are_outside_of_one_pixel(mode, dtype):
    """Where the extent of a side is 0, an infinity times it is NaN."""
    grid = torch.tensor([NAN, INF, -INF, 0.0, 0.5, 1e30], dtype=dtype)
    grid = torch.stack((grid, torch.zeros_like(grid)), -1).expand(1, 3, 6, 2)
    image = torch.full((1, 1, 1, 1), 7.0, dtype=dtype, requires_grad=True)
    grads = []
    for backend in ("cpp", "reference"):
        if kernels.unsupported_reasons("grid_sample")[backend]:
            pytest.skip("the extension is not built")
        out = kernels.grid_sample(image, grid, mode, "zeros", True, backend=backend)
        grads.append(torch.autograd.grad(out.nan_to_num().sum(), image)[0])
    torch.testing.assert_close(*grads, equal_nan=True)


def test_infinite_logits_blend_as_the_largest_numbers_do():
    image, other, flow = noise(1, 2, 3, 4), noise(1, 2, 3, 4, seed=1), torch.zeros(1, 2, 3, 4)
    occ = torch.tensor([[INF, -INF, INF, -INF], [INF, INF, -INF, -INF], [0, INF, -INF, 1e30]])
    occ0, occ1 = occ[None, None], occ.flip(1)[None, None]
    largest = torch.finfo(torch.float32).max
    bounded = [x.clamp(-largest, largest) for x in (occ0, occ1)]
    for backend in ("cpp", "triton"):
        if backend not in backends("warp_blend"):
            continue
        blend = partial(kernels.warp_blend, image, other, flow, flow, backend=backend)
        torch.testing.assert_close(blend(occ0, occ1), blend(*bounded))


def test_no_backend_claims_tensors_that_all_refuse():
    image, flow = noise(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)
    for wrong in (image.to_sparse(), image.to(torch.float8_e4m3fn), image.to(torch.complex64)):
        with pytest.raises(TypeError):
            kernels.warp(wrong, flow)
        assert all(kernels.unsupported_reasons("warp", wrong, flow).values())
        with pytest.raises(kernels.UnsupportedError):
            kernels.selected_backend("warp", wrong, flow)
