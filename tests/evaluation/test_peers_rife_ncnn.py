"""rife-ncnn-vulkan is run on a pair of PNG files, and its errors are passed on."""

import argparse
import hashlib
import sys

import numpy as np
import pytest
import torch

from lift.errors import LiftError
from lift.evaluation.peers import add_flags, method

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
AVERAGE = """
import cv2
import numpy as np
images = [cv2.imread(args[name]).astype(np.float32) for name in ("-0", "-1")]
t = float(args.get("-s", 0.5))
cv2.imwrite(args["-o"], np.round((1 - t) * images[0] + t * images[1]))
"""


def _program(folder, body):
    """A program that takes the flags of rife-ncnn-vulkan."""
    path = folder / "rife-ncnn-vulkan"
    read = "import sys\nargs = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
    path.write_text(f"#!{sys.executable}\n{read}{body}")
    path.chmod(0o755)
    return path


def _method(*flags):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    arguments = parser.parse_args([str(flag) for flag in flags])
    return method("rife_ncnn", arguments, torch.device("cpu"))


def test_the_pair_at_left_and_the_time_reach_the_program(tmp_path):
    program = _program(tmp_path, AVERAGE)
    found = _method("--rife_ncnn", program, "--rife_ncnn_model", "rife-v4.6")
    frame = found.interpolate(FRAMES, [-1.0, 0.0, 1.0], 1, 0.25)
    assert frame.dtype == np.float32
    np.testing.assert_allclose(frame, 0.75 * FRAMES[1] + 0.25 * FRAMES[2], atol=0.51)
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    assert f"(SHA-256 {digest}), model rife-v4.6" in found.about


@pytest.mark.parametrize(
    "t, flags, expected",
    [
        (0.5, (), ()),  # models before 4 know no other time
        (0.125, (), ("-s", "0.125")),
        (0.5, ("--rife_ncnn_model", "rife-v2.3"), ("-m", "rife-v2.3")),
        (0.5, ("--rife_ncnn_gpu", "-1"), ("-g", "-1")),
    ],
)
def test_options_of_the_program(tmp_path, t, flags, expected):
    body = f"open({str(tmp_path / 'log')!r}, 'w').write(' '.join(sys.argv[7:]))\n{AVERAGE}"
    _method("--rife_ncnn", _program(tmp_path, body), *flags).interpolate(FRAMES, [0.0, 1.0], 0, t)
    assert (tmp_path / "log").read_text().split() == list(expected)


def test_a_folder_with_a_model_is_given_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rife-v4.6").mkdir()
    check = f"assert args['-m'] == {str(tmp_path / 'rife-v4.6')!r}\n{AVERAGE}"
    found = _method("--rife_ncnn", _program(tmp_path, check), "--rife_ncnn_model", "rife-v4.6")
    found.interpolate(FRAMES, [0.0, 1.0], 0, 0.5)


def test_a_name_on_the_path_is_found(tmp_path, monkeypatch):
    _program(tmp_path, AVERAGE)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert _method("--rife_ncnn", "rife-ncnn-vulkan").name == "rife_ncnn"


@pytest.mark.parametrize(
    "body, sentence",
    [
        ("print('vkCreateInstance failed -9', file=sys.stderr); sys.exit(255)", "vkCreateInstance"),
        (
            "print('decode image failed', file=sys.stderr)",
            "generated no frame .decode image failed",
        ),
        ("sys.exit(3)", "exit code 3, no message"),
        ("import os; os.abort()", "exit code -6"),
        (AVERAGE.replace("np.round(", "np.zeros((4, 4)) + 0 * np.mean("), "4x4, not 7x9"),
        ("open(args['-o'], 'w').write('no image')", "out.png"),
    ],
)
def test_errors_of_the_program_are_one_sentence(tmp_path, body, sentence):
    with pytest.raises(LiftError, match=sentence) as raised:
        _method("--rife_ncnn", _program(tmp_path, body)).interpolate(FRAMES, [0.0, 1.0], 0, 0.5)
    assert "\n" not in str(raised.value)


def test_a_missing_or_unsuitable_program_is_named(tmp_path):
    with pytest.raises(
        LiftError, match="--rife_ncnn is missing; give the program rife-ncnn-vulkan"
    ):
        _method()
    with pytest.raises(LiftError, match="--rife_ncnn: .*no does not exist"):
        _method("--rife_ncnn", tmp_path / "no")
    program = _program(tmp_path, AVERAGE)
    program.chmod(0o644)
    with pytest.raises(LiftError, match="may not be run; chmod"):
        _method("--rife_ncnn", program)
    program.write_bytes(b"MZ of another system")
    program.chmod(0o755)
    with pytest.raises(LiftError, match="cannot be run .*give the program for this system"):
        _method("--rife_ncnn", program).interpolate(FRAMES, [0.0, 1.0], 0, 0.5)
