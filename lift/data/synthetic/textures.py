"""Procedural textures and outlines of the layers of synthetic scenes.

Textures are uint8 RGB arrays (h, w, 3); masks are uint8 (h, w), 255 inside, with an antialiased
edge and zeros along the border.
"""

from collections.abc import Callable

import cv2
import numpy as np

Draw = Callable[[np.random.Generator, int, int], np.ndarray]


# -- textures --------------------------------------------------------------------------------------


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a procedural texture of widely varying contrast, (height, width, 3) uint8."""
    kind = rng.choice(len(TEXTURES), p=TEXTURE_ODDS)
    return TEXTURES[kind](rng, height, width)


def natural_texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a texture with detail everywhere and without repetition, (height, width, 3) uint8.

    Motion can be matched at every point of it, as in well-lit photographs of natural surfaces.
    """
    while True:
        picture = (_noise, _rough)[rng.integers(2)](rng, height, width)
        marks = _marks(rng, height, width)
        picture = cv2.addWeighted(picture, 0.65, marks, 0.35, 0)
        detail = picture.astype(np.float32) - cv2.GaussianBlur(picture, (0, 0), 6)
        if NATURAL_DETAIL[0] <= detail.std() <= NATURAL_DETAIL[1]:
            return picture


NATURAL_DETAIL = (7.0, 22.0)  # standard deviation of what a blur of 6 pixels removes, of 255


