"""Frames and videos in which the number of a frame can be read off its pixels."""

import numpy as np
import pytest


def picture(i: int, size=(24, 32)) -> np.ndarray:
    """Frame i of a test sequence: its number can be read off any pixel; (H, W, 3) uint8 RGB."""
    image = np.zeros((*size, 3), np.uint8)
    image[...] = (6 * i, 6 * i, 6 * i + 15)
    return image


def write_video(
    path, frames=30, codec="mpeg4", gop=8, pts=None, b_frames=0, options=None, size=(48, 64)
):
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt, stream.bit_rate = "yuvj420p" if codec == "mjpeg" else "yuv420p", 4_000_000
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(i, size), format="rgb24")
            if pts is not None:
                frame.pts = pts[i]
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def numbers(frames: np.ndarray) -> list[int]:
    """Which test pictures these are."""
    return [round(float(f[..., 0].mean()) / 6) for f in frames]
