"""Synthetic scenes: textured layers that move, rotate, scale and occlude each other.

A scene is a background and a few opaque layers, each a picture with an outline and a smooth,
non-linear path. A camera moves them all. It can be rendered at any time, and because every layer
moves by a similarity transform the true flow from a target to the references, and its visibility
there, are exact.

Times are those of a clip (references at 0 and 1), coordinates are pixels with centres at whole
numbers.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lift.data.synthetic.textures import caption, outline, texture

if TYPE_CHECKING:
    from lift.data.sequences import Sequence

OPAQUE = 127  # a layer owns a pixel where its coverage (0..255) is above this


# -- paths -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """Centre, angle and size of a picture over time.

    With u = t - 0.5, the centre is at `centre + velocity u + acceleration u^2 / 2 + sway (sin(rate
    u + phase) - sin(phase))`; the angle and the logarithm of the size follow the same sine, so the
    path is smooth and not linear.

    Attributes:
        centre: (x, y) at time 0.5, pixels.
        velocity: (x, y), pixels from reference to reference.
        acceleration: (x, y), pixels.
        sway: (x, y), pixels.
        rate, phase: of the sine, radians per unit of time and radians.
        angle, spin, swing: angle at time 0.5, its drift and its sine; radians.
        size, growth, pulse: size at time 0.5 (1: as painted), drift and sine of its logarithm.
    """

    centre: tuple[float, float]
    velocity: tuple[float, float] = (0.0, 0.0)
    acceleration: tuple[float, float] = (0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)
    rate: float = 0.5
    phase: float = 0.0
    angle: float = 0.0
    spin: float = 0.0
    swing: float = 0.0
    size: float = 1.0
    growth: float = 0.0
    pulse: float = 0.0

    def matrix(self, t: float, middle: tuple[float, float]) -> np.ndarray:
        """The homogeneous transform at time t that puts picture point `middle` (x, y) on the path.

        Returns:
            (3, 3) float64.
        """
        u = t - 0.5
        wave = np.sin(self.rate * u + self.phase) - np.sin(self.phase)
        angle = self.angle + self.spin * u + self.swing * wave
        # The bound keeps a layer from vanishing and from filling the whole view.
        size = self.size * np.exp(0.9 * np.tanh((self.growth * u + self.pulse * wave) / 0.9))
        c, s = size * np.cos(angle), size * np.sin(angle)
        x, y = (
            p + v * u + a * u * u / 2 + w * wave
            for p, v, a, w in zip(
                self.centre, self.velocity, self.acceleration, self.sway, strict=True
            )
        )
        return np.array(
            [
                [c, -s, x - c * middle[0] + s * middle[1]],
                [s, c, y - s * middle[0] - c * middle[1]],
                [0, 0, 1.0],
            ]
        )


def speed(rng: np.random.Generator, size: tuple[int, int]) -> float:
    """Draw a motion from reference to reference, pixels.

    Mostly 0 to 8, with a tail to 60 on a crop of 224 pixels, which scales with the crop.
    """
    return min(3.5 * np.exp(rng.normal(0, 1.0)), 60 * min(size) / 224)


def draw_path(rng: np.random.Generator, centre: tuple[float, float], magnitude: float) -> Path:
    """Draw a path through `centre` with a velocity of `magnitude` pixels in a random direction.

    Acceleration and sway add up to about a third of it.
    """
    directions = rng.uniform(0, 2 * np.pi, 3)
    acceleration, sway = magnitude * rng.uniform(0, 0.25), magnitude * rng.uniform(0, 0.8)
    rate = rng.uniform(0.2, 1.4)
    turning, growing = rng.random(2) < (0.5, 0.35)
    return Path(
        centre,
        _polar(magnitude, directions[0]),
        _polar(acceleration, directions[1]),
        _polar(sway, directions[2]),
        rate,
        phase=rng.uniform(0, 2 * np.pi),
        angle=rng.uniform(-0.5, 0.5),
        spin=rng.normal(0, 0.05) * turning,
        swing=rng.normal(0, 0.04) * turning,
        growth=rng.normal(0, 0.03) * growing,
        pulse=rng.normal(0, 0.02) * growing,
    )


def _polar(length: float, angle: float) -> tuple[float, float]:
    return length * np.cos(angle), length * np.sin(angle)


# -- layers ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Layer:
    """A picture on a path.

    Attributes:
        picture: (h, w, 3) uint8 RGB for a background, which is mirrored on without end; (h, w, 4)
            for a layer: RGB already multiplied by the coverage, then the coverage.
        path: of its centre.
        follows: whether the camera's motion moves it (a caption on the glass does not follow).
    """

    picture: np.ndarray
    path: Path
    follows: bool = True

    def matrix(self, t: float, camera: np.ndarray) -> np.ndarray:
        """The transform from picture to image at time t, (3, 3)."""
        h, w = self.picture.shape[:2]
        own = self.path.matrix(t, ((w - 1) / 2, (h - 1) / 2))
        return camera @ own if self.follows else own


def cut_out(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A layer's picture (h, w, 4) from a texture (h, w, 3) and a mask (h, w), both uint8."""
    colour = cv2.multiply(picture, cv2.merge((mask, mask, mask)), scale=1 / 255)
    return np.dstack((colour, mask))


