"""Synthetic clips of protocol `long_context`: what only frames beyond the nearest four can know.

A clip has fifteen frames at times -7 ... 7 and a target at 0.5, all rendered from one scene. Its
kind says what the far frames add:

- `occluder`: background that is hidden at times -1, 0, 1 and 2, and visible at the target's time
  and in frames farther away: through the openings of a fence or a wheel that pass by, between two
  objects that follow each other, or where the near frames are damaged;
- `nonlinear`: a path that four positions do not determine: fast oscillation, pendulums, a shaking
  camera, an object that bounces between the references;
- `noise`: slow motion, sensor noise on the inputs, a target without it;
- `ambiguous`: repeated texture that moves by more than half its period between the references,
  so that the smaller motion fits as well; slower motion before, or a mark that has left the view,
  tells which one is true.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from lift.data.synthetic import Layer, Path, SyntheticScene, cut_out
from lift.data.synthetic.textures import natural_texture

SIZE = (256, 256)
TIMES = tuple(float(t) for t in range(-7, 8))
LEFT = TIMES.index(0.0)
TARGET_TIME = 0.5
NEAR = (-1.0, 0.0, 1.0, 2.0)
PER_KIND = 12
SEED = 20160
MARGIN = 48  # pixels of background beyond each border of the view


@dataclass(frozen=True, eq=False)
class SceneClip:
    """A synthetic clip and its truth.

    Attributes:
        name: kind, variant and number.
        kind: one of KINDS.
        frames: (15, H, W, 3) uint8 RGB at TIMES.
        target: (H, W, 3) uint8, the frame at TARGET_TIME.
        scene: that the frames were rendered from.
        damaged: times of input frames -> (H, W) bool, the pixels that do not show the scene.
    """

    name: str
    kind: str
    frames: np.ndarray
    target: np.ndarray
    scene: SyntheticScene
    damaged: dict[float, np.ndarray] = field(default_factory=dict)

    def seen(self, time: float) -> np.ndarray:
        """The target's points that the frame at `time` shows, (H, W) bool."""
        flow = self.scene.flow(TARGET_TIME, (time, time))
        seen = self.scene.visible(TARGET_TIME, flow, (time, time))[0] > 0
        if time in self.damaged:
            y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
            damaged = self.damaged[time].astype(np.uint8)
            seen &= cv2.remap(damaged, x + flow[0], y + flow[1], cv2.INTER_NEAREST) == 0
        return seen

    def hidden(self) -> np.ndarray:
        """The target's points that none of the four nearest frames shows, (H, W) bool."""
        return ~np.any([self.seen(time) for time in NEAR], axis=0)


def synthetic_clips(per_kind: int = PER_KIND, seed: int = SEED) -> list[SceneClip]:
    """The clips of every kind; the same ones for the same arguments.

    Args:
        per_kind: clips of each kind; their variants take turns.
        seed: of everything that is drawn.
    """
    return [synthetic_clip(kind, number, seed) for kind in VARIANTS for number in range(per_kind)]


def synthetic_clip(kind: str, number: int, seed: int = SEED) -> SceneClip:
    """One clip of `synthetic_clips`, by its kind and its number among them."""
    variants = VARIANTS[kind]
    variant = list(variants)[number % len(variants)]
    rng = np.random.default_rng((seed, list(VARIANTS).index(kind), number))
    scene, finish = variants[variant](rng, number // len(variants))
    frames, target = scene.render(TIMES), scene.render([TARGET_TIME])[0]
    frames, damaged = finish(rng, frames) if finish else (frames, {})
    return SceneClip(f"{kind}_{variant}_{number:02d}", kind, frames, target, scene, damaged)


Finish = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, dict[float, np.ndarray]]]
Variant = Callable[[np.random.Generator, int], tuple[SyntheticScene, Finish | None]]


