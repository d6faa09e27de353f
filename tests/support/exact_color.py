"""The definition of YUV coding in floating point, and small videos of known planes."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest

LUMA_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def rgb_of_planes(planes, matrix: int, full_range: bool, bits: int = 8) -> np.ndarray:
    """Y, U, V of 4:2:0 as (H, W, 3) float RGB in 0..255; chroma is repeated, nothing is rounded."""
    y, u, v = (np.asarray(plane, np.float64) for plane in planes)
    u, v = (plane.repeat(2, 0).repeat(2, 1) - 2 ** (bits - 1) for plane in (u, v))
    unit = 2.0 ** (bits - 8)
    black, luma, chroma = (
        (0, 2**bits - 1, 2**bits - 1) if full_range else (16 * unit, 219 * unit, 224 * unit)
    )
    kr, kb = LUMA_WEIGHTS[matrix]
    y, u, v = (y - black) * 255 / luma, u * 255 / chroma, v * 255 / chroma
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue], -1)


def planes_of_rgb(rgb: np.ndarray, matrix: int, full_range: bool, bits: int = 8):
    """(H, W, 3) RGB in 0..255 as float Y, U, V of 4:2:0; chroma is the mean of four pixels."""
    red, green, blue = np.moveaxis(np.asarray(rgb, np.float64), -1, 0)
    kr, kb = LUMA_WEIGHTS[matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    u, v = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
    unit = 2.0 ** (bits - 8)
    black, luma, chroma = (
        (0, 2**bits - 1, 2**bits - 1) if full_range else (16 * unit, 219 * unit, 224 * unit)
    )
    u, v = (p.reshape(len(p) // 2, 2, -1, 2).mean((1, 3)) for p in (u, v))
    return y * luma / 255 + black, *(p * chroma / 255 + 2 ** (bits - 1) for p in (u, v))


def patches(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB: squares of 8 pixels in colours that every coding can store."""
    rng = np.random.default_rng(seed)
    colors = rng.integers(20, 236, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return colors.repeat(8, 0).repeat(8, 1)[:height, :width]


def stored_planes(rgb: np.ndarray, matrix: int, full_range: bool, bits: int = 8):
    """`planes_of_rgb`, rounded to what a file stores."""
    kind = np.uint8 if bits == 8 else np.uint16
    return tuple(np.rint(p).astype(kind) for p in planes_of_rgb(rgb, matrix, full_range, bits))


def frame_of_planes(planes, matrix: int, full_range: bool, bits: int = 8):
    """Y, U, V of 4:2:0 as a tagged av.VideoFrame."""
    import av

    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p" if bits == 8 else f"yuv420p{bits}le")
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, plane.dtype).reshape(
            -1, target.line_size // plane.dtype.itemsize
        )
        rows[: plane.shape[0], : plane.shape[1]] = plane
    frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
    return frame


@dataclass(frozen=True)
class VideoCase:
    """A video of known planes.

    Attributes:
        matrix: with which the pixels are coded.
        tagged: whether the file states matrix and range.
        turn, mirror: display matrix, counter-clockwise degrees, then "x" or "y" or "".
    """

    height: int = 48
    width: int = 64
    matrix: int = 1
    tagged: bool = True
    full_range: bool = False
    bits: int = 8
    turn: int = 0
    mirror: str = ""
    suffix: str = field(default=".mp4")

    def planes(self, k: int):
        rgb = patches(self.height, self.width, seed=k)
        return stored_planes(rgb, self.matrix, self.full_range, self.bits)

    def expected(self, k: int) -> np.ndarray:
        """Frame k upright, float RGB."""
        rgb = rgb_of_planes(self.planes(k), self.matrix, self.full_range, self.bits).clip(0, 255)
        rgb = np.rot90(rgb, self.turn // 90)
        return {"": rgb, "x": rgb[:, ::-1], "y": rgb[::-1]}[self.mirror]


def needs_display_matrix(stream) -> None:
    """Skip the test where PyAV (before 18) cannot write a display matrix."""
    if not hasattr(stream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a display matrix")


def write_lossless(path, case: VideoCase, frames: int):
    """The planes of `case` as they are, H.264 or (in .mkv) FFV1."""
    import av

    with av.open(str(path), "w") as out:
        ffv1 = path.suffix == ".mkv"
        options = {} if ffv1 else {"qp": "0", "preset": "ultrafast"}
        stream = out.add_stream("ffv1" if ffv1 else "libx264", rate=25, options=options)
        stream.height, stream.width = case.height, case.width
        stream.pix_fmt = "yuv420p" if case.bits == 8 else f"yuv420p{case.bits}le"
        codec = stream.codec_context
        if case.tagged:
            codec.colorspace, codec.color_range = case.matrix, 2 if case.full_range else 1
        if case.turn or case.mirror:
            needs_display_matrix(stream)
            stream.set_display_rotation(
                case.turn, hflip=case.mirror == "x", vflip=case.mirror == "y"
            )
        for k in range(frames):
            tags = (case.matrix, case.full_range) if case.tagged else (2, False)
            frame = frame_of_planes(case.planes(k), *tags, bits=case.bits)
            if not case.tagged:
                frame.color_range = 0
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