# -- scenes ----------------------------------------------------------------------------------------


@dataclass
class _View:
    """A rendered frame and the layer that each pixel belongs to (0: background)."""

    image: np.ndarray
    owner: np.ndarray
    matrices: list[np.ndarray]


class SyntheticScene:
    """A moving scene that can be rendered at any time, with its exact flow.

    Args:
        rng: everything about the scene is drawn from it.
        size: (H, W) of the frames, pixels.
        textures: sequences whose frames are the textures of background and layers; procedural ones
            when None or empty.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: tuple[int, int],
        textures: "list[Sequence] | None" = None,
    ):
        camera = _draw_camera(rng, size)
        layers = _draw_layers(rng, size, textures, tripod=camera is None)
        gain = rng.normal(0, 0.02) if rng.random() < 0.2 else 0.0
        grain = rng.uniform(0.3, 1.5) if rng.random() < 0.2 else 0.0
        self._setup(size, layers, camera, gain, grain)

    @classmethod
    def from_layers(
        cls, layers: list[Layer], size: tuple[int, int], camera: Path | None = None
    ) -> "SyntheticScene":
        """A scene of given layers, background first, without brightness change and noise."""
        scene = cls.__new__(cls)
        scene._setup(size, layers, camera, 0.0, 0.0)
        return scene

    def _setup(self, size, layers, camera, gain, grain):
        self.size, self.layers, self.camera, self.gain, self.grain = (
            size,
            layers,
            camera,
            gain,
            grain,
        )
        self._views: dict[float, _View] = {}

    # -- rendering

    def render(self, times) -> np.ndarray:
        """Render frames at these times, (n, H, W, 3) uint8 RGB."""
        return np.stack([self._finish(self._view(float(t)).image, float(t)) for t in times])

    def _view(self, t: float) -> _View:
        if t not in self._views:
            self._views[t] = self._paint(t)
        return self._views[t]

    def _paint(self, t: float) -> _View:
        h, w = self.size
        camera = (
            np.eye(3) if self.camera is None else self.camera.matrix(t, ((w - 1) / 2, (h - 1) / 2))
        )
        matrices = [layer.matrix(t, camera) for layer in self.layers]
        image = cv2.warpAffine(
            self.layers[0].picture,
            matrices[0][:2],
            (w, h),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        owner = np.zeros((h, w), np.uint8)
        for k, (layer, matrix) in enumerate(zip(self.layers[1:], matrices[1:], strict=True), 1):
            box = _box(matrix, layer.picture.shape, self.size)
            if box is None:
                continue
            x0, y0, x1, y1 = box
            shifted = matrix[:2] - np.array([[0, 0, x0], [0, 0, y0]])
            patch = cv2.warpAffine(
                layer.picture, shifted, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR
            )
            coverage = patch[..., 3]
            rest = cv2.bitwise_not(coverage)
            under = cv2.multiply(image[y0:y1, x0:x1], cv2.merge((rest, rest, rest)), scale=1 / 255)
            image[y0:y1, x0:x1] = cv2.add(under, patch[..., :3])
            owner[y0:y1, x0:x1][coverage > OPAQUE] = k
        return _View(image, owner, matrices)

    def _finish(self, image: np.ndarray, t: float) -> np.ndarray:
        if self.gain:
            image = cv2.convertScaleAbs(
                image, alpha=float(np.clip(1 + self.gain * (t - 0.5), 0.7, 1.3))
            )
        if self.grain:
            image = cv2.add(image, _grain(t, self.size, self.grain), dtype=cv2.CV_8U)
        return image

    # -- truth

    def flow(self, t: float, sides: tuple[float, float] = (0, 1)) -> np.ndarray:
        """True flow of the frame at t, (4, H, W) float32 pixels.

        Args:
            t: time of the frame.
            sides: times of the two frames it leads to: dx, dy to the first, then to the second.
        """
        view = self._view(float(t))
        there = [np.stack(self._view(float(side)).matrices) for side in sides]
        moved = [m @ np.linalg.inv(np.stack(view.matrices)) - np.eye(3) for m in there]
        coefficients = np.concatenate([m[:, :2] for m in moved], 1).astype(
            np.float32
        )  # (layers, 4, 3): displacement, affine in x, y, 1
        flow = np.empty((4, *self.size), np.float32)
        for k, (layer, matrix) in enumerate(zip(self.layers, view.matrices, strict=True)):
            box = (
                (0, 0, self.size[1], self.size[0])
                if k == 0
                else _box(matrix, layer.picture.shape, self.size)
            )
            if box is None:
                continue
            x0, y0, x1, y1 = box
            x, y = np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32)[:, None]
            along, down, rest = (c[:, None, None] for c in coefficients[k].T)
            value, part = along * x + (down * y + rest), flow[:, y0:y1, x0:x1]
            if k == 0:
                part[...] = value
            else:
                np.copyto(part, value, where=view.owner[y0:y1, x0:x1] == k)
        return flow

    def visible(
        self, t: float, flow: np.ndarray | None = None, sides: tuple[float, float] = (0, 1)
    ) -> np.ndarray:
        """Visibility of the points of the frame at t at two other times, (2, H, W) of 0 and 1.

        A point is occluded when the position it moved to belongs to another layer or is outside the
        frame.

        Args:
            t: time of the frame.
            flow: what `flow(t, sides)` returned; computed when None.
            sides: the two other times.
        """
        flow = self.flow(t, sides) if flow is None else flow
        owner = self._view(float(t)).owner
        h, w = self.size
        x, y = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
        visible = np.empty((2, h, w), np.float32)
        for i, side in enumerate(sides):
            seen = cv2.remap(
                self._view(float(side)).owner,
                flow[2 * i] + x,
                flow[2 * i + 1] + y,
                cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=255,
            )
            visible[i] = seen == owner
        return visible


def _box(
    matrix: np.ndarray, shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Bounding box of a picture of this shape in the image, x0, y0, x1, y1; None if outside."""
    h, w = shape[:2]
    corners = matrix[:2] @ np.array([[-1, w, -1, w], [-1, -1, h, h], [1, 1, 1, 1.0]])
    x0, y0 = np.maximum(np.floor(corners.min(1)), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(corners.max(1)) + 1, (size[1], size[0])).astype(int).tolist()
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


