"""Correlation over a square of displacements."""
import torch

from lift.model.correlation import correlate, displacements, unit


def test_every_displacement_is_an_inner_product():
    a, b = torch.randn(2, 1, 3, 4, 5).unbind(0)
    volume = correlate(a, b, 2)
    for k, (dx, dy) in enumerate(displacements(2).int().tolist()):
        for y in range(4):
            for x in range(5):
                inside = 0 <= y + dy < 4 and 0 <= x + dx < 5
                expected = (a[0, :, y, x] * b[0, :, y + dy, x + dx]).sum() if inside else torch.tensor(0.0)
                torch.testing.assert_close(volume[0, k, y, x], expected)


def test_gradients_are_right():
    a, b = torch.randn(2, 2, 3, 5, 4, dtype=torch.float64, requires_grad=True).unbind(0)
    assert torch.autograd.gradcheck(lambda a, b: correlate(a, b, 2), (a, b))


def test_only_the_two_maps_are_saved():
    a, b = (torch.randn(1, 8, 16, 16, requires_grad=True) for _ in range(2))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        correlate(a, b, 3)
    assert sorted(x.data_ptr() for x in kept) == sorted((a.data_ptr(), b.data_ptr()))


def test_unit_features_match_themselves_best():
    x = unit(torch.randn(1, 16, 9, 9))
    volume = correlate(x, x, 2)[..., 2:-2, 2:-2]
    assert (volume.argmax(1) == 12).all()
    torch.testing.assert_close(volume[:, 12], torch.ones_like(volume[:, 12]))
