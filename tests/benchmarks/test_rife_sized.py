"""The net of RIFE's size has its size, and returns a frame."""

import pytest
import torch

from benchmarks.harness.rife_sized import RifeSized, warp


def test_it_has_the_parameters_of_the_paper():
    count = sum(p.numel() for p in RifeSized().parameters())
    assert count == pytest.approx(9.8e6, rel=0.1)


@torch.inference_mode()
def test_a_frame_has_the_size_of_the_inputs_and_is_in_range():
    torch.manual_seed(0)
    frames = torch.rand(2, 1, 3, 64, 96)
    frame = RifeSized().eval()(*frames)
    assert frame.shape == (1, 3, 64, 96) and frame.isfinite().all()
    assert 0 <= frame.min() and frame.max() <= 1


def test_a_warp_moves_whole_pixels():
    image = torch.rand(1, 2, 8, 10)
    flow = torch.zeros(1, 2, 8, 10)
    flow[:, 0], flow[:, 1] = 2, -1
    moved = warp(image, flow)
    assert torch.allclose(moved[..., 1:, :-2], image[..., :-1, 2:], atol=1e-5)