_GRAIN = 512
_grain_bank: list[np.ndarray] = []


def _grain(t: float, size: tuple[int, int], sigma: float) -> np.ndarray:
    """Noise of the frame at t, (H, W, 3) float32.

    It is cut from one fixed sheet, since drawing new numbers takes longer than rendering.
    """
    if not _grain_bank:
        _grain_bank.append(
            np.random.default_rng(0).standard_normal((_GRAIN, _GRAIN, 3), np.float32)
        )
    rng = np.random.default_rng(int((t + 64) * 4096))
    h, w = size
    y, x = rng.integers(0, (max(1, _GRAIN - h), max(1, _GRAIN - w)))
    sheet = _grain_bank[0][y : y + h, x : x + w]
    if sheet.shape[:2] != (h, w):
        sheet = np.pad(
            sheet, ((0, h - sheet.shape[0]), (0, w - sheet.shape[1]), (0, 0)), mode="wrap"
        )
    return sheet * np.float32(sigma)


# -- random scenes ---------------------------------------------------------------------------------


def _draw_camera(rng: np.random.Generator, size: tuple[int, int]) -> Path | None:
    if rng.random() < 0.4:
        return None  # a tripod: only the layers move
    path = draw_path(rng, ((size[1] - 1) / 2, (size[0] - 1) / 2), 0.7 * speed(rng, size))
    return replace(
        path,
        angle=0.0,
        spin=0.3 * path.spin,
        swing=0.3 * path.swing,
        growth=0.5 * path.growth,
        pulse=0.5 * path.pulse,
    )


