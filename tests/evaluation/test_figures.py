"""Pictures show what their legends say."""

import numpy as np
import pytest

from lift.evaluation import figures as pictures

DIRECTIONS = {
    "right": ((1, 0), (255, 0, 0)),
    "down": ((0, 1), (128, 255, 0)),
    "left": ((-1, 0), (0, 255, 255)),
    "up": ((0, -1), (128, 0, 255)),
}


def _flow(vector, size=(4, 6)):
    return np.broadcast_to(np.array(vector, np.float32), (*size, 2))


@pytest.mark.parametrize(("vector", "color"), DIRECTIONS.values(), ids=DIRECTIONS)
def test_directions_have_the_documented_colors(vector, color):
    image = pictures.flow_to_color(_flow(vector), limit=1)
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8
    assert np.abs(image[0, 0].astype(int) - color).max() <= 1


def test_stillness_is_white_and_length_is_saturation():
    assert (pictures.flow_to_color(_flow((0, 0))) == 255).all()
    weak, strong = (pictures.flow_to_color(_flow((x, 0)), limit=8)[0, 0] for x in (2, 6))
    assert weak[1] > strong[1] and weak[0] == strong[0] == 255


def test_flow_beyond_the_limit_saturates():
    assert (
        pictures.flow_to_color(_flow((50, 0)), limit=8)
        == pictures.flow_to_color(_flow((8, 0)), limit=8)
    ).all()


def test_noise_stays_pale_without_a_limit():
    assert pictures.flow_to_color(_flow((0.01, 0))).min() >= 250


def test_flow_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="must be .H, W, 2."):
        pictures.flow_to_color(np.zeros((2, 4, 6)))


def test_the_wheel_shows_each_direction_where_it_points():
    wheel = pictures.color_wheel(65).astype(int)
    places = {"right": (32, 62), "down": (62, 32), "left": (32, 2), "up": (2, 32)}
    for name, place in places.items():
        assert np.abs(wheel[place] - DIRECTIONS[name][1]).max() < 40, name
    assert (wheel[0, 0] == 255).all()


def test_error_map_has_one_scale_for_all_pictures():
    truth = np.full((4, 4, 3), 100, np.uint8)
    none, some, full, beyond = (
        pictures.error_map(truth + np.uint8(d), truth)[0, 0].astype(int).sum()
        for d in (0, 8, 32, 90)
    )
    assert none < 20 and none < some < full == beyond
    other = np.zeros((9, 4, 3), np.uint8)
    other[0, 0] = 8  # the rest of the picture does not change what eight levels look like
    assert pictures.error_map(other, np.zeros_like(other))[0, 0].astype(int).sum() == some
    assert (
        pictures.error_map(truth, truth + np.uint8(8))
        == pictures.error_map(truth + np.uint8(8), truth)
    ).all()


def test_caption_adds_a_strip_and_leaves_the_image():
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    image = np.full((30, 120, 3), 77, np.uint8)
    shown = pictures.caption(image, "LIFT")
    assert shown.shape == (52, 120, 3) and (shown[22:] == 77).all() and shown[:22].max() > 128


def test_panel_is_written_whole(tmp_path):
    flow = pictures.Tile("flow", pictures.flow_to_color(_flow((1, 0))), wheel=True)
    tiles = [
        [pictures.Tile("a", np.zeros((32, 48, 3), np.uint8)), flow],
        [pictures.Tile("b", np.full((32, 48, 3), 255, np.uint8))],
    ]
    path = tmp_path / "new" / "panel.png"
    pictures.panel(path, tiles, ([-1.0, 0.0, 1.0, 2.0], [0.1, 0.4, 0.4, 0.1]), "title")
    assert path.read_bytes().startswith(b"\x89PNG") and list(path.parent.iterdir()) == [path]


def test_attention_bars_have_the_shares_as_heights():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.add_subplot()
    pictures.draw_attention(axes, [-1.0, 0.0, 1.0], [0.2, 0.5, 0.3])
    assert [bar.get_height() for bar in axes.patches] == [0.2, 0.5, 0.3]
    left, right = axes.patches[1].get_facecolor(), axes.patches[2].get_facecolor()
    assert left == right != axes.patches[0].get_facecolor()
