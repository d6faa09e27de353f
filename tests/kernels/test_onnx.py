"""The ops as ONNX has them: values and gradients of the definitions, few operators."""

import pytest
import torch

from lift import kernels
from lift.kernels import dispatch, onnx, selfcheck


@pytest.mark.parametrize("name", sorted(onnx.IMPLEMENTATIONS))
def test_values_and_gradients_are_those_of_the_definition(name):
    assert selfcheck.check(name, dispatch.exported(name, onnx=True)).passed


def test_other_ops_are_their_references():
    for name, backends in dispatch.operations().items():
        if name not in onnx.IMPLEMENTATIONS:
            assert dispatch.exported(name, onnx=True).call is backends[-1].call


def test_no_flow_reads_outside_of_the_image():
    image = torch.rand(1, 1, 4, 5)
    for value in (torch.nan, torch.inf, -torch.inf, 3e38):
        flow = torch.full((1, 2, 4, 5), value)
        expected = kernels.warp(image, flow, backend="reference")
        torch.testing.assert_close(onnx.warp(image, flow), expected)


@pytest.mark.parametrize("size", [(3, 1), (1, 4), (6, 9)])
def test_a_side_of_one_pixel(size):
    image, flow = torch.rand(2, 3, *size), 3 * torch.randn(2, 2, *size)
    expected = kernels.warp(image, flow, backend="reference")
    torch.testing.assert_close(onnx.warp(image, flow), expected)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [16, 20])
def test_one_operator_of_the_runtime_for_a_warp(opset, tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    onnxruntime = pytest.importorskip("onnxruntime")

    class Model(torch.nn.Module):
        def forward(self, image, flow):
            grid = flow.movedim(1, -1) / 8
            return kernels.warp(image, flow), kernels.grid_sample(image, grid)

    inputs = torch.rand(2, 3, 6, 9), 3 * torch.randn(2, 2, 6, 9)
    options = {"dynamo": True, "opset_version": opset, "verbose": False}
    program = torch.onnx.export(Model().eval(), inputs, **options)
    operators = [node.op_type for node in program.model.graph]
    assert operators.count("GridSample") == 2
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [x.name for x in session.get_inputs()]
    feeds = {n: x.numpy() for n, x in zip(names, inputs, strict=True)}
    found = session.run(None, feeds)
    for a, b in zip(found, Model()(*inputs), strict=True):
        torch.testing.assert_close(torch.from_numpy(a), b, rtol=0, atol=1e-4)
