"""The Lucas-Kanade step is what its definition says, and finds the motion that is missing."""

import numpy as np
import pytest
import torch

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.lucas_kanade.reference import DAMPING, LIMIT, lucas_kanade_reference
from tests.support.lucas_kanade_cases import DTYPES, device_of, fused, make
from tests.support.parity import FLOWS

pytestmark = pytest.mark.native
BACKENDS = [i.name for i in dispatch.operations()["lucas_kanade"]]
backends = pytest.mark.parametrize("backend", BACKENDS)
on_the_cpu = pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "triton"])
SMALL = ("float32", "contiguous", (1, 1, 2, 3), "random")


# -- an independent definition ---------------------------------------------------------------------


def sample(image: np.ndarray, x: float, y: float) -> float:
    """Bilinear, in an image (H, W), with coordinates clamped to the border."""
    H, W = image.shape
    x, y = min(max(x, 0), W - 1), min(max(y, 0), H - 1)
    west, north = int(x), int(y)
    east, south = min(west + 1, W - 1), min(north + 1, H - 1)
    fx, fy = x - west, y - north
    top = (1 - fx) * image[north, west] + fx * image[north, east]
    return (1 - fy) * top + fy * ((1 - fx) * image[south, west] + fx * image[south, east])


def warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    H, W = image.shape
    rows = [
        [sample(image, x + flow[0, y, x], y + flow[1, y, x]) for x in range(W)] for y in range(H)
    ]
    return np.array(rows)


def equations(image0, image1, flow0, flow1, t: float):
    """Of one channel, at each pixel: the matrix g g^T and the vector g d."""
    warped0, warped1 = warped(image0, flow0), warped(image1, flow1)
    mean, d = (1 - t) * warped1 + t * warped0, warped1 - warped0
    H, W = mean.shape
    matrix, vector = np.zeros((H, W, 2, 2)), np.zeros((H, W, 2))
    for y in range(H):
        for x in range(W):
            west, east = mean[y, max(x - 1, 0)], mean[y, min(x + 1, W - 1)]
            north, south = mean[max(y - 1, 0), x], mean[min(y + 1, H - 1), x]
            g = np.array([(east - west) / 2, (south - north) / 2])
            matrix[y, x], vector[y, x] = np.outer(g, g), g * d[y, x]
    return matrix, vector


def by_loops(image0, image1, flow0, flow1, t: float) -> np.ndarray:
    """The step (2, H, W) for images (C, H, W) and flows (2, H, W)."""
    channels = [equations(a, b, flow0, flow1, t) for a, b in zip(image0, image1, strict=True)]
    matrix, vector = (sum(x[i] for x in channels) for i in range(2))
    H, W = image0.shape[1:]
    step = np.zeros((2, H, W))
    for y in range(H):
        for x in range(W):
            A, b = DAMPING * np.eye(2), np.zeros(2)
            for dy in range(-4, 5):
                for dx in range(-4, 5):
                    weight = (5 - abs(dx)) * (5 - abs(dy)) / 25**2
                    place = min(max(y + dy, 0), H - 1), min(max(x + dx, 0), W - 1)
                    A, b = A + weight * matrix[place], b + weight * vector[place]
            step[:, y, x] = np.clip(-np.linalg.solve(A, b), -LIMIT, LIMIT)
    return step


@backends
@pytest.mark.parametrize("shape", [(2, 1, 1, 11), (1, 3, 2, 4), (1, 1, 12, 3)], ids=str)
def test_it_equals_loops_over_windows(backend, shape):
    B, _, H, W = shape
    inputs = [
        *(torch.rand(shape) for _ in range(2)),
        *(FLOWS["random"](B, H, W) for _ in range(2)),
        torch.rand(B),
    ]
    on_device = [x.to(device_of(backend)) for x in inputs]
    if reason := kernels.unsupported_reasons("lucas_kanade", *on_device)[backend]:
        pytest.skip(reason)
    arrays = [x.double().numpy() for x in inputs]
    expected = np.stack([by_loops(*x) for x in zip(*arrays, strict=True)])
    found = fused(backend)(*on_device).cpu().double()
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=2e-4, rtol=0)
    if backend == "reference":
        found = lucas_kanade_reference(*[x.double() for x in inputs])
        torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-10, rtol=0)


# -- what it finds ---------------------------------------------------------------------------------


