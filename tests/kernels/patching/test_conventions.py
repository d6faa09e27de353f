"""Warps of other projects, re-stated from their definitions, and what takes their place."""

import pytest
import torch

from benchmarks.adoption import conventions
from lift import kernels

NAMES = list(conventions.CONVENTIONS)


@pytest.fixture(scope="module")
def functions():
    """{project: (original, replacement)}, both working."""
    originals = {name: function for name, (function, _) in conventions.CONVENTIONS.items()}
    with kernels.patch(conventions) as patched:
        replaced = {
            name: getattr(conventions, function.__name__) for name, function in originals.items()
        }
        yield {name: (originals[name], replaced[name]) for name in NAMES}, patched


def inputs(name, size=(2, 5, 40, 56), seed=0, dtype=torch.float32):
    """A smooth image, and a flow off whole pixels that leads outside here and there."""
    generator = torch.Generator().manual_seed(seed)
    B, C, H, W = size
    coarse = torch.rand(B, C, H // 4, W // 4, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (H, W), mode="bicubic").to(dtype)
    flow = (torch.randn(B, 2, H, W, generator=generator) * 5).floor()
    flow = (flow + 0.25 + 0.5 * torch.rand(B, 2, H, W, generator=generator)).to(dtype)
    if conventions.CONVENTIONS[name][1]:
        flow = flow.permute(0, 2, 3, 1).contiguous()
    return image.requires_grad_(), flow.requires_grad_()


def results(function, image, flow, **options):
    out = function(image, flow, **options)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out.detach(), torch.autograd.grad(out, (image, flow), weights, allow_unused=True)


def assert_same(original, replacement, arguments, **options):
    out, gradients = results(original, *arguments, **options)
    patched_out, patched_gradients = results(replacement, *arguments, **options)
    assert (out - patched_out).abs().max() < 1e-5
    for expected, got in zip(gradients, patched_gradients, strict=True):
        assert (expected is None) == (got is None)
        if expected is not None:
            assert (expected - got).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_results_and_gradients_agree(functions, name, dtype):
    original, replacement = functions[0][name]
    assert replacement is not original
    assert_same(original, replacement, inputs(name, dtype=dtype))
    assert_same(original, replacement, inputs(name, (1, 3, 24, 12), seed=1, dtype=dtype))


def test_every_convention_is_listed_with_its_op(functions):
    ops = {one.name.rpartition(".")[2]: one.op for one in functions[1].replaced}
    assert ops["rife_warp"] == ops["ifrnet_warp"] == "warp"
    for name in ("softsplat_backwarp", "pwc_backwarp", "pwcnet_warp", "basicsr_flow_warp"):
        assert ops[name] == "grid_sample"
    assert ops["mmagic_flow_warp"] == ops["grid_sample"] == "grid_sample"
    assert not functions[1].left
    assert all(one.difference is None or one.difference < 1e-5 for one in functions[1].replaced)
    assert "zero where at most 0.9999 is visible" in str(functions[1])


@pytest.mark.parametrize(
    "options",
    [
        {"padding_mode": "border"},
        {"padding_mode": "reflection", "align_corners": False},
        {"align_corners": False},
        {"interp_mode": "nearest"},
        {"interp_mode": "bicubic"},  # no op has it: the original's
        {"use_pad_mask": True},
    ],
)
def test_options_of_a_call_count(functions, options):
    name = "BasicSR `flow_warp`"
    arguments = inputs(name)
    nearest = options.get("interp_mode") == "nearest"
    if nearest:
        arguments = arguments[0], arguments[1].detach()
        out, patched = (function(*arguments, **options) for function in functions[0][name])
        assert (out - patched).abs().max() < 1e-5
    else:
        assert_same(*functions[0][name], arguments, **options)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_ops_do_not_take_goes_to_the_original(functions, name):
    original, replacement = functions[0][name]
    image, flow = inputs(name)
    conventions._rife_grids.clear()  # its keys do not have the dtype
    half = image.detach().bfloat16(), flow.detach().bfloat16()
    assert torch.equal(original(*half), replacement(*half))
    narrow = image.detach()[..., :1], flow.detach()
    narrow = narrow[0], flow.detach()[:, :, :1] if flow.shape[-1] == 2 else flow.detach()[..., :1]
    out, patched = original(*narrow), replacement(*narrow)
    assert torch.equal(out.nan_to_num(), patched.nan_to_num())


def test_keywords_and_errors_are_those_of_the_original(functions):
    original, replacement = functions[0]["mmagic `flow_warp`"]
    image, flow = inputs("mmagic `flow_warp`")
    assert torch.equal(replacement(flow=flow, x=image), replacement(image, flow))
    for wrong in ((image, flow[:, 1:]), (image,), (image, flow, "bilinear", "zeros", True, 1)):
        with pytest.raises(Exception) as expected:
            original(*wrong)
        with pytest.raises(type(expected.value)) as got:
            replacement(*wrong)
        assert str(got.value) == str(expected.value)


def test_autocast_promotes_as_for_the_original(functions):
    image, flow = inputs("IFRNet `warp`")
    with torch.autocast("cpu", torch.bfloat16):
        for function in functions[0]["IFRNet `warp`"]:
            assert function(image.bfloat16(), flow).dtype == torch.float32


@pytest.mark.parametrize("name", ["IFRNet `warp`", "pytorch-pwc `backwarp`"])
def test_derivatives_of_every_kind_pass_through(functions, name):
    original, replacement = functions[0][name]
    image, flow = (x.detach() for x in inputs(name, (1, 2, 12, 16), dtype=torch.float64))

    def penalty(function):
        return lambda x: torch.func.grad(lambda y: function(x, y).square().sum())(flow).sum()

    assert torch.allclose(*(torch.func.grad(penalty(f))(image) for f in (original, replacement)))
    _, tangent = torch.func.jvp(lambda x: replacement(x, flow), (image,), (image,))
    assert torch.allclose(tangent, original(image, flow))  # linear in the image
    images = torch.stack((image, 2 * image))
    batched = torch.func.vmap(lambda x: replacement(x, flow))(images)
    assert torch.allclose(batched[1], 2 * batched[0])
