"""Weights: what is written comes back; any other file is an error of one sentence."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from lift.config import Config
from lift.data.clip import Clip
from lift.errors import LiftError
from lift.model.bundled import pretrained_path
from lift.model.lift import LIFT
from lift.model.weights import (
    HEADER,
    load_into,
    load_weights,
    read_weights,
    save_small,
    save_weights,
)
from lift.training.losses import batch_psnr
from tests.support.models import TINY


@pytest.fixture
def model():
    return LIFT(TINY)


@pytest.fixture
def file(tmp_path, model):
    save_weights(tmp_path / "weights.safetensors", model, Config(TINY), step="7")
    return tmp_path / "weights.safetensors"


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def one_sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text
    return text


# -- there and back --------------------------------------------------------------------------------


def test_a_model_comes_back_with_its_configuration(model, file):
    loaded, config = load_weights(file)
    assert same(loaded, model) and config == Config(TINY) and not loaded.training
    assert read_weights(file)[2]["step"] == "7"


def test_weights_go_into_a_model_that_exists(model, file):
    torch.manual_seed(5)
    other = LIFT(TINY)
    assert not same(other, model)
    load_into(other, file)
    assert same(other, model)


def test_half_a_file_never_stands_under_the_final_name(model, file, monkeypatch):
    before = file.read_bytes()

    def full(self, data):
        with open(self, "wb") as f:
            f.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=str(file)):
        save_weights(file, model, Config(TINY))
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_bundled_weights_are_named_after_their_preset():
    assert pretrained_path("tiny").parts[-3:] == ("lift", "weights", "tiny.safetensors")


# -- small files -----------------------------------------------------------------------------------


def test_float32_is_kept_where_it_fits(model, tmp_path):
    [path] = save_small(tmp_path / "a.safetensors", model, Config(TINY), limit=10**9)
    assert same(load_weights(path)[0], model)


def test_weights_of_half_the_bytes_answer_within_60_decibels(tmp_path):
    """The shipped weights stored in float16, on a texture that moves; of noise the motion may be
    another one.
    """
    model, config = load_weights(pretrained_path("tiny"))
    for p in model.parameters():  # so that they are no float16 numbers, however they are stored
        p.data *= 1 + torch.rand_like(p) * 2**-10
    [path] = save_small(tmp_path / "a.safetensors", model, config, 10**9, "float16")
    assert path.stat().st_size < 0.6 * 4 * model.count_parameters()["total"]
    half, _ = load_weights(path)
    assert all(p.dtype == torch.float32 for p in half.parameters()) and not same(half, model)
    picture = F.interpolate(torch.rand(1, 3, 16, 16), (64, 96), mode="bicubic").clamp(0, 1)
    clip = Clip(
        torch.stack([picture[..., 4 * k : 4 * k + 64] for k in range(4)], 1),
        torch.tensor([[-1.0, 0, 1, 2]]),
        torch.ones(1, 4, dtype=torch.bool),
        1,
    )
    with torch.inference_mode():
        one, other = (m(clip, torch.tensor([0.5])).frame for m in (model, half))
    assert batch_psnr(one, other).item() > 60


def test_weights_in_parts_come_back_whole(model, tmp_path):
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    paths = save_small(
        tmp_path / "a.safetensors", model, Config(TINY), limit=size // 5 + HEADER, step="3"
    )
    assert [path.name for path in paths] == ["a.safetensors", "a.2.safetensors", "a.3.safetensors"]
    loaded, config = load_weights(paths[0])
    assert config == Config(TINY) and read_weights(paths[0])[2]["step"] == "3"
    for name, tensor in loaded.state_dict().items():
        stored = model.state_dict()[name]
        stored = stored.half().float() if stored.ndim > 1 else stored
        assert torch.equal(tensor, stored), name


@pytest.mark.parametrize("dtype, bytes_each", [("auto", 4), ("float32", 4), ("float16", 2)])
def test_the_dtype_of_the_file_may_be_chosen(model, tmp_path, dtype, bytes_each):
    paths = save_small(tmp_path / "a.safetensors", model, Config(TINY), 10**9, dtype)
    stored = read_weights(paths[0])[0]
    assert {t.itemsize for t in stored.values() if t.ndim > 1} == {bytes_each}
    assert {t.itemsize for t in stored.values() if t.ndim < 2} == {4}
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    parts = save_small(tmp_path / "b.safetensors", model, Config(TINY), size // 3 + HEADER, dtype)
    assert len(parts) == {"auto": 2, "float32": 4, "float16": 2}[dtype]
    assert all(path.stat().st_size <= size // 3 + HEADER for path in parts)
    assert dtype != "float32" or same(load_weights(parts[0])[0], model)


@pytest.mark.parametrize(
    "value, dtype",
    [(1e5, torch.float32), (1e-6, torch.float32), (0.0, torch.float16), (3e-3, torch.float16)],
)
def test_what_float16_cannot_hold_stays_in_float32(model, tmp_path, value, dtype):
    """Beyond its range, or so small that the error is larger than that of rounding."""
    name = next(name for name, p in model.named_parameters() if p.ndim == 4)
    weight = model.get_parameter(name)
    weight.data = torch.linspace(1, 1.5, weight.numel()).view_as(weight) * value
    [path] = save_small(tmp_path / "a.safetensors", model, Config(TINY), 10**9, "float16")
    stored = read_weights(path)[0][name]
    assert stored.dtype == dtype
    torch.testing.assert_close(stored.float(), weight.data, rtol=2**-11, atol=0)


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda part, other: part.unlink(), "not a file"),
        (lambda part, other: part.write_bytes(other.read_bytes()), "not the part"),
    ],
)
def test_a_part_that_is_missing_or_another_is_refused_by_name(model, tmp_path, spoil, reason):
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    path, part, other = save_small(
        tmp_path / "a.safetensors", model, Config(TINY), limit=size // 5 + HEADER
    )
    spoil(part, other)
    with pytest.raises(LiftError, match=reason) as error:
        load_weights(path)
    assert str(part) in one_sentence(error)


# -- files that are refused ------------------------------------------------------------------------


def _truncated(file):
    file.write_bytes(file.read_bytes()[:-100])


def _header(file):
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])


def _foreign(file):
    safetensors.torch.save_file({"a": torch.zeros(2)}, file)


def _newer(file):
    safetensors.torch.save_file(
        {"a": torch.zeros(2)}, file, {"format": "lift", "config": '{"model": {"unheard_of": 1}}'}
    )


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (_truncated, "corrupt"),
        (_header, "corrupt"),
        (lambda file: file.write_bytes(b""), "corrupt"),
        (lambda file: file.unlink(), "not a file"),
        (_foreign, "holds no LIFT weights"),
        (_newer, "unheard_of"),
    ],
)
@pytest.mark.parametrize("load", [load_weights, lambda file: load_into(LIFT(TINY), file)])
def test_a_file_that_is_no_weights_is_refused(file, spoil, reason, load):
    spoil(file)
    with pytest.raises(LiftError, match=reason) as error:
        load(file)
    assert str(file) in one_sentence(error)


def test_another_preset_is_refused_and_named(model, file):
    with pytest.raises(LiftError, match="preset is tiny there and base here") as error:
        load_into(LIFT(replace(TINY, preset="base", window=2)), file)
    assert "window is 4 there and 2 here" in one_sentence(error)


def test_a_tensor_of_another_shape_is_refused_and_the_model_left_as_it_was(model, file):
    tensors, header = safetensors.torch.load_file(file), {"format": "lift"}
    with safetensors.safe_open(file, "pt") as opened:
        header |= opened.metadata()
    name = next(iter(tensors))
    tensors[name] = torch.zeros(3, 1)
    safetensors.torch.save_file(tensors, file, header)
    torch.manual_seed(5)
    other = LIFT(TINY)
    before = {n: t.clone() for n, t in other.state_dict().items()}
    with pytest.raises(LiftError, match="does not fit"):
        load_into(other, file)
    assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items())
