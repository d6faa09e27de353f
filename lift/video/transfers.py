"""Copies of frames and numbers to a GPU and back that the host does not wait for."""

from collections.abc import Sequence

import numpy as np
import torch

from lift.io.decoded_frame import DecodedFrame
from lift.io.linear import BRIGHTEST, to_display, to_linear


def float_tensor(values: Sequence[float], device: torch.device) -> torch.Tensor:
    """(n,) float32 on a device.

    On a GPU the values are arguments of a kernel, which needs no copy and no synchronization.
    """
    if device.type != "cuda":
        return torch.tensor(values, dtype=torch.float32, device=device)
    block = torch.zeros(len(values), device=device)
    torch._foreach_add_(list(block.unbind()), list(values))
    return block


class Uploader:
    """Copies frames to a device; to a GPU on a stream of its own.

    Every frame gets pinned memory of its own, which PyTorch reuses once the copy is done.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, frame: torch.Tensor | np.ndarray) -> torch.Tensor:
        """The frame on the device, in its own dtype and layout."""
        frame = torch.from_numpy(frame) if isinstance(frame, np.ndarray) else frame.detach()
        if self._stream is None or frame.device.type != "cpu":
            return frame.to(self.device)
        pinned = torch.empty(frame.shape, dtype=frame.dtype, pin_memory=True).copy_(frame)
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            uploaded = pinned.to(self.device, non_blocking=True)
        current.wait_stream(self._stream)
        uploaded.record_stream(current)
        return uploaded


def as_image(frame: torch.Tensor) -> torch.Tensor:
    """A frame on its device as (1, 3, H, W) float32 with values for the model.

    Args:
        frame: (H, W, 3) uint8 or uint16 over their full range, (H, W, 3) float32, scene-linear,
            or (3, H, W) float in [0, 1].

    Returns:
        Values in [0, 1]; linear light by `lift.io.linear.to_display`, where negative light is
        negative.
    """
    if frame.is_floating_point() and (frame.shape[0] == 3 or frame.shape[-1] != 3):
        return frame.float()[None]
    planes = _numbers(frame).permute(2, 0, 1)[None]
    if frame.is_floating_point():
        light = planes.float().contiguous()
        return to_display(light.nan_to_num(nan=0.0, posinf=BRIGHTEST, neginf=-BRIGHTEST))
    planes = planes.to(torch.float32, memory_format=torch.contiguous_format)
    return planes.div_(torch.iinfo(frame.dtype).max)


def as_alpha(alpha: torch.Tensor) -> torch.Tensor:
    """Alpha on its device, (H, W) uint8, uint16 or float32 -> (1, 1, H, W) float32 in [0, 1]."""
    if alpha.is_floating_point():
        return alpha.float()[None, None]
    return _numbers(alpha).to(torch.float32)[None, None].div_(torch.iinfo(alpha.dtype).max)


def _numbers(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in a dtype with all operations, which uint16 has not on every device."""
    if pixels.dtype != torch.uint16:
        return pixels
    return pixels.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)


class Download:
    """An asynchronous copy of a frame to the host, in one copy with its alpha.

    Args:
        frame: (3, H, W) float in [0, 1] on any device, or a frame of a file, which is on the host
            already and comes back as it is.
        dtype: of the pixels: uint8, uint16, or float32 for scene-linear light, of which `frame` is
            `to_display`.
        alpha: (1, H, W) float in [0, 1] on the frame's device, or None.
    """

    def __init__(
        self,
        frame: torch.Tensor | np.ndarray | DecodedFrame,
        dtype: np.dtype | type = np.uint8,
        alpha: torch.Tensor | None = None,
    ):
        self._done = None
        self._has_alpha = alpha is not None
        self._dtype = np.dtype(dtype)
        if isinstance(frame, np.ndarray | DecodedFrame):
            self._pixels = frame
            return
        planes = _stored(frame.detach(), self._dtype)
        if alpha is not None:
            planes = torch.cat([planes, _stored(alpha.detach(), self._dtype, linear=True)])
        pixels = torch.stack(planes.unbind(), 2)  # faster than a copy of a permuted view
        if pixels.is_cuda:
            pixels, source = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True), pixels
            pixels.copy_(source, non_blocking=True)
            self._done = torch.cuda.Event(blocking=True)
            self._done.record(torch.cuda.current_stream(source.device))
        self._pixels = pixels.numpy().view(self._dtype)

    def wait(self) -> np.ndarray | DecodedFrame:
        """The frame once it is on the host.

        Returns:
            (H, W, 3) RGB, or a DecodedFrame with alpha (H, W) where there is alpha; the frame of a
            file as it came.
        """
        if self._done is not None:
            self._done.synchronize()
        if isinstance(self._pixels, DecodedFrame) or not self._has_alpha:
            return self._pixels
        return DecodedFrame(self._pixels[..., :3], None, self._pixels[..., 3])


def _stored(planes: torch.Tensor, dtype: np.dtype, linear: bool = False) -> torch.Tensor:
    """Planes in [0, 1] as what a copy carries: the bits of uint16 travel as int16."""
    planes = planes.clamp(0, 1)
    if dtype == np.float32:
        return planes.float() if linear else to_linear(planes.float())
    if dtype == np.uint16:
        return planes.float().mul_(65535).round_().to(torch.int32).to(torch.int16)
    return planes.mul_(255).round_().byte()