# -- parts of scenes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """A path given by functions of time, with the interface of `lift.data.synthetic.Path`.

    Attributes:
        centre: time -> (x, y), pixels.
        angle: time -> radians.
    """

    centre: Callable[[float], tuple[float, float]]
    angle: Callable[[float], float] = lambda time: 0.0

    def matrix(self, t: float, middle: tuple[float, float]) -> np.ndarray:
        """The homogeneous transform at time t that puts picture point `middle` there, (3, 3)."""
        return Path(self.centre(t), angle=self.angle(t)).matrix(TARGET_TIME, middle)


def _direction(angle: float) -> np.ndarray:
    return np.array((np.cos(angle), np.sin(angle)))


MIDDLE = np.array(((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2))


def _background(rng: np.random.Generator, fastest: float = 2.0) -> Layer:
    """A textured background that pans by 0 to `fastest` pixels between the references."""
    picture = natural_texture(rng, SIZE[0] + 2 * MARGIN, SIZE[1] + 2 * MARGIN)
    velocity = rng.uniform(0, fastest) * _direction(rng.uniform(0, 2 * np.pi))
    return Layer(picture, Path(tuple(MIDDLE), tuple(velocity)))


def _rounded_box(height: int, width: int, radius: int) -> np.ndarray:
    """A mask of a rectangle with round corners, (height, width) uint8."""
    mask = np.zeros((height, width), np.uint8)
    cv2.rectangle(
        mask, (2 + radius, 2 + radius), (width - 3 - radius, height - 3 - radius), 255, -1
    )
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2))
    return cv2.GaussianBlur(mask, (3, 3), 0)


def _object(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A textured object with round corners, the picture of a layer."""
    return cut_out(natural_texture(rng, height, width), _rounded_box(height, width, 10))


# -- occluder --------------------------------------------------------------------------------------

# An opening passes every point of the background once in `reveal + 0.5` intervals: at the target's
# time, and at -reveal and reveal + 1. It is so narrow that no point is seen in between.
OPENING = 0.4  # width of an opening, in motions from reference to reference; below 0.5


