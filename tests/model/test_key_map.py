"""Weights under the layers' former names: they load, and predict what they always did."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch

from lift.config import Config
from lift.data.clip import Clip
from lift.errors import LiftError
from lift.model.bundled import pretrained_path
from lift.model.key_map import RENAMED, current_key
from lift.model.lift import LIFT
from lift.model.weights import load_into, load_weights, read_safetensors, save_weights
from tests.support.models import TINY


def shipped() -> dict[str, torch.Tensor]:
    return read_safetensors(pretrained_path("tiny"))[0]


def former(key: str) -> str:
    """The name under which a parameter was stored before."""
    for old, new in RENAMED.items():
        for index in ("", *map(str, range(8))):
            start = new.replace("*", index)
            if key == start or key.startswith(start + "."):
                return old.replace("*", index) + key[len(start) :]
    return key


def test_every_shipped_tensor_has_a_place_in_the_model():
    model, _ = load_weights(pretrained_path("tiny"))
    state = model.state_dict()
    found = {current_key(key): tensor for key, tensor in shipped().items()}
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in state.items()}
    assert len(found) == len(shipped()) == 173
    assert all(torch.equal(state[key], tensor) for key, tensor in found.items())


@pytest.mark.parametrize("old", RENAMED)
def test_every_former_name_maps_and_todays_stay(old):
    key, new = (f"{name.replace('*', '3')}.weight" for name in (old, RENAMED[old]))
    assert current_key(key) == new and current_key(new) == new


def test_every_rule_applies_to_a_parameter_of_the_model():
    keys = set(LIFT(replace(TINY, self_attention=True)).state_dict())
    used = {former(key) for key in keys}
    for old in RENAMED:
        assert any(name.startswith(old.replace("*", "0")) for name in used), old


def test_a_checkpoint_under_former_names_loads(tmp_path):
    """With self-attention, which the shipped weights lack."""
    config = replace(TINY, self_attention=True)
    model, path = LIFT(config), tmp_path / "old.safetensors"
    save_weights(path, model, Config(config))
    tensors, header = read_safetensors(path)
    old = {former(key): tensor for key, tensor in tensors.items()}
    assert "transformer.frame_attention.query.weight" in old and "refine.still" in old
    safetensors.torch.save_file(old, path, header)
    torch.manual_seed(5)
    other = LIFT(config)
    load_into(other, path)
    assert all(torch.equal(x, other.state_dict()[key]) for key, x in model.state_dict().items())


def test_weights_are_written_under_todays_names(tmp_path):
    model, config = load_weights(pretrained_path("tiny"))
    save_weights(tmp_path / "new.safetensors", model, config)
    assert set(read_safetensors(tmp_path / "new.safetensors")[0]) == set(model.state_dict())


def test_an_unknown_name_is_refused(tmp_path):
    model, path = LIFT(TINY), tmp_path / "odd.safetensors"
    save_weights(path, model, Config(TINY))
    tensors, header = read_safetensors(path)
    safetensors.torch.save_file(tensors | {"flow.block4.matched": torch.ones(1)}, path, header)
    with pytest.raises(LiftError, match="flow.block4.matched is not known"):
        load_weights(path)


def moving_pattern(count: int = 8, size: tuple[int, int] = (48, 64)) -> torch.Tensor:
    """Waves that accelerate, from formulas alone: (1, count, 3, H, W)."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    frames = []
    for k in range(count):
        a, b = x - 2.5 * k, y + 1.25 * k - 0.1 * k * k
        waves = [
            torch.sin(a / 3 + c) * torch.cos(b / (4 + c)) + torch.sin((a + b) / 11)
            for c in range(3)
        ]
        frames.append(torch.stack(waves) / 4 + 0.5)
    return torch.stack(frames)[None].float()


@torch.no_grad()
def test_the_shipped_weights_predict_what_they_did_when_they_were_made():
    """Figures of the code that they were made for; processors differ in the last bits."""
    model, _ = load_weights(pretrained_path("tiny"), kernels="reference")
    times = torch.arange(8.0)[None] - 3
    clip = Clip(moving_pattern(), times, torch.ones(1, 8, dtype=torch.bool), 3)
    prediction = model(clip, torch.tensor([0.375]))

    def close(found, wanted):
        assert found == pytest.approx(wanted, abs=2e-5)

    close(prediction.frame[0, :, 20, 30].tolist(), [0.473041, 0.278982, 0.257912])
    close(prediction.coarse[0, :, 3, 4].tolist(), [0.680973, 0.845115, 0.872074])
    close(prediction.frame.std().item(), 0.21413)
    close(prediction.flow_t0.mean((0, 2, 3)).tolist(), [-0.18821, 0.037642])
    close(prediction.flow_t1.mean((0, 2, 3)).tolist(), [0.334619, -0.044081])
    close(prediction.occ_t0.mean().item(), -0.111633)
    close(
        prediction.attention[0].tolist(),
        [0.085537, 0.119203, 0.151019, 0.142587, 0.128038, 0.130778, 0.123855, 0.118984],
    )


@torch.no_grad()
def test_with_the_shipped_weights_fused_kernels_predict_what_the_reference_does():
    """Smooth motion, unlike noise: propagation does not enlarge rounding there."""
    clip = Clip(moving_pattern(), torch.arange(8.0)[None] - 3, torch.ones(1, 8).bool(), 3)
    found, expected = (
        load_weights(pretrained_path("tiny"), kernels=k)[0](clip, torch.tensor([0.375]))
        for k in ("auto", "reference")
    )
    torch.testing.assert_close(found.frame, expected.frame, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.flow_t0, expected.flow_t0, atol=1e-5, rtol=0)
