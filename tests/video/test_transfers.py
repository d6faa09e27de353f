"""Frames of any depth reach the device and come back: exactly, in one copy each way."""

import numpy as np
import pytest
import torch

from lift.io.decoded_frame import DecodedFrame
from lift.io.linear import to_display
from lift.video.transfers import Download, Uploader, as_alpha, as_image
from tests.support.device_traffic import device_traffic

H, W = 6, 8
KINDS = (np.uint8, np.uint16, np.float32)
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


def pixels(kind, channels=4):
    rng = np.random.default_rng(0)
    if kind == np.float32:
        return rng.random((H, W, channels), dtype=np.float32) * 4
    return rng.integers(0, np.iinfo(kind).max + 1, (H, W, channels), dtype=kind)


def equal(got, want):
    assert got.dtype == want.dtype
    return np.array_equal(got, want) if got.dtype != np.float32 else np.allclose(got, want, 1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_come_back_as_they_were(kind, device):
    stored, up = pixels(kind), Uploader(torch.device(device))
    image = as_image(up(np.ascontiguousarray(stored[..., :3])))
    assert image.shape == (1, 3, H, W) and image.dtype == torch.float32 and image.is_contiguous()
    assert 0 <= image.min() and image.max() <= 1
    assert equal(Download(image[0], kind).wait(), stored[..., :3])
    alpha = np.ascontiguousarray(
        stored[..., 3].clip(0, 1) if kind == np.float32 else stored[..., 3]
    )
    plane = as_alpha(up(alpha))
    assert plane.shape == (1, 1, H, W) and plane.dtype == torch.float32
    frame = Download(image[0], kind, plane[0]).wait()
    assert isinstance(frame, DecodedFrame) and frame.planes is None
    assert equal(frame.rgb, stored[..., :3]) and equal(frame.alpha, alpha)


def test_linear_light_is_display_like_for_the_model():
    light = np.array([[[-1, 0, 0.5], [1, 300, np.inf], [np.nan, -np.inf, 2]]], np.float32)
    image = as_image(torch.from_numpy(light))
    assert image.isfinite().all() and image.abs().max() < 1
    assert torch.equal(image[0, :, 0, 0], to_display(torch.tensor([-1, 0, 0.5])))


def test_frames_of_a_program_are_display_like_already():
    frame = torch.rand(3, H, W)
    assert torch.equal(as_image(frame)[0], frame)
    assert torch.equal(as_image(frame.bfloat16())[0], frame.bfloat16().float())


def test_frames_of_a_file_come_back_as_they_are():
    frame = DecodedFrame(pixels(np.uint16, 3), None, pixels(np.uint16, 1)[..., 0])
    assert Download(frame).wait() is frame and Download(frame.rgb).wait() is frame.rgb


@pytest.mark.parametrize("alpha", (False, True))
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_takes_one_copy_each_way_that_nothing_waits_for(kind, alpha):
    with device_traffic() as found:
        image = as_image(Uploader(torch.device("cuda"))(pixels(kind, 3)))
        plane = torch.empty(1, H, W, device="cuda") if alpha else None
        download = Download(image[0], kind, plane)
        assert found.synchronizations == found.waits == []
        download.wait()
    size = H * W * np.dtype(kind).itemsize
    assert [(r.size, r.pinned, r.blocking) for r in found.uploads] == [(3 * size, True, False)]
    assert [(r.size, r.pinned, r.blocking) for r in found.downloads] == [
        ((4 if alpha else 3) * size, True, False)
    ]
