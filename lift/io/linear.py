"""Scene-linear light as display-like values, and back.

The model works on values in [0, 1] with even steps of brightness, as videos have them. Linear light
has no upper limit. `to_display` maps it by an invertible curve: sRGB's own up to white (1.0), at
three quarters of the range, and above white a smooth curve of the logarithm that stays below 1.
Negative values are mirrored.
"""

import math

import numpy as np
import torch

WHITE = 0.75  # display-like value of linear 1.0
BRIGHTEST = 65504.0  # largest half-precision number: what a generated frame may reach
# of the curve above white, so that its slope continues sRGB's
BEND = WHITE / (1 - WHITE) * 1.055 / 2.4

Values = np.ndarray | torch.Tensor


def srgb_encode(x: Values) -> Values:
    """Linear light in [0, 1] -> sRGB in [0, 1] (IEC 61966-2-1); float32, any shape."""
    if isinstance(x, np.ndarray):
        return srgb_encode(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp(min=0) ** (1 / 2.4) - 0.055)


def srgb_decode(y: Values) -> Values:
    """sRGB in [0, 1] -> linear light in [0, 1]; float32, any shape."""
    if isinstance(y, np.ndarray):
        return srgb_decode(torch.from_numpy(np.ascontiguousarray(y))).numpy()
    return torch.where(y <= 12.92 * 0.0031308, y / 12.92, ((y + 0.055) / 1.055).clamp(min=0) ** 2.4)


def to_display(x: Values) -> Values:
    """Scene-linear light -> values in (-1, 1); [0, 1] becomes [0, WHITE].

    Args:
        x: float32, any shape; not NaN.

    Returns:
        float32 of the same shape.
    """
    if isinstance(x, np.ndarray):
        return to_display(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    light = x.abs()
    stops = light.clamp(min=1).log()  # natural, above white
    above = 1 - (1 - WHITE) / (1 + BEND * stops)
    return torch.where(light <= 1, WHITE * srgb_encode(light), above).copysign(x)


def to_linear(y: Values) -> Values:
    """The inverse of `to_display`; values beyond that of BRIGHTEST become BRIGHTEST."""
    if isinstance(y, np.ndarray):
        return to_linear(torch.from_numpy(np.ascontiguousarray(y))).numpy()
    shown = y.abs()
    stops = ((1 - WHITE) / (1 - shown).clamp(min=1e-6) - 1) / BEND
    above = stops.clamp(0, math.log(BRIGHTEST)).exp()
    return torch.where(shown <= WHITE, srgb_decode(shown / WHITE), above).copysign(y)