def _draw_layers(
    rng: np.random.Generator, size: tuple[int, int], textures: "list[Sequence] | None", tripod: bool
) -> list[Layer]:
    frames = _draw_frames(rng, textures)
    h, w = size
    layers = [
        _draw_background(rng, size, frames, is_static=rng.random() < (0.75 if tripod else 0.4))
    ]
    for _ in range(int(rng.choice(5, p=(0.08, 0.3, 0.3, 0.2, 0.12)))):
        mask = outline(
            rng, int(max(14, min(size) * np.exp(rng.uniform(np.log(0.12), np.log(0.9)))))
        )
        centre = (rng.uniform(0, w - 1), rng.uniform(0, h - 1))
        layers.append(
            Layer(
                cut_out(_surface(rng, *mask.shape, frames), mask),
                draw_path(rng, centre, speed(rng, size)),
            )
        )
    if rng.random() < 0.08:
        mask = caption(rng, int(w * rng.uniform(0.4, 1)))
        ink = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), (*mask.shape, 3)).copy()
        layers.append(
            Layer(
                cut_out(ink, mask),
                Path((rng.uniform(0.3, 0.7) * w, rng.uniform(0.1, 0.95) * h)),
                follows=False,
            )
        )
    return layers


def _draw_frames(rng: np.random.Generator, textures: "list[Sequence] | None") -> list[np.ndarray]:
    """Up to two real frames as textures of a scene."""
    if not textures:
        return []
    picks = rng.integers(0, len(textures), 1 + int(rng.random() < 0.5))
    return [textures[i].read([int(rng.integers(len(textures[i])))])[0] for i in picks]


def _draw_background(
    rng: np.random.Generator, size: tuple[int, int], frames: list[np.ndarray], is_static: bool
) -> Layer:
    h, w = size
    if frames and rng.random() < 0.8:
        picture = frames[0]
    else:
        picture = texture(rng, int(h * 1.25), int(w * 1.25))
    ph, pw = picture.shape[:2]
    # Any part of the picture may be in view; beyond its border it is mirrored, and the mirror image
    # moves with it.
    spread = (max(0, pw - w) / 2, max(0, ph - h) / 2)
    centre = (
        (w - 1) / 2 + rng.uniform(-1, 1) * spread[0],
        (h - 1) / 2 + rng.uniform(-1, 1) * spread[1],
    )
    path = draw_path(rng, centre, 0.0 if is_static else 0.5 * speed(rng, size))
    path = replace(
        path, angle=0.5 * path.angle * rng.integers(2), size=np.exp(rng.uniform(-0.15, 0.35))
    )
    turning = 0.0 if is_static else 0.3  # large surfaces turn and grow less than small things
    return Layer(
        picture,
        replace(
            path,
            spin=turning * path.spin,
            swing=turning * path.swing,
            growth=turning * path.growth,
            pulse=turning * path.pulse,
        ),
    )


def _surface(
    rng: np.random.Generator, height: int, width: int, frames: list[np.ndarray]
) -> np.ndarray:
    """A texture of exactly this size.

    Mostly a part of a real frame, where one is large enough; else a procedural one.
    """
    if frames and rng.random() < 0.75:
        frame = frames[-1]
        if frame.shape[0] >= height and frame.shape[1] >= width:
            y, x = rng.integers(0, (frame.shape[0] - height + 1, frame.shape[1] - width + 1))
            piece = np.ascontiguousarray(frame[y : y + height, x : x + width])
            if rng.random() < 0.3:
                piece = cv2.convertScaleAbs(
                    piece, alpha=rng.uniform(0.5, 1.5), beta=rng.uniform(-30, 30)
                )
            return piece
    return texture(rng, height, width)