def _fence(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """Posts that pass, with the background in the gaps."""
    reveal = (2, 3, 4)[turn % 3]
    velocity = rng.uniform(26, 36)
    period, gap = velocity * (reveal + 0.5), OPENING * velocity
    width, height = int(SIZE[1] + 16 * velocity), int(SIZE[0] * rng.uniform(0.6, 0.95))
    mask = _rounded_box(height, width, 4)
    for left in np.arange(rng.uniform(0, period), width, period):
        mask[:, round(left) : round(left + gap)] = 0
    picture = cut_out(natural_texture(rng, height, width), cv2.GaussianBlur(mask, (3, 3), 0))
    angle, sign = rng.uniform(-0.25, 0.25), rng.choice((-1, 1))
    velocity = sign * velocity * _direction(angle)
    path = Path(tuple(MIDDLE), tuple(velocity), angle=angle)
    return SyntheticScene.from_layers([_background(rng, 1.5), Layer(picture, path)], SIZE), None


def _wheel(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """A turning disc with openings, like a fan or a wheel with broad spokes."""
    openings, reveal = ((6, 2), (6, 3), (5, 3))[turn % 3]
    radius = int(rng.uniform(105, 122))
    period = 2 * np.pi / openings
    spin = period / (reveal + 0.5)
    y, x = np.mgrid[-radius - 4 : radius + 5, -radius - 4 : radius + 5].astype(np.float32)
    away, around = np.hypot(x, y), np.arctan2(y, x)
    # distance to the middle of the nearest opening, and from its edge, in pixels
    phase = (around + period / 2) % period - period / 2
    edge = (np.abs(phase) - OPENING * spin / 2) * away
    inside = np.clip(radius - away, 0, 1)
    opening = np.clip(0.5 - edge, 0, 1) * (away > 0.35 * radius) * (away < 0.96 * radius)
    mask = (255 * inside * (1 - opening)).astype(np.uint8)
    picture = cut_out(natural_texture(rng, *mask.shape), mask)
    centre = tuple(MIDDLE + rng.uniform(-8, 8, 2))
    start, sign = rng.uniform(0, 2 * np.pi), rng.choice((-1, 1))
    path = Course(lambda t: centre, lambda t: start + sign * spin * (t - TARGET_TIME))
    return SyntheticScene.from_layers([_background(rng, 1.0), Layer(picture, path)], SIZE), None


def _following(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """Two objects that follow each other closely, with the background between them."""
    velocity = rng.uniform(30, 40)
    gap = OPENING * velocity
    angle, sign = rng.uniform(-0.2, 0.2), rng.choice((-1, 1))
    along = sign * _direction(angle)
    height = int(SIZE[0] * rng.uniform(0.6, 0.9))
    shift = rng.uniform(-10, 10, 2)
    layers = [_background(rng, 1.5)]
    for side in (-1, 1):
        # 2 motions long: the object hides a point of the gap in two frames; longer ones in three
        length = int(velocity * (2.0, 2.4, 3.0)[turn % 3]) + 6
        centre = MIDDLE + shift + side * ((gap + length) / 2 - 2) * along
        path = Path(tuple(centre), tuple(velocity * along), angle=angle)
        layers.append(Layer(_object(rng, height, length), path))
    return SyntheticScene.from_layers(layers, SIZE), None


def _dropout(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, Finish]:
    """A moving object, and blocks lost in the near frames."""
    layers = [_background(rng, 3.0)]
    centre = MIDDLE + rng.uniform(-60, 60, 2)
    velocity = rng.uniform(1, 4) * _direction(rng.uniform(0, 2 * np.pi))
    layers.append(
        Layer(_object(rng, *rng.integers(50, 90, 2)), Path(tuple(centre), tuple(velocity)))
    )
    return SyntheticScene.from_layers(layers, SIZE), _lose_blocks


BLOCK = 16


def _lose_blocks(
    rng: np.random.Generator, frames: np.ndarray
) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Blocks of one region lost in the four near frames, as after an error in transmission.

    A lost block shows another part of its frame or a flat colour, a different one in each frame.
    """
    rows, columns = SIZE[0] // BLOCK, SIZE[1] // BLOCK
    height, width = rng.integers(4, 8), rng.integers(4, 7)
    top, left = rng.integers(1, rows - height), rng.integers(1, columns - width)
    core = np.zeros((rows, columns), bool)
    core[top : top + height, left : left + width] = True
    frames, damaged = frames.copy(), {}
    for time in NEAR:
        lost = core | (cv2.dilate(core.astype(np.uint8), np.ones((3, 3))) > 0) & (
            rng.random(core.shape) < 0.3
        )
        frame = frames[TIMES.index(time)]
        source = frame.copy()
        for row, column in np.argwhere(lost):
            block = np.s_[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
            y, x = rng.integers(0, np.array(SIZE) - BLOCK)
            copied = source[y : y + BLOCK, x : x + BLOCK]
            frame[block] = copied if rng.random() < 0.5 else copied.mean((0, 1)).astype(np.uint8)
        damaged[time] = np.repeat(np.repeat(lost, BLOCK, 0), BLOCK, 1)
    return frames, damaged


# -- nonlinear -------------------------------------------------------------------------------------


def _oscillation(rng: np.random.Generator) -> tuple[float, float]:
    """Rate and phase of a sine, near a turning point at the target's time; radians."""
    rate = 2 * np.pi / rng.uniform(3.4, 5.0)
    return rate, rng.choice((-1, 1)) * np.pi / 2 + rng.uniform(-0.7, 0.7)


def _swing(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """Objects that swing to and fro along a line."""
    layers = [_background(rng, 1.5)]
    for quarter in (-1, 1):
        rate, phase = _oscillation(rng)
        sway = rng.uniform(9, 16) * _direction(rng.uniform(0, 2 * np.pi))
        centre = MIDDLE + np.array((quarter * 55, rng.uniform(-50, 50)))
        path = Path(tuple(centre), sway=tuple(sway), rate=rate, phase=phase)
        layers.append(Layer(_object(rng, *rng.integers(75, 110, 2)), path))
    return SyntheticScene.from_layers(layers, SIZE), None


def _pendulum(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """A long limb that swings about its upper end."""
    rate, phase = _oscillation(rng)
    length, width = int(rng.uniform(150, 190)), int(rng.uniform(60, 90))
    pivot = MIDDLE + np.array((rng.uniform(-30, 30), -110))
    swing, rest = rng.uniform(0.07, 0.12), rng.uniform(-0.2, 0.2)

    def angle(t: float) -> float:
        return rest + swing * np.sin(rate * (t - TARGET_TIME) + phase)

    def centre(t: float) -> tuple[float, float]:
        return tuple(pivot + length / 2 * _direction(angle(t) + np.pi / 2))

    layers = [_background(rng, 1.5), Layer(_object(rng, length, width), Course(centre, angle))]
    return SyntheticScene.from_layers(layers, SIZE), None


def _shake(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """A camera that shakes, and an object in front of it."""
    rate, phase = _oscillation(rng)
    sway = rng.uniform(6, 12) * _direction(rng.uniform(0, 2 * np.pi))
    camera = Path(tuple(MIDDLE), sway=tuple(sway), rate=rate, phase=phase)
    velocity = rng.uniform(0, 4) * _direction(rng.uniform(0, 2 * np.pi))
    centre = MIDDLE + rng.uniform(-50, 50, 2)
    inner = Layer(_object(rng, *rng.integers(60, 100, 2)), Path(tuple(centre), tuple(velocity)))
    return SyntheticScene.from_layers([_background(rng), inner], SIZE, camera), None


def _bounce(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """Objects on parabolas that bounce off the floor between the references."""
    layers = [_background(rng, 1.0)]
    for quarter in (-1, 1):
        impact, period = rng.uniform(0.3, 0.7), rng.uniform(4.2, 6.0)
        # the height of a jump of `period` intervals with this fall in the first one
        height = rng.uniform(9, 14) * period / 4
        foot = MIDDLE + np.array((quarter * 58, rng.uniform(10, 45)))
        drift = rng.uniform(-3, 3)

        def centre(t, foot=foot, impact=impact, period=period, height=height, drift=drift):
            s = ((t - impact) / period) % 1
            return foot[0] + drift * (t - TARGET_TIME), foot[1] - 4 * height * s * (1 - s)

        layers.append(Layer(_object(rng, *rng.integers(75, 110, 2)), Course(centre)))
    return SyntheticScene.from_layers(layers, SIZE), None


# -- noise -----------------------------------------------------------------------------------------


def _noisy(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, Finish]:
    """A slow pan and a slow object, every input with noise of its own."""
    layers = [_background(rng, 2.0)]
    for _ in range(2):
        velocity = rng.uniform(0.5, 3) * _direction(rng.uniform(0, 2 * np.pi))
        centre = MIDDLE + rng.uniform(-80, 80, 2)
        path = Path(tuple(centre), tuple(velocity))
        layers.append(Layer(_object(rng, *rng.integers(50, 100, 2)), path))
    sigma = np.linspace(8, 15, PER_KIND)[turn % PER_KIND]

    def finish(rng, frames):
        noisy = frames + rng.normal(0, sigma, frames.shape)
        return np.clip(np.round(noisy), 0, 255).astype(np.uint8), {}

    return SyntheticScene.from_layers(layers, SIZE), finish


# -- ambiguous -------------------------------------------------------------------------------------


def _repeated(rng: np.random.Generator, height: int, width: int, period: int) -> np.ndarray:
    """One column pattern repeated along x: bars of a fence, windows of a train, a woven fabric."""
    tile = natural_texture(rng, height, 128)[:, :period].astype(np.float32)
    # the two ends of the tile meet smoothly, and a bar in the middle gives it contrast
    ramp = np.linspace(0, 1, period, dtype=np.float32)[None, :, None]
    tile = tile * (1 - ramp) + tile[:, ::-1] * ramp
    rows = cv2.GaussianBlur(tile, (0, 0), sigmaX=0.01, sigmaY=6)
    bar = (np.sin(np.pi * ramp) ** 2 - 0.5) * rng.choice((-1, 1)) * rng.uniform(70, 120)
    tile = np.clip(rows + bar, 0, 255).astype(np.uint8)
    return np.tile(tile, (1, width // period + 1, 1))[:, :width]


def _panel(
    rng: np.random.Generator, period: int, reach: float, label_at: float | None = None
) -> tuple[np.ndarray, float]:
    """A band of repeated texture that fills the view's width while it moves by +-`reach`.

    With `label_at`, a mark of one third of its height lies so many pixels from its middle.
    Returns the picture of a layer and its angle.
    """
    height, width = int(SIZE[0] * rng.uniform(0.5, 0.7)), int(1.5 * SIZE[1] + 2 * reach)
    picture = _repeated(rng, height, width, period)
    if label_at is not None:
        side = height // 2
        left, top = round(width / 2 + label_at - side / 2), height // 4
        picture[top : top + side, left : left + side] = natural_texture(rng, side, side)
    return cut_out(picture, _rounded_box(height, width, 4)), rng.uniform(-0.15, 0.15)


def _speeding(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """A band that speeds up: its motion is below half a period in the first frames."""
    period = int(rng.integers(18, 29))
    ratio = rng.uniform(0.62, 0.8)  # of the period, between the references
    slow = rng.uniform(0.1, 0.25)  # in the first interval
    acceleration = (ratio - slow) / 7
    sign = rng.choice((-1, 1))
    # the motion grows in equal steps up to the middle of the clip, then stays as it is
    picture, angle = _panel(rng, period, 8 * period)
    along = sign * period * _direction(angle)

    def centre(t: float) -> tuple[float, float]:
        u = t - TARGET_TIME
        return tuple(MIDDLE + (ratio * u + 0.5 * acceleration * min(u, 0) ** 2) * along)

    layers = [_background(rng, 0.5), Layer(picture, Course(centre, lambda t: angle))]
    return SyntheticScene.from_layers(layers, SIZE), None


def _label(rng: np.random.Generator, turn: int) -> tuple[SyntheticScene, None]:
    """A band with a mark that leaves the view before the near frames."""
    period = int(rng.integers(18, 29))
    velocity = rng.choice((-1, 1)) * period * rng.uniform(0.62, 0.8)
    # at time -1 the mark is just beyond the border; towards the middle of the view before
    half = SIZE[1] / 2 + SIZE[0] * 0.35 / 2 + 14
    label_at = np.sign(velocity) * half + 1.5 * velocity
    picture, angle = _panel(rng, period, 8 * abs(velocity), label_at)
    path = Path(tuple(MIDDLE), tuple(velocity * _direction(angle)), angle=angle)
    return SyntheticScene.from_layers([_background(rng, 0.5), Layer(picture, path)], SIZE), None


# -- kinds -----------------------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Variant]] = {
    "occluder": {
        "fence": _fence,
        "wheel": _wheel,
        "following": _following,
        "dropout": _dropout,
    },
    "nonlinear": {
        "swing": _swing,
        "pendulum": _pendulum,
        "shake": _shake,
        "bounce": _bounce,
    },
    "noise": {"noise": _noisy},
    "ambiguous": {"speeding": _speeding, "label": _label},
}
KINDS = tuple(VARIANTS)
