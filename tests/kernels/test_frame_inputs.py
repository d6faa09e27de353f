"""What a model reads of frames: padded, normalized, and small."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.frame_inputs.reference import luma


def test_sides_are_rounded_up_and_pixels_repeated_to_the_right_and_down():
    frames = torch.rand(2, 3, 17, 30)
    stem, padded, luma2, quarter, luma4, luma8 = kernels.frame_inputs(frames, 16, torch.float32)
    assert torch.equal(padded, F.pad(frames, (0, 2, 0, 15), mode="replicate"))
    shapes = [tuple(x.shape[1:]) for x in (stem, luma2, quarter, luma4, luma8)]
    assert shapes == [(3, 32, 32), (1, 16, 16), (3, 8, 8), (1, 8, 8), (1, 4, 4)]


def test_each_output_is_of_the_padded_frames():
    frames = torch.rand(1, 3, 24, 8)
    stem, padded, luma2, quarter, luma4, luma8 = kernels.frame_inputs(frames, 8, torch.bfloat16)
    assert padded is frames and stem.dtype == torch.bfloat16
    torch.testing.assert_close(stem.float(), 4 * frames - 2, atol=1e-2, rtol=0)
    torch.testing.assert_close(luma2, luma(F.avg_pool2d(frames, 2)))
    torch.testing.assert_close(quarter, F.avg_pool2d(frames, 4))
    torch.testing.assert_close(luma4, luma(F.avg_pool2d(frames, 4)))
    torch.testing.assert_close(luma8, luma(F.avg_pool2d(frames, 8)))


def test_luma_is_that_of_rec_601():
    red, green, blue = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 8, 8).split(1)
    for frames, weight in ((red, 0.299), (green, 0.587), (blue, 0.114), (red + green + blue, 1)):
        for i in (2, 4, 5):
            found = kernels.frame_inputs(frames, 8, torch.float32)[i]
            torch.testing.assert_close(found, torch.full_like(found, weight))


def test_the_reference_is_differentiable_and_auto_selects_it():
    frames = torch.rand(1, 3, 9, 8, requires_grad=True)
    stem, padded, *means = kernels.frame_inputs(frames, 8, torch.float32)
    sum(x.sum() for x in (stem, padded, *means)).backward()
    assert frames.grad.ne(0).all()
    reasons = kernels.unsupported_reasons("frame_inputs", frames, 8, torch.float32)
    assert reasons["triton"] and reasons["reference"] is None


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"frames": [1.0]}, TypeError, "frames must be a tensor, got list"),
        ({"frames": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, TypeError, "floating tensor"),
        ({"frames": torch.zeros(3, 8, 8)}, ValueError, r"frames must be \(B, C, H, W\)"),
        ({"frames": torch.zeros(1, 4, 8, 8)}, ValueError, r"\(N, 3, H, W\), got \(1, 4, 8, 8\)"),
        ({"frames": torch.zeros(1, 3, 0, 8)}, ValueError, r"\(N, 3, H, W\), got \(1, 3, 0, 8\)"),
        ({"multiple": 12}, ValueError, "multiple must be a multiple of 8, got 12"),
        ({"multiple": 0}, ValueError, "multiple must be a multiple of 8, got 0"),
        ({"dtype": torch.int32}, TypeError, "dtype must be a floating-point dtype"),
        ({"dtype": "half"}, TypeError, "dtype must be a floating-point dtype, got half"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"frames": torch.rand(1, 3, 8, 8), "multiple": 8, "dtype": torch.float32} | change
    with pytest.raises(error, match=f"frame_inputs: .*{message}"):
        kernels.frame_inputs(**arguments)


def test_no_frames_have_no_inputs():
    stem, padded, *means = kernels.frame_inputs(torch.rand(0, 3, 9, 8), 8, torch.float32)
    assert stem.shape == padded.shape == (0, 3, 16, 8) and all(len(x) == 0 for x in means)
