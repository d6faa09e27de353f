"""RIFE, IFRNet and EMA-VFI: code and weights of the user's copies are found, fitted and run."""

import argparse
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from lift.errors import LiftError
from lift.evaluation.peers import add_flags, method
from tests.support.peer_checkouts import (
    EMAVFI,
    IFRNET,
    MARK,
    PRACTICAL_CODE,
    PRACTICAL_MODEL,
    RIFE,
    save_weights,
    write_files,
)

GAIN = 0.5  # of all weights here
FRAMES = np.random.default_rng(0).integers(0, 200, (2, 37, 53, 3), dtype=np.uint8)
RED, BLUE = 0, 2


@pytest.fixture(autouse=True)
def _the_interpreter_is_as_before():
    def state():
        names = {name.partition(".")[0] for name in sys.modules}
        own = names & {"model", "models", "train_log", "utils", "loss", "config", "Trainer"}
        return own, list(sys.path), list(sys.meta_path), vars(torch.Tensor).get("cuda")

    before = state()
    yield
    assert state() == before


def _method(name, *flags):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return method(name, parser.parse_args([str(flag) for flag in flags]), torch.device("cpu"))


def _rife(folder, *flags, count=1):
    code = write_files(folder / "code", RIFE)
    weights = save_weights(folder / "weights" / "flownet.pkl", count)
    return _method("rife", "--rife_code", code, "--rife_weights", weights.parent, *flags)


def _practical(folder, *flags):
    code = write_files(folder / "code", PRACTICAL_CODE)
    weights = save_weights(folder / "RIFEv4.25_0919" / "flownet.pkl")
    write_files(weights.parent, PRACTICAL_MODEL)
    return _method("rife", "--rife_code", code, "--rife_weights", weights, *flags)


def _ifrnet(folder, *flags, count=1, name="IFRNet_GoPro.pth"):
    code = write_files(folder / "code", IFRNET)
    weights = save_weights(folder / name, count, "gain")
    return _method("ifrnet", "--ifrnet_code", code, "--ifrnet_weights", weights, *flags)


def _emavfi(folder, *flags, count=32, name="ours_t.pkl"):
    code = write_files(folder / "code", EMAVFI)
    weights = save_weights(folder / name, count, "module.feature_bone.gain")
    return _method("emavfi", "--emavfi_code", code, "--emavfi_weights", weights, *flags)


def _check(found, t=0.5, marked=RED, frames=FRAMES, gain=GAIN):
    """The frame that the made-up networks generate, in float32."""
    expected = gain * ((1 - t) * frames[0].astype(np.float32) + t * frames[1])
    expected[..., marked] += MARK
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-2)


# -- what is generated -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, options, t, marked",
    [
        (_rife, {}, 0.5, BLUE),
        (_rife, {"count": 2}, 0.3, BLUE),
        (_practical, {}, 0.3, RED),
        (_ifrnet, {}, 0.3, RED),
        (_ifrnet, {"count": 2}, 0.3, RED),
        (_ifrnet, {"name": "IFRNet_Vimeo90K.pth"}, 0.5, RED),
        (_emavfi, {}, 0.3, BLUE),
        (_emavfi, {"count": 16}, 0.3, BLUE),
        (_emavfi, {"name": "ours.pkl"}, 0.5, BLUE),
    ],
)
def test_the_users_code_runs_with_the_users_weights(tmp_path, make, options, t, marked):
    found = make(tmp_path, **options)
    assert found.context_frames == 2
    _check(found.interpolate(FRAMES, [0.0, 1.0], 0, t), t, marked)


