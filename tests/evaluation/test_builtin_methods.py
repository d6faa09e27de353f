"""Methods under test: LIFT, baselines, a user's functions and saved frames."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from lift.errors import LiftError
from lift.evaluation.builtin_methods import (
    BASELINES,
    SavedFrames,
    baseline,
    function_method,
    lift_method,
)
from tests.support.published_folders import texture
from tests.support.video_samples import moving_frames

FRAMES, TIMES = np.stack(moving_frames(4, 32, 48)), [-1.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("t", [0.25, 0.5])
def test_baselines_generate_unrounded_frames_at_any_time(name, t):
    method = baseline(name)
    frame = method.interpolate(FRAMES, TIMES, 1, t)
    assert method.name == name and frame.shape == FRAMES[0].shape
    assert frame.dtype == (np.uint8 if name in ("copy", "nearest") else np.float32)


def test_lift_gets_the_times_and_its_frame_is_clamped_and_not_rounded():
    class Model(torch.nn.Module):
        def forward(self, clip, t):
            assert clip.times.tolist() == [TIMES] and clip.left == 1 and t.tolist() == [0.25]
            return SimpleNamespace(
                frame=clip.references[0] * 0.5 + torch.tensor([2.0, 0, -1])[:, None, None]
            )

    method = lift_method(Model(), 4, "weights")
    frame = method.interpolate(FRAMES, TIMES, 1, 0.25)
    assert (method.name, method.context_frames, method.about) == ("lift_4", 4, "weights")
    assert (frame[..., 0] == 255).all() and (frame[..., 2] == 0).all()
    assert frame[..., 1] == pytest.approx(FRAMES[1][..., 1] / 2, abs=1e-3)


# -- functions -------------------------------------------------------------------------------------


def source(tmp_path, text: str) -> str:
    (tmp_path / "mine.py").write_text(text)
    return f"{tmp_path / 'mine.py'}:middle"


def test_a_function_of_a_file_may_import_what_lies_beside_it(tmp_path):
    (tmp_path / "beside.py").write_text("HALF = 0.5")
    text = "from beside import HALF\ndef middle(a, b, t):\n    return a * (1 - t) + b * t + HALF\n"
    method = function_method(source(tmp_path, text))
    frame = method.interpolate(FRAMES, TIMES, 1, 0.5)
    assert method.name == "middle" and method.context_frames == 2
    assert frame == pytest.approx((FRAMES[1] / 2 + FRAMES[2] / 2) + 0.5)
    changed = function_method(source(tmp_path, text + "# another\n"))
    assert changed.about != method.about  # rows of both do not mix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def other(a, b, t): ...", "mine.py has no function middle"),
        ("import nothing_of_this_name", "cannot be imported .ModuleNotFoundError in line 1"),
        ("def middle(a, b, t):\n    return a[", "cannot be imported .SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path, text, message):
    with pytest.raises(LiftError, match=message):
        function_method(source(tmp_path, text))


def test_a_call_that_fails_names_the_line(tmp_path):
    method = function_method(source(tmp_path, "def middle(a, b, t):\n\n    return a / None\n"))
    with pytest.raises(LiftError, match="middle of .*mine.py failed .TypeError in line 3"):
        method.interpolate(FRAMES, TIMES, 1, 0.5)


def middle_of(tmp_path, body: str) -> np.ndarray:
    """What `middle` with this body generates between a black and a white frame."""
    text = f"import sys\nimport torch\n\ndef middle(a, b, t):\n    {body}\n"
    method = function_method(source(tmp_path, text))
    frames = np.stack([np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)])
    return method.interpolate(frames, [0.0, 1.0], 0, 0.5)


def test_a_function_may_return_a_tensor_that_requires_gradients(tmp_path):
    frame = middle_of(tmp_path, "return torch.full(a.shape, 7.0, requires_grad=True)")
    assert isinstance(frame, np.ndarray) and frame.mean() == 7


def test_a_frame_of_a_function_may_overshoot_or_be_black(tmp_path):
    assert middle_of(tmp_path, "return b + 20.0").max() == 275
    assert middle_of(tmp_path, "return a * 0.0").max() == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return b / 255", r"values from 1 to 1, not in \[0, 255\]"),
        ("return b * 257.0", r"values from 6.554e\+04"),
        ("return b > 100", "bool values, and not uint8 or float"),
        ("return b.astype('int8')", "int8 values"),
        ("return b * 1j", "complex128 values"),
        ("return 'frame'", "and not uint8 or float"),
        ("return None", "object values"),
        ("sys.exit(3)", r"SystemExit in line 5: 3"),
    ],
)
def test_what_is_no_frame_in_0_to_255_is_refused(tmp_path, body, message):
    with pytest.raises(LiftError, match=message):
        middle_of(tmp_path, body)


def test_the_file_of_a_function_may_define_dataclasses_and_import_late(tmp_path):
    (tmp_path / "later.py").write_text("VALUE = 9\n")
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Options:\n    size: int = 1\n\n"
        "def middle(a, b, t):\n    import later\n    return a * 0.0 + later.VALUE\n"
    )
    method = function_method(source(tmp_path, text))
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    assert method.interpolate(frames, [0.0, 1.0], 0, 0.5).max() == 9


def test_a_file_that_ends_the_program_is_one_sentence(tmp_path):
    with pytest.raises(LiftError, match="cannot be imported .SystemExit in line 2: 2"):
        function_method(source(tmp_path, "import sys\nsys.exit(2)\ndef middle(a, b, t): ..."))


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(LiftError, match="mine.py is not a file; --methods takes"):
        function_method(f"{tmp_path}/mine.py:middle")


# -- saved frames ----------------------------------------------------------------------------------


def test_saved_frames_are_found_by_the_name_of_the_sample(tmp_path):
    (tmp_path / "easy").mkdir()
    frame = texture(16, 24)
    cv2.imwrite(str(tmp_path / "easy" / "0001.bmp"), frame[..., ::-1])
    saved = SavedFrames("mine", tmp_path)
    assert (saved.read("easy/0001", (16, 24, 3)) == frame).all()
    with pytest.raises(LiftError, match="easy/0002.png does not exist; --frames mine="):
        saved.read("easy/0002", (16, 24, 3))
    with pytest.raises(LiftError, match="0001.bmp is 24x16 .*, is 48x32; save"):
        saved.read("easy/0001", (32, 48, 3))


def test_other_saved_frames_are_another_method(tmp_path):
    before = SavedFrames("mine", tmp_path).about
    (tmp_path / "a.png").write_bytes(b"1")
    assert SavedFrames("mine", tmp_path).about != before
