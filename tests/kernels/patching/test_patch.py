"""Patching a model: what is replaced, what is left alone, and the way back."""

import copy
import importlib.util
import pickle
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.adoption import conventions, nets
from lift import kernels
from lift.kernels.patching import probe

SOURCE = """
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.functional import grid_sample
from benchmarks.adoption.conventions import ifrnet_warp as warp

def warp_by_two(img, flow):
    return 2 * warp(img, flow)

def warp_detached(img, flow):
    return warp(img, flow).detach()

def warp_validity(img, flow):
    return warp(img, flow), flow > 0

def warp_on_gpu(img, flow):
    raise RuntimeError("Found no NVIDIA driver\\nand more")

def warp_in_place(img, flow):
    flow /= 2
    return warp(img, flow)

def warp_with_grid(img, flow, grid):
    return img

def save_warp(img, flow):
    raise SystemExit("called")

@torch.no_grad()
def warp_frozen(img, flow):
    return warp(img, flow)

@torch.compile
def warp_compiled(img, flow):
    return warp(img, flow)

@torch.jit.script
def warp_scripted(img: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    return img

def sample(x, grid, how):
    return [
        lambda: F.grid_sample(x, grid, align_corners=True),
        lambda: nn.functional.grid_sample(x, grid, align_corners=True),
        lambda: torch.nn.functional.grid_sample(x, grid, align_corners=True),
        lambda: grid_sample(x, grid, align_corners=True),
    ][how]()

class Warper(nn.Module):
    def forward(self, flow, img):
        return warp(img, flow)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.warper = Warper()
        self.function = warp

    @staticmethod
    def backwarp(img, flow):
        return warp(img, flow)

    def resample(self, img, flow):
        return self.scale * warp(img, flow)

    def forward(self, img, flow):
        out = warp(img, flow) + self.backwarp(img, flow) + self.function(img, flow)
        return out + self.warper(flow, img) + self.resample(img, flow)
"""


