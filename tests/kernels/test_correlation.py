"""The correlation is what its definition says, in every plain backend."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.correlation.eager import correlation_eager
from lift.kernels.ops.correlation.reference import EPS, correlation_reference, displacements

PLAIN = {"reference": correlation_reference, "eager": correlation_eager}
plain = pytest.mark.parametrize("correlate", PLAIN.values(), ids=PLAIN)


def test_displacements_run_over_dx_first():
    assert displacements(1).tolist() == [[dx, dy] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@plain
@pytest.mark.parametrize(
    ("shape", "radius"),
    [((1, 3, 4, 5), 2), ((2, 2, 1, 3), 1), ((1, 4, 3, 2), 0), ((1, 1, 2, 2), 4)],
    ids=str,
)
def test_every_displacement_is_an_inner_product(correlate, shape, radius):
    fmap0, fmap1 = torch.randn(2, *shape).unbind(0)
    volume = correlate(fmap0, fmap1, radius)
    assert volume.shape == (shape[0], (2 * radius + 1) ** 2, *shape[2:])
    for k, (dx, dy) in enumerate(displacements(radius).int().tolist()):
        for y in range(shape[2]):
            for x in range(shape[3]):
                inside = 0 <= y + dy < shape[2] and 0 <= x + dx < shape[3]
                expected = (
                    (fmap0[:, :, y, x] * fmap1[:, :, y + dy, x + dx]).sum(1)
                    if inside
                    else torch.zeros(shape[0])
                )
                torch.testing.assert_close(volume[:, k, y, x], expected)


@plain
def test_normalized_it_is_the_cosine(correlate):
    fmap0, fmap1 = torch.randn(2, 2, 6, 4, 5).unbind(0)
    expected = correlate(F.normalize(fmap0), F.normalize(fmap1), 2)
    torch.testing.assert_close(correlate(1e3 * fmap0, 1e-2 * fmap1, 2, True), expected)
    itself = correlate(fmap0, fmap0, 2, True)
    torch.testing.assert_close(itself[:, 12], torch.ones(2, 4, 5))
    assert itself.abs().max() <= 1 + 1e-6


@plain
def test_short_channels_are_not_blown_up(correlate):
    fmap0 = torch.zeros(1, 2, 1, 2, requires_grad=True)
    fmap1 = torch.tensor([0.5 * EPS, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    volume = correlate(fmap0, fmap1, 0, True)
    assert (volume == 0).all()
    (gradient,) = torch.autograd.grad(volume.sum(), fmap0)
    torch.testing.assert_close(gradient[0, :, 0, 0], torch.tensor([0.5 / EPS, 0.0]))


@pytest.mark.slow
@plain
@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_are_right(correlate, normalize):
    fmap0, fmap1 = torch.randn(2, 2, 3, 4, 3, dtype=torch.float64, requires_grad=True).unbind(0)
    assert torch.autograd.gradcheck(lambda a, b: correlate(a, b, 2, normalize), (fmap0, fmap1))
    if correlate is correlation_reference:
        assert torch.autograd.gradgradcheck(
            lambda a, b: correlate(a, b, 1, normalize), (fmap0[:1, :, :2], fmap1[:1, :, :2])
        )


def test_eager_saves_the_two_maps_alone():
    fmap0, fmap1 = (torch.randn(1, 8, 16, 16, requires_grad=True) for _ in range(2))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        correlation_eager(fmap0, fmap1, 3)
    assert sorted(x.data_ptr() for x in saved) == sorted((fmap0.data_ptr(), fmap1.data_ptr()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_maps_are_multiplied_in_float32(dtype):
    fmap0, fmap1 = torch.randn(2, 1, 300, 2, 3).to(dtype).unbind(0)
    volume = kernels.correlation(fmap0, fmap1, 1)
    assert (
        volume.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        and volume.is_contiguous()
    )
    torch.testing.assert_close(
        volume.double(), correlation_reference(fmap0.double(), fmap1.double(), 1), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (2, 0, 4, 5)], ids=str)
def test_empty_maps_give_empty_results_or_zeros(shape):
    volume = kernels.correlation(torch.zeros(shape), torch.zeros(shape), 1, True)
    assert volume.shape == (shape[0], 9, *shape[2:]) and (volume == 0).all()


MAP = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((MAP[0], MAP, 1), ValueError, r"fmap0 must be \(B, C, H, W\), got \(3, 4, 5\)"),
        (
            (MAP, MAP[:, :2], 1),
            ValueError,
            r"fmap1 must be \(2, 3, 4, 5\) to fit fmap0.*got \(2, 2, 4, 5\)",
        ),
        (
            (MAP, MAP.half(), 1),
            TypeError,
            "fmap1 must be torch.float32 to fit fmap0, got torch.float16",
        ),
        ((MAP.int(), MAP, 1), TypeError, "fmap0 must be a floating tensor, got torch.int32"),
        ((MAP, MAP.to("meta"), 1), ValueError, "fmap1 must be on cpu like fmap0, got meta"),
        ((MAP, MAP, -1), ValueError, "radius must be an integer of at least 0, got -1"),
        ((MAP, MAP, 1.0), ValueError, "radius must be an integer of at least 0, got 1.0"),
    ],
    ids=lambda value: value[:28] if isinstance(value, str) else "",
)
def test_wrong_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        kernels.correlation(*arguments)
