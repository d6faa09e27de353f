"""Pixels between 8 bits, 16 bits and scene-linear float32.

8 and 16 bits are scaled (255 and 65535 are white) and rounded to nearest. Linear light becomes sRGB
and the reverse: what exceeds white is clipped. Colours of linear frames are multiplied by alpha,
those of integers are not (OpenEXR; PNG, TIFF and WebP).
"""

import numpy as np

from lift.io.decoded_frame import DecodedFrame

DEPTHS = tuple(np.dtype(kind) for kind in (np.uint8, np.uint16, np.float32))  # from shallow to deep


def deepest(dtypes) -> np.dtype:
    """The deepest of several of DEPTHS."""
    return max(map(np.dtype, dtypes), key=DEPTHS.index)


def with_depth(frame: DecodedFrame, kind: np.dtype | type) -> DecodedFrame:
    """A frame with its rgb and alpha in another of DEPTHS; its planes stay as they are.

    Values whose depth is right come back as they are.
    """
    if frame.rgb.dtype == kind:
        return frame
    kind = np.dtype(kind)
    rgb, alpha = frame.rgb, frame.alpha
    if rgb.dtype == np.float32:
        rgb = _to_integers(_srgb(_divided_by(rgb, alpha)), kind)
        alpha = None if alpha is None else _to_integers(alpha, kind)
    elif kind == np.float32:
        rgb, alpha = _linear(rgb), None if alpha is None else _fraction(alpha)
        rgb = rgb if alpha is None else rgb * alpha[..., None]
    else:
        rgb, alpha = _scaled(rgb, kind), None if alpha is None else _scaled(alpha, kind)
    return DecodedFrame(rgb, frame.planes, alpha)


def as_8_bits(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) of any of DEPTHS as uint8, sRGB where it is linear."""
    return with_depth(DecodedFrame(rgb), np.uint8).rgb


def opaque(shape: tuple[int, int], kind: np.dtype | type) -> np.ndarray:
    """An alpha channel (H, W) that hides nothing."""
    kind = np.dtype(kind)
    return np.full(shape, 1 if kind == np.float32 else np.iinfo(kind).max, kind)


def _scaled(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    if kind == np.uint16:
        return values.astype(np.uint16) * np.uint16(257)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _fraction(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def _to_integers(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    top = np.iinfo(kind).max
    values = np.clip(np.nan_to_num(values, posinf=1.0, neginf=0.0), 0, 1)
    return np.rint(values * np.float32(top)).astype(kind)


def _srgb(linear: np.ndarray) -> np.ndarray:
    from lift.io.linear import srgb_encode  # torch, which a reader of 8 bits does not need

    return srgb_encode(np.clip(np.nan_to_num(linear, posinf=1.0, neginf=0.0), 0, 1))


def _linear(integers: np.ndarray) -> np.ndarray:
    from lift.io.linear import srgb_decode

    return srgb_decode(_fraction(integers))


def _divided_by(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    if alpha is None:
        return rgb
    return rgb / np.where(alpha > 0, alpha, np.float32(1))[..., None]
