"""Copies of frames and numbers to a GPU and back that the host does not wait for."""

from collections.abc import Sequence

import numpy as np
import torch

from lift.io.decode import DecodedFrame


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
    """(H, W, 3) uint8 or (3, H, W) float in [0, 1] -> (1, 3, H, W) float32 in [0, 1]."""
    if frame.dtype != torch.uint8:
        return frame.float()[None]
    planes = frame.permute(2, 0, 1)[None]
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


class Download:
    """An asynchronous copy of a frame to the host, as 8-bit RGB.

    Args:
        frame: (3, H, W) float in [0, 1] on any device, or a frame of a file, which is on the host
            already.
    """

    def __init__(self, frame: torch.Tensor | np.ndarray | DecodedFrame):
        self._done = None
        if isinstance(frame, np.ndarray | DecodedFrame):
            self._bytes = frame
            return
        planes = frame.detach().clamp(0, 1).mul_(255).round_().byte()
        pixels = torch.stack(planes.unbind(), 2)  # faster than a copy of a permuted view
        if pixels.is_cuda:
            pixels, source = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True), pixels
            pixels.copy_(source, non_blocking=True)
            self._done = torch.cuda.Event(blocking=True)
            self._done.record(torch.cuda.current_stream(source.device))
        self._bytes = pixels.numpy()

    def wait(self) -> np.ndarray | DecodedFrame:
        """(H, W, 3) uint8 RGB once it is on the host, or the frame of a file."""
        if self._done is not None:
            self._done.synchronize()
        return self._bytes
