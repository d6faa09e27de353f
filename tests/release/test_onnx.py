from importlib.util import find_spec

import pytest
import torch

from lift.data.clip import Clip
from lift.errors import LiftError
from lift.model.lift import LIFT
from lift.release import onnx


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return LIFT(tiny_config, "reference").eval()


@torch.no_grad()
def test_the_exported_function_is_the_model(model):
    inputs = onnx.example(48, 40, context_frames=5)
    frames, times, mask, t = inputs.values()
    expected = model(Clip(frames, times, mask, 2), t).frame
    assert times.tolist() == [[-2, -1, 0, 1, 2]]
    torch.testing.assert_close(onnx.Interpolation(model, 2)(*inputs.values()), expected)


def test_missing_packages_are_one_sentence(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(LiftError, match="pip install onnx onnxscript"):
        onnx.export(model, tmp_path / "model.onnx", 32, 32, 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, (*onnx.PACKAGES, "onnxruntime"))), reason="needs ONNX and its runtime"
)
@torch.no_grad()
def test_the_runtime_computes_the_same_frame(model, tmp_path):
    import onnxruntime

    onnx.export(model, tmp_path / "model.onnx", 32, 64, 2)
    inputs = onnx.example(32, 64, 2)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (frame,) = session.run(["frame"], {name: x.numpy() for name, x in inputs.items()})
    expected = onnx.Interpolation(model, 0)(*inputs.values())
    torch.testing.assert_close(torch.from_numpy(frame), expected, rtol=0, atol=1e-3)