@pytest.fixture
def module(monkeypatch, tmp_path):
    """A module with warps of many kinds; it is gone after the test."""
    path = tmp_path / "other_project.py"
    path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("other_project", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "other_project", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(monkeypatch):
    """Names of the ops that replacements called, in order."""
    from lift.kernels.patching import conventions as own
    from lift.kernels.patching import replacement

    found = []

    def counted(name, op):
        def call(*args, **kwargs):
            found.append(name)
            return op(*args, **kwargs)

        return call

    monkeypatch.setattr(own, "warp", counted("warp", own.warp))
    monkeypatch.setattr(own, "grid_sample", counted("grid_sample", own.grid_sample))
    monkeypatch.setattr(replacement, "grid_sample", own.grid_sample)
    return found


IMAGE, FLOW = torch.rand(1, 3, 12, 16), torch.full((1, 2, 12, 16), 1.3)


@pytest.mark.parametrize("net", (nets.RifeLike, nets.IfrnetLike))
def test_a_patched_net_agrees_and_comes_back(net, calls):
    net, images = net(8), torch.rand(2, 1, 3, 32, 48)

    def run():
        out = net(*images)
        return out.detach(), torch.autograd.grad(out.square().sum(), list(net.parameters()))

    (out, gradients), state = run(), copy.deepcopy(net.state_dict())
    with kernels.patch(net) as patched:
        calls.clear()
        patched_out, patched_gradients = run()
        assert set(calls) == {"warp"} and len(calls) == 4
        assert patched.active
    assert (out - patched_out).abs().max() < 1e-5
    for expected, got in zip(gradients, patched_gradients, strict=True):
        assert (expected - got).abs().max() <= 1e-4 * expected.abs().max()
    assert not patched.active
    assert torch.equal(run()[0], out)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_undoing_leaves_nothing_behind(module):
    net = module.Net()
    before = dict(vars(module)), dict(vars(module.Net)), dict(vars(net)), dict(vars(conventions))
    with kernels.patch(net):
        assert dict(vars(module)) != before[0]
    after = dict(vars(module)), dict(vars(module.Net)), dict(vars(net)), dict(vars(conventions))
    assert after == before
    assert module.F is F and F.grid_sample is torch.nn.functional.grid_sample


def test_functions_methods_attributes_and_imports_are_replaced(module, calls):
    net = module.Net()
    expected = net(IMAGE, FLOW)
    with kernels.patch(net) as patched:
        calls.clear()
        assert torch.allclose(net(IMAGE, FLOW), expected, atol=1e-5)
        assert calls == ["warp"] * 5
    ops = {one.name: one.op for one in patched.replaced}
    assert ops["other_project.Net.backwarp"] == ops["other_project.Warper.forward"] == "warp"
    assert "reads self" in patched.left["other_project.Net.resample"]


def test_other_functions_are_left_alone_with_a_reason(module):
    with kernels.patch(module) as patched:
        for name, reason in {
            "warp_by_two": "it agrees with no known convention",
            "warp_detached": "its result has no gradient",
            "warp_frozen": "its result has no gradient",
            "warp_compiled": "it is compiled by torch.compile, or excluded from it",
            "warp_validity": "it returns tuple and not a tensor",
            "warp_on_gpu": "it raised RuntimeError: Found no NVIDIA driver",
            "warp_in_place": "it changes its arguments",
            "warp_with_grid": "it needs more than an image and a flow: grid",
            "warp_scripted": "it is compiled by TorchScript",
        }.items():
            assert patched.left[f"other_project.{name}"] == reason
            assert reason in str(patched)


@pytest.mark.parametrize("how", range(4))
def test_grid_sample_is_replaced_however_it_is_imported(module, calls, how):
    grid = torch.rand(1, 5, 7, 2) * 2 - 1
    expected = module.sample(IMAGE, grid, how)
    with kernels.patch(module):
        calls.clear()
        assert torch.allclose(module.sample(IMAGE, grid, how), expected, atol=1e-6)
        assert calls == ["grid_sample"]
        volume = torch.rand(1, 2, 4, 5, 6), torch.rand(1, 3, 3, 3, 3) * 2 - 1
        assert module.sample(*volume, how).shape == (1, 2, 3, 3, 3)  # PyTorch's
        assert calls == ["grid_sample"]
        F.grid_sample(IMAGE, grid, align_corners=True)  # not the model's code
        assert calls == ["grid_sample"]
    module.sample(IMAGE, grid, how)
    assert calls == ["grid_sample"]


@pytest.mark.parametrize("first", (0, 1))
def test_two_patches_may_be_undone_in_any_order(module, calls, first):
    net = module.Net()
    before = dict(vars(module)), module.Net.backwarp, net.function
    patches = [kernels.patch(net), kernels.patch(net)]
    assert len(patches[1].replaced) == len(patches[0].replaced)
    patches[first].undo()
    calls.clear()
    net(IMAGE, FLOW)
    assert calls == ["warp"] * 5
    patches[1 - first].undo()
    patches[0].undo()  # again
    assert (dict(vars(module)), module.Net.backwarp, net.function) == before
    calls.clear()
    net(IMAGE, FLOW)
    assert not calls


def test_an_exception_in_the_block_undoes_the_patch(module):
    warp = module.warp
    with pytest.raises(KeyError), kernels.patch(module):
        assert module.warp is not warp
        raise KeyError
    assert module.warp is warp


def test_copies_and_pickles_of_a_patched_model_work(module, calls):
    net = module.Net()
    with kernels.patch(net):
        copied, text = copy.deepcopy(net), pickle.dumps(net)
        calls.clear()
        copied(IMAGE, FLOW)
        assert calls == ["warp"] * 5
    calls.clear()
    copied(IMAGE, FLOW)
    pickle.loads(text)(IMAGE, FLOW)
    assert not calls


def test_a_module_is_patched_where_others_imported_from_it(calls):
    images = torch.rand(2, 1, 3, 32, 48)
    with kernels.patch(conventions):
        calls.clear()
        nets.IfrnetLike(8)(*images)
        assert calls == ["warp"] * 4


def test_further_names_can_be_given(module):
    module.shift = lambda image, flow: conventions.ifrnet_warp(image, flow)
    module.shift.__name__ = "shift"
    for names in ((), ["shift"]):
        with kernels.patch(module, names=names) as patched:
            places = {place for one in patched.replaced for place in one.places}
            assert ("other_project.shift" in places) == bool(names)


def test_a_probe_leaves_caches_as_they_were():
    conventions._rife_grids.clear()
    with kernels.patch(conventions):
        assert not conventions._rife_grids


@pytest.mark.parametrize(
    "mode", (torch.no_grad, torch.inference_mode, lambda: kernels.use("fused"))
)
def test_it_can_be_patched_in_any_mode(mode):
    with mode(), kernels.patch(nets.RifeLike(8)) as patched:
        assert "rife_warp" in str(patched)


def test_anything_but_a_model_or_a_module_is_refused():
    with pytest.raises(TypeError, match="expected an nn.Module or a Python module, got int"):
        kernels.patch(3)


def test_a_patched_net_compiles_in_one_graph(module):
    class Net(nn.Module):
        def forward(self, img, flow):
            return module.warp(img, flow) + module.sample(img, flow.permute(0, 2, 3, 1), 0)

    net, flow = Net(), FLOW / 16
    expected = net(IMAGE, flow)
    torch._dynamo.reset()
    with kernels.patch(module):
        compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
        assert torch.allclose(compiled(IMAGE, flow), expected, atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "change", ({"threshold": 0.99}, {"unit": "size"}, {"origin": "centers"}, {"mode": "nearest"})
)
def test_the_probes_tell_conventions_apart(change):
    from dataclasses import replace

    convention = replace(probe.Convention(padding_mode="zeros"), **change)
    found, difference = probe.recognize(
        lambda image, flow: convention(image, flow) + 0 * flow[:, :1]
    )
    assert found == convention and difference == 0