def _colours(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw n colours around one base, (n, 3) in [0, 255].

    They range from almost equal to opposite, so that contrast varies as in real pictures.
    """
    contrast = np.exp(rng.uniform(np.log(12), np.log(200)))
    spread = rng.uniform(-1, 1, (n, 3)) * rng.uniform(0.2, 1) + np.linspace(-1, 1, n)[:, None]
    return np.clip(rng.uniform(40, 215) + rng.normal(0, 35, 3) + contrast * spread / 2, 0, 255)


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of several octaves between two colours, the coarse ones strongest as in nature."""
    return _lookup(_octaves(rng, height, width), _ramp(*_colours(rng, 2)))


def _rough(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise whose three channels differ."""
    table = _ramp(*_colours(rng, 2))
    return cv2.LUT(cv2.merge([_octaves(rng, height, width) for _ in range(3)]), table)


def _octaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    cell = float(np.exp(rng.uniform(np.log(8), np.log(64))))
    weight, fall = 110.0, rng.uniform(0.5, 0.9)
    total = np.full((height, width), 128, np.float32)
    for _ in range(4):
        shape = (int(height / cell) + 3, int(width / cell) + 3)
        octave = cv2.resize(
            rng.random(shape, np.float32) - np.float32(0.5),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        )
        cv2.scaleAdd(octave, weight, total, total)
        weight *= fall
        cell = max(cell / 2.6, 1.5)
    return cv2.convertScaleAbs(total)


def _ramp(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Lookup table (1, 256, 3) from grey level to the colours between `low` and `high`."""
    s = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    return np.clip(low + s * (high - low), 0, 255).astype(np.uint8)[None]


def _lookup(grey: np.ndarray, table: np.ndarray) -> np.ndarray:
    return cv2.LUT(cv2.merge((grey, grey, grey)), table)


def _axis(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Distance along a random direction, (height, width) float32 pixels."""
    angle = rng.uniform(0, np.pi)
    x = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle))
    y = np.arange(height, dtype=np.float32) * np.float32(np.sin(angle))
    return y[:, None] + x


def _wave(distance: np.ndarray, period: float, phase: float, sharp: float) -> np.ndarray:
    """A wave as uint8: a sine for sharp = 1, antialiased bars for sharp near the period."""
    wave = np.sin(distance * np.float32(2 * np.pi / period) + np.float32(phase))
    return np.clip(wave * np.float32(127 * sharp) + 128, 0, 255).astype(np.uint8)


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    period = float(np.exp(rng.uniform(np.log(4), np.log(40))))
    sharp = rng.uniform(1, max(1.0, period / 3))
    grey = _wave(_axis(rng, height, width), period, rng.uniform(0, 6), sharp)
    return _lookup(grey, _ramp(*_colours(rng, 2)))


def _checkers(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    period = float(np.exp(rng.uniform(np.log(6), np.log(50))))
    along, across = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    step = np.float32(2 * np.pi / period)
    wave = np.sin(across * step)[:, None] * np.sin(along * step * np.float32(rng.uniform(0.5, 2)))
    grey = np.clip(
        wave * np.float32(127 * rng.uniform(1, max(1.0, period / 3))) + 128, 0, 255
    ).astype(np.uint8)
    return _lookup(grey, _ramp(*_colours(rng, 2)))


def _grid(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Thin lines at even distances in one or two directions; matching is ambiguous there."""
    period, angle = (
        float(np.exp(rng.uniform(np.log(5), np.log(32)))),
        rng.uniform(0, np.pi / 2) * rng.integers(2),
    )
    thick = rng.uniform(0.8, max(1.0, period / 4))
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    away = np.abs((c * x + s * y) % period - period / 2)
    if rng.random() < 0.75:
        away = np.minimum(away, np.abs((c * y - s * x) % period - period / 2))
    grey = (np.clip(thick / 2 - away + 0.5, 0, 1) * 255).astype(np.uint8)
    return _lookup(grey, _ramp(*_colours(rng, 2)))


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Almost no texture: the aperture problem, skies and walls."""
    grey = cv2.normalize(_axis(rng, height, width), None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    return _lookup(grey, _ramp(*_colours(rng, 2)))


def _marks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Letters, lines and dots on a soft ground."""
    image = _gradient(rng, height, width)
    area = height * width / 128**2
    for ink in _colours(rng, 4).tolist():
        kind = rng.integers(3)
        for x, y in rng.integers(
            0, (width, height), (int(1 + area * rng.uniform(2, 10)), 2)
        ).tolist():
            if kind == 0:
                text = "".join(chr(c) for c in rng.integers(48, 91, 4))
                font, scale, thick = (
                    int(rng.integers(8)),
                    rng.uniform(0.4, 1.2),
                    int(rng.integers(1, 3)),
                )
                cv2.putText(image, text, (x - 20, y), font, scale, ink, thick, cv2.LINE_AA)
            elif kind == 1:
                dx, dy = rng.integers(-40, 41, 2).tolist()
                cv2.line(image, (x, y), (x + dx, y + dy), ink, int(rng.integers(1, 4)), cv2.LINE_AA)
            else:
                cv2.circle(image, (x, y), int(rng.integers(2, 9)), ink, -1, cv2.LINE_AA)
    return image


TEXTURES: tuple[Draw, ...] = (_noise, _rough, _stripes, _checkers, _grid, _gradient, _marks)
TEXTURE_ODDS = (0.3, 0.2, 0.09, 0.07, 0.14, 0.06, 0.14)


# -- outlines --------------------------------------------------------------------------------------


def outline(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a blob, ellipse, polygon, bar or ring, as a (h, w) uint8 mask of about `size`."""
    kind = rng.choice(len(OUTLINES), p=OUTLINE_ODDS)
    return OUTLINES[kind](rng, size)


_SHIFT = 4  # OpenCV's drawing takes fixed-point coordinates with this many bits


def _fill(points: np.ndarray, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 2**_SHIFT).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
    return _clear_border(mask)


def _clear_border(mask: np.ndarray) -> np.ndarray:
    """Zeros along the border, so that a layer fades out there without a hard edge."""
    mask[:2], mask[-2:], mask[:, :2], mask[:, -2:] = 0, 0, 0, 0
    return mask


def _around(radius: np.ndarray, angle: np.ndarray, size: int) -> np.ndarray:
    """Points at `radius` and `angle` about the centre of a square, (n, 2).

    A radius of 1 is just inside the border of size x size pixels.
    """
    half = (size - 1) / 2
    return half + (half - 3) * radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1)


def _blob(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(angle)
    for n in range(2, 6):
        radius += rng.uniform(-0.5, 0.5) / n * np.sin(n * angle + rng.uniform(0, 2 * np.pi))
    return _fill(_around(radius / radius.max(), angle, size), size, size)


def _ellipse(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    height = max(12, int(size * rng.uniform(0.35, 1)))
    points = _around(np.ones_like(angle), angle, size) * np.array([1, height / size])
    return _fill(points, height, size)


def _polygon(rng: np.random.Generator, size: int) -> np.ndarray:
    n = int(rng.integers(3, 9))
    angle = 2 * np.pi * (np.arange(n) + rng.uniform(0, 0.8, n)) / n
    return _fill(_around(rng.uniform(0.5, 1, n), angle, size), size, size)


def _bar(rng: np.random.Generator, size: int) -> np.ndarray:
    """A thin line or a bar: limbs, poles, nets."""
    thick = int(rng.integers(2, max(4, size // 5)))
    mask = np.zeros((thick + 6, size), np.uint8)
    mask[3:-3, 3:-3] = 255
    return mask


def _ring(rng: np.random.Generator, size: int) -> np.ndarray:
    """Something to look through."""
    mask = np.zeros((size, size), np.uint8)
    thick = int(rng.integers(2, max(3, size // 8)))
    centre = (int((size - 1) / 2 * 2**_SHIFT),) * 2
    cv2.circle(
        mask, centre, int((size / 2 - 4 - thick / 2) * 2**_SHIFT), 255, thick, cv2.LINE_AA, _SHIFT
    )
    return _clear_border(mask)


OUTLINES: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (
    _blob,
    _ellipse,
    _polygon,
    _bar,
    _ring,
)
OUTLINE_ODDS = (0.4, 0.2, 0.2, 0.12, 0.08)


def caption(rng: np.random.Generator, width: int) -> np.ndarray:
    """A line of letters as a mask: subtitles, scores and logos; (h, width) uint8."""
    scale = rng.uniform(0.35, 0.9)
    text = "".join(
        chr(c)
        for c in rng.integers(48, 91, int(max(2, width * rng.uniform(0.3, 1) / (20 * scale))))
    )
    mask = np.zeros((int(40 * scale) + 8, width), np.uint8)
    foot = (4, mask.shape[0] - int(12 * scale) - 4)
    cv2.putText(
        mask, text, foot, int(rng.integers(5)), scale, 255, int(rng.integers(1, 3)), cv2.LINE_AA
    )
    return _clear_border(mask)
