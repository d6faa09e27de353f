"""Ops that select a backend when they run, and what an exported program holds of them."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lift import kernels
from lift.kernels import dispatch, portable, selfcheck


class Warp(nn.Module):
    def __init__(self, backend=None):
        super().__init__()
        self.backend = backend

    def forward(self, image, flow):
        return kernels.warp(image, flow, backend=self.backend)


class Record(TorchDispatchMode):
    """The ops of `torch.ops.lift` that run, with their arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, op, types, arguments=(), keywords=None):
        if op.namespace == portable.NAMESPACE:
            self.calls.append((op, arguments))
        return op(*arguments, **(keywords or {}))


def inputs(size=(7, 9)):
    return torch.randn(2, 3, *size), 4 * torch.randn(2, 2, *size)


def targets(program) -> set[str]:
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    return {str(node.target) for node in calls}


def test_every_op_is_portable():
    assert {op.name for op in portable.OPS} == set(dispatch.operations())


@pytest.mark.parametrize("name", sorted(dispatch.samplers()))
def test_values_and_gradients_are_those_of_the_definition(name):
    assert selfcheck.check(name, dispatch.exported(name)).passed


@pytest.mark.parametrize("name", sorted(dispatch.samplers()))
def test_outputs_are_as_the_fake_ones_and_in_memory_of_their_own(name):
    with Record() as record:
        dispatch.exported(name).call(*selfcheck.samples(name))
    ((op, arguments),) = record.calls
    torch.library.opcheck(op, arguments, test_utils=("test_schema", "test_faketensor"))


def test_nothing_is_padded_and_yet_the_padded_frames_are_returned():
    frames = torch.rand(1, 3, 16, 32)
    padded = torch.ops.lift.frame_inputs(frames, 16, torch.float32)[1]
    assert torch.equal(padded, frames) and padded.data_ptr() != frames.data_ptr()


def test_gradients_that_only_the_reference_has_are_kept():
    images = [torch.rand(1, 3, 8, 8, requires_grad=True) for _ in range(2)]
    found = torch.autograd.grad(torch.ops.lift.change_map(*images).sum(), images)
    expected = torch.autograd.grad(kernels.change_map(*images).sum(), images)
    assert all(map(torch.equal, found, expected))


def test_a_time_has_no_gradient():
    *images, t, steps = selfcheck.samples("align")
    t.requires_grad_()
    dispatch.exported("align").call(*images, t, steps)[0].sum().backward()
    assert t.grad is None


def test_second_derivatives():
    image, flow = (x.double().requires_grad_() for x in inputs((3, 4)))
    assert torch.autograd.gradgradcheck(torch.ops.lift.warp, (image, flow))


# -- exported programs -----------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_holds_the_op_of_no_device(strict):
    assert targets(torch.export.export(Warp(), inputs(), strict=strict)) == {"lift.warp.default"}


def test_a_program_selects_its_backend_when_it_runs(monkeypatch):
    arguments, select, selected = inputs(), dispatch.select, []
    program = torch.export.export(Warp(), arguments).module()

    def record(*given):
        selected.append(select(*given))
        return selected[-1]

    monkeypatch.setattr(dispatch, "select", record)
    expected = kernels.warp(*arguments, backend="reference")
    for flag in ("auto", "reference"):
        with kernels.use(flag):
            torch.testing.assert_close(program(*arguments), expected, rtol=1e-4, atol=1e-4)
    assert selected[-1].name == "reference"
    assert selected[-2].name == kernels.selected_backend("warp", *arguments)


def test_a_program_can_be_differentiated():
    image, flow = (x.requires_grad_() for x in inputs())
    program = torch.export.export(Warp(), (image, flow)).module()
    found = torch.autograd.grad(program(image, flow).square().sum(), (image, flow))
    expected = torch.autograd.grad(kernels.warp(image, flow).square().sum(), (image, flow))
    torch.testing.assert_close(found, expected)


def test_a_flag_or_a_backend_by_name_is_kept():
    with kernels.use("reference"):
        assert not [t for t in targets(torch.export.export(Warp(), inputs())) if "lift" in t]
    named = targets(torch.export.export(Warp("eager"), inputs()))
    assert "aten.grid_sampler.default" in named and "lift.warp.default" not in named


def test_ordinary_calls_keep_to_the_backend():
    with Record() as record:
        kernels.warp(*inputs())
    assert not record.calls
