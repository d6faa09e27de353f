"""Pictures show what their legends say."""

import numpy as np
import pytest
import torch

from lift.evaluation import figures as pictures

DIRECTIONS = {  # of the program that was published with the colours
    "right": ((1, 0), (255, 0, 0)),
    "down": ((0, 1), (255, 230, 0)),
    "left": ((-1, 0), (0, 209, 255)),
    "up": ((0, -1), (88, 0, 255)),
}


def _flow(vector, size=(4, 6)):
    return np.broadcast_to(np.array(vector, np.float32), (*size, 2))


@pytest.mark.parametrize(("vector", "color"), DIRECTIONS.values(), ids=DIRECTIONS)
def test_directions_have_the_documented_colors(vector, color):
    image = pictures.flow_to_color(_flow(vector), limit=1)
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8
    assert np.abs(image[0, 0].astype(int) - color).max() <= 1


def test_hues_are_those_of_middlebury():
    hues = np.round(255 * pictures.flow_hues()).astype(int)
    primary = {0: "red", 15: "yellow", 21: "green", 25: "cyan", 36: "blue", 49: "magenta"}
    assert len(hues) == 55
    assert [tuple(hues[k]) for k in primary] == [
        (255, 0, 0),
        (255, 255, 0),
        (0, 255, 0),
        (0, 255, 255),
        (0, 0, 255),
        (255, 0, 255),
    ]
    assert tuple(hues[1]) == (255, 17, 0) and tuple(hues[54]) == (255, 0, 42)


def test_a_negative_zero_is_no_other_direction():
    right = pictures.flow_to_color(_flow((1, -0.0)), limit=1)
    assert (right == pictures.flow_to_color(_flow((1, 0.0)), limit=1)).all()


def test_stillness_is_white_and_length_is_saturation():
    assert (pictures.flow_to_color(_flow((0, 0))) == 255).all()
    weak, strong = (pictures.flow_to_color(_flow((x, 0)), limit=8)[0, 0] for x in (2, 6))
    assert weak[1] > strong[1] and weak[0] == strong[0] == 255


def test_flow_beyond_the_limit_is_darker():
    inside, beyond = (pictures.flow_to_color(_flow((x, 0)), limit=8)[0, 0] for x in (8, 50))
    assert tuple(inside) == (255, 0, 0) and tuple(beyond) == (191, 0, 0)


def test_unknown_flow_is_black():
    flow = _flow((1, 0)).copy()
    flow[0, 0] = np.nan
    image = pictures.flow_to_color(flow)
    assert (image[0, 0] == 0).all() and (image[0, 1] == (255, 0, 0)).all()


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


def test_blend_weight_is_the_share_of_the_left_visibility():
    visible, hidden = torch.full((1, 1, 2, 3), 20.0), torch.full((1, 1, 2, 3), -20.0)
    assert pictures.blend_weight(visible, visible) == pytest.approx(np.full((2, 3), 0.5))
    assert pictures.blend_weight(visible, hidden).min() > 0.99
    third = pictures.blend_weight(torch.logit(visible * 0 + 0.3), torch.logit(visible * 0 + 0.6))
    assert third == pytest.approx(np.full((2, 3), 1 / 3), abs=1e-5)


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