def pattern(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A smooth image at any place."""
    return 0.5 + 0.25 * (0.7 * x + 0.4 * y).sin() + 0.25 * (0.7 * y - 0.4 * x).cos()


@on_the_cpu
@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("motion", [(0.6, -0.4), (-0.8, 0.1)], ids=str)
def test_two_steps_recover_a_translation(backend, motion, t):
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(28.0), indexing="ij")
    dx, dy = motion
    times = torch.tensor([t])
    images = pattern(x, y)[None, None], pattern(x - dx, y - dy)[None, None]
    flow0, flow1 = torch.zeros(1, 2, 24, 28), torch.zeros(1, 2, 24, 28)
    for _ in range(2):
        step = fused(backend)(*images, flow0, flow1, times)
        flow0, flow1 = flow0 - t * step, flow1 + (1 - t) * step
    found = (flow1 - flow0)[0, :, 6:-6, 6:-6]  # windows that the border does not change
    expected = torch.tensor(motion).view(2, 1, 1)
    assert (found - expected).norm(dim=0).max() < 0.03 * torch.tensor(motion).norm()
    torch.testing.assert_close(flow0, -t * (flow1 - flow0), atol=1e-6, rtol=0)


@on_the_cpu
def test_right_flows_are_left_alone(backend):
    inputs = make(backend)
    image, flow, t = inputs[0], inputs[2], inputs[4]
    assert not fused(backend)(image, image, flow, flow, t).any()


@on_the_cpu
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_flat_images_have_no_step(backend, level):
    inputs = make(backend)
    flat = [torch.full_like(x, level) for x in inputs[:2]]
    assert fused(backend)(*flat, *inputs[2:]).abs().max() < 1e-6


@on_the_cpu
def test_a_difference_without_texture_has_no_step(backend):
    image0, image1, *others = make(backend)
    step = fused(backend)(torch.full_like(image0, 0.25), torch.full_like(image1, 0.75), *others)
    assert step.abs().max() < 1e-3


@on_the_cpu
def test_steps_are_limited_to_a_pixel(backend):
    step = fused(backend)(*make(backend, ("float32", "contiguous", (1, 1, 20, 24), "random")))
    assert step.abs().max() == LIMIT


@on_the_cpu
def test_channels_that_say_the_same_change_nothing_but_the_damping(backend):
    image0, image1, *others = make(backend)
    once = fused(backend)(image0, image1, *others)
    twice = fused(backend)(*(x.repeat(1, 2, 1, 1) / 2**0.5 for x in (image0, image1)), *others)
    torch.testing.assert_close(twice, once, atol=1e-4, rtol=0)


# -- dtypes, sizes, gradients ----------------------------------------------------------------------


@on_the_cpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_step_is_float32_whatever_the_images_are(backend, dtype):
    inputs = make(backend, (dtype, "channels_last", (2, 3, 4, 5), "half"))
    step = fused(backend)(*inputs)
    assert step.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert step.shape == (2, 2, 4, 5) and step.is_contiguous()
    exact = lucas_kanade_reference(*[x.double() for x in inputs])
    torch.testing.assert_close(step.double(), exact, atol=2e-4, rtol=0)


@backends
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (2, 0, 4, 5)], ids=str)
def test_empty_images_give_empty_results_or_zeros(backend, shape):
    inputs = make(backend, ("float32", "contiguous", shape, "zero"))
    step = fused(backend)(*inputs)
    assert step.shape == (shape[0], 2, *shape[2:]) and not step.any()


@backends
def test_no_gradient_flows_through_it(backend):
    inputs = [x.requires_grad_() for x in make(backend, SMALL)]
    step = fused(backend)(*inputs)
    assert not step.requires_grad
    (inputs[2] + step).sum().backward()
    assert (inputs[2].grad == 1).all() and inputs[0].grad is None


# -- arguments -------------------------------------------------------------------------------------

IMAGE, FLOW, T = torch.zeros(2, 3, 4, 5), torch.zeros(2, 2, 4, 5), torch.zeros(2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            (IMAGE[0], IMAGE, FLOW, FLOW, T),
            ValueError,
            r"image0 must be \(B, C, H, W\), got \(3, 4, 5\)",
        ),
        (
            (IMAGE, IMAGE[:, :1], FLOW, FLOW, T),
            ValueError,
            r"image1 must be \(2, 3, 4, 5\) to fit image0",
        ),
        (
            (IMAGE, IMAGE.half(), FLOW, FLOW, T),
            TypeError,
            "image1 must be torch.float32 to fit image0, got torch.float16",
        ),
        (
            (IMAGE, IMAGE, FLOW, FLOW[:, :1], T),
            ValueError,
            r"flow1 must be \(2, 2, 4, 5\) to fit image0",
        ),
        (
            (IMAGE, IMAGE, FLOW.half(), FLOW, T),
            TypeError,
            "flow0 must be torch.float32 to fit image0, got torch.float16",
        ),
        ((IMAGE, IMAGE, FLOW, FLOW, T[:1]), ValueError, r"t must be \(2,\) to fit image0"),
        ((IMAGE, IMAGE, FLOW, FLOW, 0.5), TypeError, "t must be a tensor, got float"),
        (
            (IMAGE, IMAGE, FLOW, FLOW.to("meta"), T),
            ValueError,
            "flow1 must be on cpu like image0, got meta",
        ),
    ],
    ids=lambda value: value[:28] if isinstance(value, str) else "",
)
def test_wrong_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        kernels.lucas_kanade(*arguments)
