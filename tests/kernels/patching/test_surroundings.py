"""Functions that read settings, keep grids or set limits, as a patch meets them."""

import sys
import types

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.adoption import conventions
from lift import kernels
from lift.kernels.patching import probe

BODY = """
import functools

import torch
import torch.nn.functional as F

SIGN = 1
GRID = None
GRIDS = []
NO_GRIDS = {}

class Settings:
    scale = None

settings = Settings()
settings.scale = 1.0

def grid_of(flow):
    if not hasattr(grid_of, "grids"):
        grid_of.grids = {}
    size = flow.shape[2:]
    if size not in grid_of.grids:
        axes = torch.arange(size[1]), torch.arange(size[0])
        grid_of.grids[size] = torch.stack(torch.meshgrid(*axes, indexing="xy"))[None]
    return grid_of.grids[size]

def sampled(image, x, y):
    H, W = image.shape[2:]
    grid = torch.stack((2 * x / (W - 1) - 1, 2 * y / (H - 1) - 1), -1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)

def warp(image, flow, grids=NO_GRIDS):
    LIMIT
    position = grid_of(flow) + SIGN * settings.scale * flow
    return sampled(image, position[:, 0], position[:, 1])

def warp_global(image, flow):
    global GRID
    if GRID is None or GRID.shape[2:] != flow.shape[2:]:
        GRID = grid_of(flow).float()
        GRIDS.append(GRID)
        NO_GRIDS["last"] = GRID
    return sampled(image, GRID[:, 0] + flow[:, 0], GRID[:, 1] + flow[:, 1])

warp_bound = functools.partial(warp, grids=None)

class Net(torch.nn.Module):
    @classmethod
    def warp(cls, image, flow):
        return warp(image, flow)
"""


@pytest.fixture
def module_with(monkeypatch):
    """A module whose warp begins with a statement."""

    def module_with(statement="pass"):
        module = types.ModuleType("settings_project")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(BODY.replace("LIMIT", statement), vars(module))
        return module

    return module_with


@pytest.mark.parametrize(
    "statement",
    [
        "flow = flow.clamp(-30, 30)",
        "image = image.clamp(-10, 10)",
        "flow = flow * 0.5 if image.shape[2] > 64 else flow",
        "flow = -flow if image.shape[1] == 4 else flow",
        "flow = flow if torch.is_grad_enabled() else -flow",
    ],
)
def test_a_warp_with_limits_is_left_alone(module_with, statement):
    with kernels.patch(module_with(statement)) as patched:
        assert "it limits" in patched.left["settings_project.warp"]


@pytest.mark.parametrize("setting", ["SIGN", "scale"])
def test_while_a_setting_is_changed_the_original_is_called(module_with, setting):
    module = module_with()
    original, image = module.warp, torch.rand(1, 3, 12, 16)
    flow = 3 * torch.randn(1, 2, 12, 16)
    place = vars(module) if setting == "SIGN" else vars(module.settings)
    with kernels.patch(module):
        assert module.warp is not original
        for value in (-1.0, place[setting]):
            place[setting] = value
            assert (module.warp(image, flow) - original(image, flow)).abs().max() < 1e-5


def test_probes_leave_no_grid_behind(module_with):
    module = module_with()
    with kernels.patch(module) as patched:
        assert {one.name for one in patched.replaced} >= {"settings_project.warp_global"}
        assert module.GRID is None and module.GRIDS == [] and module.NO_GRIDS == {}
        assert not vars(module.grid_of)


def test_a_warp_that_needs_another_device_is_called_there(monkeypatch):
    def warp(image, flow):
        if image.is_meta:
            raise RuntimeError("expected another device")
        return conventions.rife_warp(image, flow)

    monkeypatch.setattr(probe, "devices", lambda: iter(("meta", "cpu")))
    assert probe.recognize(warp)[0].op == "warp"
    monkeypatch.setattr(probe, "devices", lambda: iter(("meta",)))
    with pytest.raises(probe.Unrecognized, match="expected another device"):
        probe.recognize(warp)


def test_a_warp_that_moves_its_result_to_another_device_is_left_alone(module_with):
    with kernels.patch(module_with("return (image + flow[:, :1]).to('meta')")) as patched:
        assert "on meta for" in patched.left["settings_project.warp"]


def test_partials_and_classmethods_are_listed(module_with):
    module = module_with()
    with kernels.patch(module) as patched:
        for name in ("warp_bound", "Net.warp"):
            assert "keep their function" in patched.left[f"settings_project.{name}"]


def test_a_function_that_ends_the_process_or_has_no_backward_is_left_alone(module_with):
    with kernels.patch(module_with("raise SystemExit('done')")) as patched:
        assert patched.left["settings_project.warp"] == "it raised SystemExit: done"
    statement = "return torch.utils.checkpoint.checkpoint(float, image, use_reentrant=True)"
    with kernels.patch(module_with(statement)) as patched:
        assert "settings_project.warp" in patched.left


@pytest.mark.parametrize("transform", ["grad", "vmap", "fake"])
def test_options_may_be_seen_for_the_first_time_inside_a_transform(module_with, transform):
    module = module_with()
    image, flow = torch.rand(2, 3, 12, 16), 3 * torch.randn(2, 2, 12, 16)
    one = flow[:1]

    def call(x):
        return module.warp(x[None], one, "no")[0]

    with kernels.patch(module):
        if transform == "grad":
            assert torch.func.grad(lambda x: call(x).sum())(image[0]).shape == image[0].shape
        elif transform == "vmap":
            assert torch.func.vmap(call)(image).shape == image.shape
        else:
            with FakeTensorMode() as mode:
                assert module.warp(*map(mode.from_tensor, (image, flow)), "no").shape == image.shape
        out = module.warp(image, flow)
        assert torch.allclose(module.warp(image, flow, "no"), out, atol=1e-5)


def test_probes_leave_random_numbers_and_the_dtype_alone(module_with, monkeypatch):
    state = torch.get_rng_state()
    with kernels.patch(module_with("image = image + torch.rand(1)")):
        assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    with kernels.patch(module_with("assert image.dtype == torch.float64")) as patched:
        assert "settings_project.warp" not in patched.left


def test_a_name_may_be_alone_and_must_exist(module_with):
    with kernels.patch(module_with(), names="sampld") as patched:
        assert patched.left["sampld"] == "the model's code has no such function"
