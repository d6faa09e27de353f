"""What `census` computes, its gradient, and which arguments it refuses."""

import pytest
import torch

from lift import kernels
from lift.kernels.ops.census import op

INTERPRETED = op.triton is not None and op.triton.INTERPRETED and not torch.cuda.is_available()
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
backends = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("triton", marks=needs_interpreter)]
)
A, B = torch.rand(2, 3, 6, 9), torch.rand(2, 3, 6, 9)


def pixel_by_pixel(image0: torch.Tensor, image1: torch.Tensor) -> torch.Tensor:
    """The definition, by autograd."""
    _, _, H, W = image0.shape
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=image0.dtype).view(3, 1, 1)
    lumas, distances = [(x * weights).sum(1) for x in (image0, image1)], []
    for y in range(H):
        for x in range(W):
            for v in range(max(0, y - 3), min(H, y + 4)):
                for u in range(max(0, x - 3), min(W, x + 4)):
                    d0, d1 = (luma[:, v, u] - luma[:, y, x] for luma in lumas)
                    s = (
                        d0 / (d0**2 + (0.9 / 255) ** 2).sqrt()
                        - d1 / (d1**2 + (0.9 / 255) ** 2).sqrt()
                    )
                    if (v, u) != (y, x):
                        distances.append(s**2 / (s**2 + 0.1))
    return torch.stack(distances).mean()


@backends
def test_it_is_the_definition_pixel_by_pixel(backend):
    leaves = [x.clone().requires_grad_() for x in (A, B)]
    found, exact = kernels.census(*leaves, backend=backend), [x.double() for x in leaves]
    expected = pixel_by_pixel(*exact)
    torch.testing.assert_close(found, expected.float())
    of_found, of_expected = torch.autograd.grad(found, leaves), torch.autograd.grad(expected, exact)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other.float(), atol=1e-6, rtol=1e-4)


def test_the_gradient_of_the_reference_is_right():
    images = [torch.rand(1, 3, 4, 5, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *x: kernels.census(*x, backend="reference"), images)


@backends
def test_equal_images_cost_nothing_and_brightness_little(backend):
    assert kernels.census(A, A.clone(), backend=backend) == 0
    assert kernels.census(A / 2 + 0.3, A / 2, backend=backend) < 1e-5


@needs_interpreter
def test_only_the_images_are_saved():
    image, found = A.clone().requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t) or t, lambda t: t):
        kernels.census(image, B, backend="triton")
    assert {t.data_ptr() for t in found} == {image.data_ptr(), B.data_ptr()}


@pytest.mark.parametrize(
    "error, match, images",
    [
        (TypeError, "image0 must be a tensor", (1, B)),
        (ValueError, "image1 must be .2, 3, 6, 9. to fit image0", (A, B[..., 1:])),
        (TypeError, "image1 must be torch.float32", (A, B.half())),
        (ValueError, "image0 must be .B, 3, H, W.", (A[:, :2], B[:, :2])),
        (ValueError, "larger than 3", (A[:, :, :3], B[:, :, :3])),
    ],
)
def test_wrong_arguments_are_named(error, match, images):
    with pytest.raises(error, match=f"census: .*{match}"):
        kernels.census(*images)
