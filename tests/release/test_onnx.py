"""A model as ONNX. The runtime's tests need the packages; the graph's operators are tested in
tests/kernels/test_onnx.py without them.
"""

from importlib.util import find_spec

import pytest
import torch

from lift.errors import LiftError
from lift.release import onnx
from lift.release.tensor_function import Interpolation, example


def test_missing_packages_are_one_sentence(awake_model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(LiftError, match="pip install onnx onnxscript"):
        onnx.export(awake_model, tmp_path / "model.onnx", 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, (*onnx.PACKAGES, "onnxruntime"))), reason="needs ONNX and its runtime"
)
@torch.no_grad()
def test_the_runtime_computes_the_same_frames_at_any_size(awake_model, tmp_path):
    import onnxruntime

    onnx.export(awake_model, tmp_path / "model.onnx", 2)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for size in ((32, 64), (50, 70), (112, 48)):
        inputs = example(*size, 2)
        (frame,) = session.run(["frame"], {name: x.numpy() for name, x in inputs.items()})
        expected = Interpolation(awake_model, 0)(*inputs.values())
        torch.testing.assert_close(torch.from_numpy(frame), expected, rtol=0, atol=1e-4)
