"""Claims about synthetic scenes: the flow is the truth, what is hidden is marked hidden, and
everything follows from the generator.
"""

import cv2
import numpy as np
import pytest

from lift.data.synthetic import Layer, Path, SyntheticScene, cut_out, draw_path, speed
from lift.data.synthetic.textures import OUTLINES, TEXTURES

SIZE = (72, 88)


def smooth(seed: int, h: int, w: int) -> np.ndarray:
    """A texture fine enough to show an error of a pixel and smooth enough to be resampled: (h, w,
    3) uint8.
    """
    noise = np.random.default_rng(seed).random((h, w, 3), np.float32)
    return cv2.normalize(
        cv2.GaussianBlur(noise, (0, 0), 2.5), None, 20, 235, cv2.NORM_MINMAX, cv2.CV_8U
    )


def disc(size: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (size // 2, size // 2), size // 2 - 4, 255, -1, cv2.LINE_AA)
    return mask


def layer(path: Path, size: int = 40) -> Layer:
    return Layer(cut_out(smooth(7, size, size), disc(size)), path)


STILL = Layer(smooth(1, 140, 160), Path((44, 36)))
MOTIONS = {
    "translation": Path((40, 36), velocity=(9.3, -5.7)),
    "bent translation": Path(
        (40, 36), velocity=(6, 2), acceleration=(5, -9), sway=(3, 4), rate=1.1, phase=0.6
    ),
    "rotation": Path((44, 36), spin=0.35),
    "scaling": Path((44, 36), growth=0.25),
    "all of them": Path(
        (42, 34),
        velocity=(5, 4),
        sway=(2, -3),
        spin=0.2,
        swing=0.1,
        growth=-0.15,
        pulse=0.1,
        size=1.2,
        angle=0.4,
    ),
}


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    h, w = flow.shape[1:]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return cv2.remap(
        image, x + flow[0], y + flow[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)


def errors(scene: SyntheticScene, t: float, inside: np.ndarray | None = None) -> list[float]:
    """Mean absolute error, of 255, of the reference frames warped to t by the true flow, where
    visible and `inside`.
    """
    frames = scene.render([0, 1, t])
    flow = scene.flow(t)
    visible = scene.visible(t, flow) > 0
    inside = True if inside is None else inside
    return [
        float(
            np.abs(warp(frames[side], flow[2 * side : 2 * side + 2]) - frames[2])[
                visible[side] & inside
            ].mean()
        )
        for side in (0, 1)
    ]


@pytest.mark.parametrize("t", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("motion", MOTIONS)
def test_references_warped_by_the_true_flow_make_the_target_where_a_background_moves(motion, t):
    scene = SyntheticScene.from_layers([Layer(smooth(3, 150, 170), MOTIONS[motion])], SIZE)
    wrong = SyntheticScene.from_layers([Layer(smooth(3, 150, 170), MOTIONS[motion])], SIZE)
    wrong.flow = lambda t: scene.flow(t) * 0.8
    assert max(errors(scene, t)) < 1.2
    assert max(errors(wrong, t)) > 1.5 * max(errors(scene, t)), (
        "the test would not notice a wrong flow"
    )


@pytest.mark.parametrize("motion", MOTIONS)
def test_references_warped_by_the_true_flow_make_the_target_inside_a_moving_layer(motion):
    scene = SyntheticScene.from_layers([STILL, layer(MOTIONS[motion])], SIZE)
    owner = (scene._view(0.5).owner == 1).astype(np.uint8)
    inside = cv2.erode(owner, np.ones((7, 7), np.uint8)) > 0
    assert inside.sum() > 200
    assert max(errors(scene, 0.5, inside)) < 1.5


def test_flow_points_to_where_things_were_and_will_be():
    scene = SyntheticScene.from_layers(
        [Layer(smooth(3, 150, 170), Path((40, 36), velocity=(8, -4)))], SIZE
    )
    flow = scene.flow(0.25)
    assert flow.shape == (4, *SIZE) and flow.dtype == np.float32
    assert np.allclose(flow.mean((1, 2)), [-2, 1, 6, -3], atol=1e-3) and np.allclose(
        flow.std((1, 2)), 0, atol=1e-3
    )


def test_background_that_a_layer_hides_in_one_reference_is_marked_hidden_there_alone():
    scene = SyntheticScene.from_layers([STILL, layer(Path((44, 36), velocity=(30, 0)))], SIZE)
    visible = scene.visible(0.5)
    assert visible.shape == (2, *SIZE) and set(np.unique(visible)) <= {0, 1}
    y = 36
    assert (
        visible[0, y, 14] == 0 and visible[1, y, 14] == 1
    )  # the layer is about x = 29 at time 0, 44 at 0.5 and 59 at time 1
    assert visible[0, y, 74] == 1 and visible[1, y, 74] == 0
    assert visible[:, y, 44].all()


def test_points_that_leave_the_frame_are_not_visible():
    scene = SyntheticScene.from_layers(
        [Layer(smooth(3, 150, 170), Path((44, 36), velocity=(20, 0)))], SIZE
    )
    visible = scene.visible(0.5)
    assert not visible[0, :, :9].any() and visible[0, :, 11:].all()
    assert not visible[1, :, -9:].any() and visible[1, :, :-11].all()


def test_a_nearer_layer_hides_a_farther_one():
    far, near = (
        layer(Path((44, 36))),
        Layer(cut_out(np.full((40, 40, 3), 200, np.uint8), disc(40)), Path((44, 36))),
    )
    image = SyntheticScene.from_layers([STILL, far, near], SIZE).render([0])[0]
    assert (image[36, 44] == 200).all()


def test_what_lies_on_the_glass_does_not_follow_the_camera():
    glass = Layer(cut_out(smooth(7, 40, 40), disc(40)), Path((44, 36)), follows=False)
    scene = SyntheticScene.from_layers(
        [STILL, glass], SIZE, camera=Path((43.5, 35.5), velocity=(10, 0))
    )
    flow = scene.flow(0.5)
    assert np.allclose(flow[:, 36, 44], 0, atol=1e-4)
    assert np.allclose(flow[:, 5, 5], [-5, 0, 5, 0], atol=1e-3)


def test_random_scenes_agree_with_their_flow():
    worst = []
    for seed in range(12):
        scene = SyntheticScene(np.random.default_rng([3, seed]), SIZE)
        scene.gain = scene.grain = 0
        worst.append(max(errors(scene, 0.5)))
    assert np.mean(worst) < 4  # hard texture edges and layer borders are what remains


def test_a_scene_follows_from_its_generator_and_a_frame_from_its_time():
    first, second = (SyntheticScene(np.random.default_rng(5), SIZE) for _ in range(2))
    frames = first.render([0, 0.5, 1, -7, 7])
    assert frames.shape == (5, *SIZE, 3) and frames.dtype == np.uint8
    assert np.array_equal(frames[[3, 1]], second.render([-7, 0.5])), (
        "a frame depends on what else was rendered"
    )
    assert not np.array_equal(
        frames, SyntheticScene(np.random.default_rng(6), SIZE).render([0, 0.5, 1, -7, 7])
    )


def test_real_frames_serve_as_textures():
    class Still:
        def __len__(self):
            return 3

        def read(self, indices):
            return np.full((len(indices), 100, 120, 3), (10, 200, 30), np.uint8)

    images = np.concatenate(
        [
            SyntheticScene(np.random.default_rng(seed), SIZE, [Still()]).render([0])
            for seed in range(10)
        ]
    )
    assert np.all(np.abs(images.astype(int) - (10, 200, 30)) < 12, -1).mean() > 0.4


def test_motion_is_mostly_small_with_a_tail_that_grows_with_the_crop():
    rng = np.random.default_rng(0)
    values = np.array([speed(rng, (224, 224)) for _ in range(4000)])
    assert 0.7 < np.mean(values < 8) < 0.9 and values.max() <= 60 and np.mean(values > 25) > 0.01
    assert max(speed(rng, (64, 64)) for _ in range(2000)) <= 60 * 64 / 224


def test_paths_are_smooth_and_not_linear():
    rng = np.random.default_rng(1)
    path = draw_path(rng, (30, 30), 20.0)
    points = np.array([path.matrix(t, (0, 0))[:2, 2] for t in np.linspace(-7, 8, 301)])
    second = np.linalg.norm(np.diff(points, 2, axis=0), axis=1)
    assert second.max() < 0.2 and second.max() > 1e-4  # pixels per (a twentieth of a unit) squared


@pytest.mark.parametrize("shape", [(20, 33), (150, 90)])
@pytest.mark.parametrize("draw", TEXTURES)
def test_textures_have_the_size_asked_for(draw, shape):
    for seed in range(3):
        picture = draw(np.random.default_rng(seed), *shape)
        assert picture.shape == (*shape, 3) and picture.dtype == np.uint8


@pytest.mark.parametrize("size", [14, 30, 120])
@pytest.mark.parametrize("draw", OUTLINES)
def test_outlines_are_filled_and_fade_out_at_their_border(draw, size):
    for seed in range(5):
        mask = draw(np.random.default_rng(seed), size)
        assert mask.dtype == np.uint8 and mask.max() == 255
        assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