@pytest.mark.parametrize(
    "make, options",
    [
        (_rife, {}),
        (_ifrnet, {"name": "IFRNet_Vimeo90K.pth"}),
        (_emavfi, {"name": "ours_small.pkl", "count": 16}),
    ],
)
def test_weights_that_learned_the_middle_reach_quarters_and_no_thirds(tmp_path, make, options):
    found = make(tmp_path, **options)
    with pytest.raises(LiftError, match=f"{found.name} with these weights .* does not reach t ="):
        found.interpolate(FRAMES, [0.0, 1.0], 0, 1 / 3)
    frame0, frame1 = FRAMES.astype(np.float32)
    middle = GAIN * (frame0 + frame1) / 2
    expected = GAIN * (frame0 + middle) / 2
    marked = RED if make is _ifrnet else BLUE
    expected[..., marked] += MARK * (1 + GAIN / 2)
    found = found.interpolate(FRAMES, [0.0, 1.0], 0, 0.25)
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize("make", (_ifrnet, _emavfi))
def test_the_user_decides_where_the_name_of_the_weights_does_not(tmp_path, make):
    found = make(tmp_path, "--peer_time", "any", name="mine.pkl")
    _check(found.interpolate(FRAMES, [0.0, 1.0], 0, 1 / 3), 1 / 3, RED if make is _ifrnet else BLUE)
    with pytest.raises(LiftError, match="does not reach"):
        make(tmp_path, "--peer_time", "halves").interpolate(FRAMES, [0.0, 1.0], 0, 1 / 3)


def test_the_practical_models_code_lies_beside_a_link_to_the_weights_too(tmp_path):
    weights = save_weights(tmp_path / "elsewhere" / "flownet.pkl")
    log = write_files(tmp_path / "train_log", PRACTICAL_MODEL)
    (log / "flownet.pkl").symlink_to(weights)
    code = write_files(tmp_path / "code", PRACTICAL_CODE)
    found = _method("rife", "--rife_code", code, "--rife_weights", log)
    _check(found.interpolate(FRAMES, [0.0, 1.0], 0, 0.5))


def test_two_models_whose_packages_share_names_run_in_turns(tmp_path):
    makers = (_rife, _emavfi, _practical, _ifrnet)
    methods = [make(tmp_path / make.__name__) for make in makers]
    for _ in range(2):
        for make, each in zip(makers, methods, strict=True):
            marked = BLUE if make in (_rife, _emavfi) else RED
            _check(each.interpolate(FRAMES, [0.0, 1.0], 0, 0.5), marked=marked)


def test_emavfi_forgets_its_masks_when_the_size_changes(tmp_path):
    found = _emavfi(tmp_path)
    for frames in (FRAMES[:, :32], FRAMES[:, :32].swapaxes(1, 2)):  # of one area
        _check(found.interpolate(frames, [0.0, 1.0], 0, 0.5), 0.5, BLUE, frames)


def test_emavfi_with_flips_asks_for_its_ensemble(tmp_path):
    found = _emavfi(tmp_path, "--emavfi_flips").interpolate(FRAMES, [0.0, 1.0], 0, 0.5)
    expected = _emavfi(tmp_path).interpolate(FRAMES, [0.0, 1.0], 0, 0.5)
    np.testing.assert_allclose(found, 0.5 * expected, atol=1e-3)  # the made-up one halves


@pytest.mark.parametrize(
    "make, scale", [(_rife, 0.25), (_rife, 2), (_ifrnet, 0.8), (_ifrnet, 0.25)]
)
def test_frames_are_padded_for_the_scale_of_the_flow(tmp_path, make, scale):
    found = make(tmp_path, "--peer_scale", scale)
    _check(found.interpolate(FRAMES, [0.0, 1.0], 0, 0.5), marked=BLUE if make is _rife else RED)


# -- what stands beside the scores -----------------------------------------------------------------


