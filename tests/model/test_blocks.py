"""Shared layers: what starts at zero, what saves memory, what ignores autocast."""

import pytest
import torch
import torch.nn.functional as F

from lift.model.blocks import (
    PreciseLinear,
    ResidualBlock,
    append_image,
    avg_down,
    checkpointed,
    conv,
    conv_act,
    group_count,
    leaky_relu_,
    upsample,
    zero_conv,
)
from lift.saved_tensors import saved_bytes


def test_zero_convolutions_return_zero_and_learn():
    layer = zero_conv(3, 4)
    out = layer(torch.rand(1, 3, 5, 5))
    assert not out.any()
    out.sum().backward()
    assert layer.weight.grad.any() and layer.bias.grad.any()


def test_leaky_relu_works_in_place():
    x = torch.randn(2, 3, 4, 4)
    expected = F.leaky_relu(x, 0.1)
    assert leaky_relu_(x) is x and torch.equal(x, expected)


def test_upsampling_keeps_pixel_areas_aligned():
    """A linear ramp stays one: pixel x of the small image covers pixels 4x to 4x + 3."""
    ramp = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 6, 6)
    want = (torch.arange(24.0) - 1.5) / 4
    torch.testing.assert_close(upsample(ramp, 4)[0, 0, 0, 2:-2], want[2:-2])
    torch.testing.assert_close(avg_down(upsample(ramp, 4), 4)[..., 1:-1], ramp[..., 1:-1])


@pytest.mark.parametrize("channels, groups", [(8, 8), (24, 8), (12, 4), (6, 2), (5, 1)])
def test_groups_divide_the_channels(channels, groups):
    assert group_count(channels) == groups


@pytest.mark.parametrize("norm", [False, True])
def test_a_residual_block_without_weights_is_its_skip_connection(norm):
    block, x = ResidualBlock(8, norm), torch.randn(2, 8, 5, 7)
    assert block(x).shape == x.shape and not torch.allclose(block(x), F.leaky_relu(x, 0.1))
    with torch.no_grad():
        block.conv2.weight.zero_()
    torch.testing.assert_close(block(x), F.leaky_relu(x, 0.1))


def test_checkpointing_saves_the_inputs_alone_and_changes_no_gradient():
    block, x = ResidualBlock(8), torch.randn(1, 8, 16, 16, requires_grad=True)
    results = []
    for run in (lambda: block(x), lambda: checkpointed(block, x)):
        out, saved = saved_bytes(run, exclude=block.parameters())
        results.append((saved, torch.autograd.grad(out.square().sum(), x)[0]))
    (plain, gradient), (lean, again) = results
    assert lean == x.nbytes < plain
    torch.testing.assert_close(again, gradient)


def test_a_precise_layer_ignores_autocast():
    layer, x = PreciseLinear(6, 4), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.nn.Linear(6, 4)(x).dtype == torch.bfloat16
        inside = layer(x)
    assert inside.dtype == torch.float32 and torch.equal(inside, layer(x))


def _layers():
    for stride in (1, 2):
        layer = conv(24, 32, 3, stride)
        layer.bias.data.normal_()
        yield layer


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("factor", [0, 1, 2])
@pytest.mark.parametrize("slope", [0.1, 1])
def test_a_convolution_is_the_same_with_and_without_gradients(layout, factor, slope):
    """Without them oneDNN adds and activates as it convolves."""
    x = torch.randn(2, 24, 12, 20).to(memory_format=layout)
    for layer in _layers():
        expected, skip = layer(x), None
        if factor:
            skip = torch.randn(2, 32, *(n // factor for n in expected.shape[2:]))
            skip = skip.to(memory_format=layout)
            expected = expected + F.interpolate(skip, expected.shape[2:], mode="bilinear")
        given = None if skip is None else skip.clone()
        expected = F.leaky_relu(expected, slope)
        torch.testing.assert_close(conv_act(layer, x, skip, slope, "reference"), expected)
        with torch.no_grad():
            torch.testing.assert_close(conv_act(layer, x, skip, slope, "reference"), expected)
        assert skip is None or torch.equal(skip, given)


@pytest.mark.parametrize("form", ["bfloat16", "autocast", "bias in float32"])
@pytest.mark.parametrize("slope", [0.1, 1])
def test_a_convolution_in_bfloat16_is_that_of_its_values(form, slope):
    """Under autocast with the weights of a stream, and of training, where only weights are cast."""
    x, skip = (torch.randn(2, c, 12, 20).bfloat16() for c in (24, 32))
    x, skip = (y.to(memory_format=torch.channels_last) for y in (x, skip))
    layer, exact = conv(24, 32).bfloat16(), conv(24, 32)
    exact.load_state_dict(layer.state_dict())
    if form == "bias in float32":
        layer.bias.data = layer.bias.data.float()
    with torch.no_grad():
        for added in (None, skip, skip.float()):
            expected = exact(x.float()) + (0 if added is None else added.float())
            with torch.autocast("cpu", torch.bfloat16, enabled=form != "bfloat16"):
                found = conv_act(layer, x, added, slope, "reference")
            expected = F.leaky_relu(expected, slope)
            torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.02)
            assert found.dtype == (torch.bfloat16 if added is None else added.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_appended_image_changes_neither_dtype_nor_layout(dtype, layout):
    features, image = (
        torch.rand(2, 8, 6, 10).to(dtype, memory_format=layout),
        torch.rand(2, 3, 6, 10),
    )
    found = append_image(features, image)
    assert found.dtype == dtype and found.is_contiguous(memory_format=layout)
    assert torch.equal(found, torch.cat((features, image.to(dtype)), 1))
