"""The Lucas-Kanade step is what its definition says, finds the motion that is missing, and makes it
smooth where the images tell little.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.lucas_kanade.reference import DAMPING, ERROR, LIMIT, lucas_kanade_reference
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
    """Of one channel, at each pixel: the matrix g g^T, the vector g d and d d."""
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
    return matrix, vector, d * d


def around(x: int, y: int, radius: int, W: int, H: int):
    """The offsets of a square, and the pixel (row, column) at each."""
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            yield dx, dy, (min(max(y + dy, 0), H - 1), min(max(x + dx, 0), W - 1))


def by_loops(image0, image1, flow0, flow1, t: float) -> np.ndarray:
    """The step (2, H, W) for images (C, H, W) and flows (2, H, W)."""
    channels = [equations(a, b, flow0, flow1, t) for a, b in zip(image0, image1, strict=True)]
    matrix, vector, energy = (sum(x[i] for x in channels) for i in range(3))
    H, W = image0.shape[1:]
    moved, weight = np.moveaxis(flow1 - flow0, 0, 2).copy(), np.zeros((H, W))
    for y in range(H):
        for x in range(W):
            A, b, error = DAMPING * np.eye(2), np.zeros(2), 0.0
            for dx, dy, place in around(x, y, 2, W, H):
                share = (3 - abs(dx)) * (3 - abs(dy)) / 9**2
                A, b = A + share * matrix[place], b + share * vector[place]
                error += share * energy[place]
            step = np.clip(-np.linalg.solve(A, b), -LIMIT, LIMIT)
            moved[y, x] += step
            certainty = np.linalg.det(A) / np.trace(A)
            weight[y, x] = certainty / (max(error + b @ step, 0) + ERROR)
    mean = np.zeros((2, H, W))
    for y in range(H):
        for x in range(W):
            places = [place for _, _, place in around(x, y, 3, W, H)]
            total = sum(weight[i] * moved[i] for i in places)
            mean[:, y, x] = total / sum(weight[i] for i in places)
    return mean - (flow1 - flow0)


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
    found = (flow1 - flow0)[0, :, 7:-7, 7:-7]  # little of the border
    expected = torch.tensor(motion).view(2, 1, 1)
    assert (found - expected).norm(dim=0).max() < 0.05 * torch.tensor(motion).norm()
    torch.testing.assert_close(flow0, -t * (flow1 - flow0), atol=1e-6, rtol=0)


@on_the_cpu
def test_right_flows_are_left_alone(backend):
    inputs = make(backend)
    image, flow, t = inputs[0], inputs[2], inputs[4]
    assert not fused(backend)(image, image, flow, flow, t).any()


@on_the_cpu
def test_steps_are_limited_to_a_pixel(backend):
    y, x = torch.meshgrid(torch.arange(24.0) / 4, torch.arange(28.0) / 4, indexing="ij")
    images = pattern(x, y)[None, None], pattern(x - 0.6, y + 0.6)[None, None]  # of 2.4 pixels
    step = fused(backend)(*images, *torch.zeros(2, 1, 2, 24, 28), torch.tensor([0.5]))
    assert step.abs().max() <= LIMIT + 1e-6
    assert (step[0, 1, 10:14, 12:16] + LIMIT).abs().max() < 1e-6


# -- smooth motion ---------------------------------------------------------------------------------


@on_the_cpu
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_flat_images_leave_constant_motion_alone(backend, level):
    inputs = make(backend)
    flat = [torch.full_like(x, level) for x in inputs[:2]]
    flow1 = inputs[2] + torch.tensor([7.3, -2.6]).view(2, 1, 1)
    assert fused(backend)(*flat, inputs[2], flow1, inputs[4]).abs().max() < 1e-5


@on_the_cpu
def test_a_difference_without_texture_has_no_step(backend):
    image0, image1, flow, _, t = make(backend)
    flat = torch.full_like(image0, 0.25), torch.full_like(image1, 0.75)
    assert fused(backend)(*flat, flow, flow, t).abs().max() < 1e-3


@on_the_cpu
def test_motion_over_flat_images_is_averaged_over_squares(backend):
    image0, _, flow0, flow1, t = make(backend)
    flat = torch.full_like(image0, 0.4)
    found = flow1 - flow0 + fused(backend)(flat, flat, flow0, flow1, t)
    expected = F.avg_pool2d(F.pad(flow1 - flow0, (3, 3, 3, 3), mode="replicate"), 7, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@on_the_cpu
def test_motion_is_constant_where_textured_images_agree_with_it(backend):
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(28.0), indexing="ij")
    images = pattern(x, y)[None, None], pattern(x - 4, y + 2)[None, None]
    motion = torch.tensor([4.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 24, 28)
    step = fused(backend)(*images, -motion / 2, motion / 2, torch.tensor([0.5]))
    assert step[..., 9:-9, 9:-9].abs().max() < 1e-5


@on_the_cpu
def test_an_outlier_in_a_flat_place_takes_the_motion_of_the_texture_around(backend):
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(28.0), indexing="ij")
    image = pattern(x, y)[None, None]
    image[..., 9:16, 11:18] = 0.5
    flow0, flow1 = torch.zeros(2, 1, 2, 24, 28)
    flow1[..., 12, 14] = torch.tensor([2.0, -2.0])  # still within the flat place
    step = fused(backend)(image, image, flow0, flow1, torch.tensor([0.5]))
    motion = flow1 - flow0 + step
    assert motion.abs().max() < 0.02  # an average without weights has 2 / 49


@on_the_cpu
def test_windows_of_a_large_error_have_little_weight(backend):
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(40.0), indexing="ij")
    image0 = pattern(x, y)[None, None]
    image1 = image0.clone()
    image1[..., 20:] += 0.3  # brighter, of the same gradients: motion that is not there
    step = fused(backend)(image0, image1, *torch.zeros(2, 1, 2, 24, 40), torch.tensor([0.5]))
    there, beside = step[..., 26:].abs().mean(), step[..., 18].abs().mean()
    assert there > 0.1 and beside < 0.2 * there  # five of seven columns see the difference


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