def test_about_has_variant_weights_commit_and_preparation(tmp_path):
    found = _rife(tmp_path)
    digest = hashlib.sha256((tmp_path / "weights" / "flownet.pkl").read_bytes()).hexdigest()
    assert f"weights flownet.pkl (SHA-256 {digest})" in found.about
    assert "RIFE, code code at an unknown commit" in found.about
    assert "t = 0.5, other times by halving, BGR, padded to a multiple of 32" in found.about
    git = ["git", "-C", str(tmp_path / "code"), "-c", "user.name=a", "-c", "user.email=b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    ran = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert f"at commit {ran.stdout.strip()}, " in _rife(tmp_path).about


@pytest.mark.parametrize(
    "make, options, variant",
    [
        (_rife, {"count": 2}, "RIFE_m"),
        (_practical, {}, "Practical-RIFE 4.25"),
        (_ifrnet, {"count": 3}, "IFRNet_L"),
        (_emavfi, {"count": 16}, "ours_small"),
    ],
)
def test_the_variant_is_the_one_that_the_weights_fit(tmp_path, make, options, variant):
    assert make(tmp_path, **options).about.startswith(f"{variant}, ")


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", (_rife, _ifrnet, _emavfi))
def test_weights_of_another_version_are_refused(tmp_path, make):
    with pytest.raises(LiftError, match=r"does not fit the code \(.*\); give weights and code of"):
        make(tmp_path, count=5)


@pytest.mark.parametrize(
    "make, files, gone, sentence",
    [
        (_rife, RIFE, "model/RIFE.py", "--rife_code: expected .*RIFE.py .the model of the paper."),
        (_rife, RIFE, "model/IFNet.py", "--rife_code: .* needs model.IFNet, which is not in"),
        (_ifrnet, IFRNET, "models/IFRNet.py", "--ifrnet_code: there is no .*IFRNet.py with Model"),
        (_ifrnet, IFRNET, "utils.py", "--ifrnet_code: .* needs utils, which is not in"),
        (_emavfi, EMAVFI, "Trainer.py", "--emavfi_code: there is no .*Trainer.py with Model"),
        (_emavfi, EMAVFI, "config.py", "--emavfi_code: .* needs config, which is not in"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(".py") else "",
)
def test_a_checkout_without_a_file_is_refused(tmp_path, monkeypatch, make, files, gone, sentence):
    monkeypatch.delitem(files, gone)
    with pytest.raises(LiftError, match=sentence):
        make(tmp_path)


@pytest.mark.parametrize(
    "make, files, name, old, new",
    [
        (_rife, RIFE, "model/RIFE.py", "self.flownet", "self.net"),
        (_emavfi, EMAVFI, "Trainer.py", "self.net", "self.network"),
        (_ifrnet, IFRNET, "models/IFRNet.py", "local_rank=-1", "local_rank"),
    ],
)
def test_a_model_of_another_form_is_refused(tmp_path, monkeypatch, make, files, name, old, new):
    monkeypatch.setitem(files, name, files[name].replace(old, new))
    with pytest.raises(LiftError, match="the model cannot be built from this checkout"):
        make(tmp_path)


def test_an_inference_of_another_form_is_refused(tmp_path, monkeypatch):
    other = RIFE["model/RIFE.py"].replace("inference", "infer_pair")
    monkeypatch.setitem(RIFE, "model/RIFE.py", other)
    with pytest.raises(LiftError, match="rife failed on a pair of 53x37 .AttributeError"):
        _rife(tmp_path).interpolate(FRAMES, [0.0, 1.0], 0, 0.5)


@pytest.mark.parametrize("name", ("rife", "ifrnet", "emavfi"))
def test_missing_flags_and_paths_are_named(tmp_path, name):
    for flags, sentence in (
        ([], f"--{name}_code is missing; give a checkout of github.com/"),
        ([f"--{name}_code", tmp_path / "no"], f"--{name}_code: .*no does not exist"),
        ([f"--{name}_code", __file__], f"--{name}_code: .* is not a folder"),
        ([f"--{name}_code", tmp_path], f"--{name}_weights is missing; give "),
        ([f"--{name}_code", tmp_path, f"--{name}_weights", tmp_path], f"--{name}_weights: "),
    ):
        with pytest.raises(LiftError, match=sentence):
            _method(name, *flags)
