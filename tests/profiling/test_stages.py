"""Each stage by itself, and the command that describes it."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from lift.config import tiny
from lift.model.blocks import avg_down
from lift.model.encoder import Encoder
from lift.model.flow import GlobalMotion
from lift.model.refine import NOISE_CONTRAST, Refinement, change_map
from lift.model.synthesis import CoarseSynthesis
from lift.model.transformer import TemporalTransformer
from lift.model.types import FlowEstimate

STAGES = ("encoder", "transformer", "flow", "trajectory", "synthesis", "refine", "lift")


@torch.no_grad()
def test_encoder_treats_each_frame_alone():
    encoder, frames = Encoder(tiny()), torch.rand(3, 3, 32, 48)
    whole, one = encoder(frames), encoder(frames[1:2])
    assert [x.shape[-2:] for x in whole] == [(8, 12), (4, 6), (2, 3)]
    for x, y in zip(whole, one, strict=True):
        torch.testing.assert_close(x[1:2], y, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_keys_of_a_frame_do_not_depend_on_others():
    stage, s16 = TemporalTransformer(tiny()), torch.rand(3, tiny().c16, 2, 3)
    keys, values = stage.key_values(s16)
    assert (
        keys.shape
        == values.shape
        == (3, tiny().layers, 2, 3, tiny().heads, tiny().attn_channels // tiny().heads)
    )
    torch.testing.assert_close(stage.key_values(s16[1:2])[0], keys[1:2])


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
@torch.no_grad()
def test_global_motion_reads_a_shift_out_of_the_correlation(t):
    """Features moved by whole pixels: the untrained read-out finds the motion, and splits it at the
    target's time.
    """
    config = replace(tiny(), radius16=3)
    stage = GlobalMotion(config)
    stage.inv_temperature.fill_(60.0)
    features = torch.randn(1, config.c16, 16, 16)
    moved = features.roll((1, 2), (2, 3))  # down 1, right 2
    at = torch.tensor([t])
    estimate, _ = stage(features, moved, stage.correlation(features, moved), at)
    inner = (..., slice(5, -5), slice(5, -5))
    want = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand_as(estimate.flow_t0[inner])
    torch.testing.assert_close(estimate.flow_t0[inner], -t * want, atol=0.3, rtol=0)
    torch.testing.assert_close(estimate.flow_t1[inner], (1 - t) * want, atol=0.3, rtol=0)


@pytest.mark.parametrize(
    "preset", [tiny(), replace(tiny(), refine_stride=1), replace(tiny(), refine_stride=4)]
)
@torch.no_grad()
def test_untrained_synthesis_and_refinement_are_the_plain_blend(preset):
    a, b = torch.rand(2, 1, 3, 32, 32).unbind(0)
    flow = torch.zeros(1, 2, 8, 8)
    seen, hidden = torch.full((1, 1, 8, 8), 9.0), torch.rand(1, preset.hidden4, 8, 8)
    both = FlowEstimate(flow, flow, seen, seen, 4)
    coarse = CoarseSynthesis(preset)(
        avg_down(a, 4), avg_down(b, 4), both, hidden, torch.rand(1, preset.attn_channels, 2, 2)
    )
    torch.testing.assert_close(coarse, torch.nn.functional.avg_pool2d((a + b) / 2, 4))
    torch.testing.assert_close(
        Refinement(preset)(a, b, change_map(a, b), both, hidden, coarse), (a + b) / 2
    )
    left_only = FlowEstimate(flow, flow, seen * 9, -seen * 9, 4)
    torch.testing.assert_close(
        Refinement(preset)(a, b, change_map(a, b), left_only, hidden, coarse), a
    )


@torch.no_grad()
def test_refinement_moves_by_full_resolution_pixels():
    """A flow of 2 quarter-resolution pixels is 8 pixels of the image."""
    a, b = torch.rand(2, 1, 3, 32, 32).unbind(0)
    made = _refined(a, b, torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8))
    torch.testing.assert_close(made[..., :-8], ((a + b) / 2)[..., 8:], atol=0.05, rtol=0)


@torch.no_grad()
def test_refinement_takes_motion_back_where_the_references_agree():
    image = torch.rand(1, 3, 32, 32)
    other = image.clone()
    other[..., :8] = 1 - other[..., :8]
    made = _refined(image, other, torch.randn(1, 2, 8, 8))
    torch.testing.assert_close(made[..., 10:], image[..., 10:], atol=1e-3, rtol=0)
    assert (made[..., :8] - (image + other)[..., :8] / 2).abs().max() > 0.1


def _refined(image0, image1, flow):
    """What untrained refinement makes of a flow to both sides, everything visible."""
    occ = torch.zeros(1, 1, 8, 8)
    return Refinement(tiny())(
        image0,
        image1,
        change_map(image0, image1),
        FlowEstimate(flow, flow, occ, occ, 4),
        torch.rand(1, tiny().hidden4, 8, 8),
        torch.rand(1, 3, 8, 8),
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (9, 5)])
def test_change_is_the_largest_difference_over_the_contrast_within_two_pixels(size):
    a, b = torch.rand(2, 2, 3, *size).unbind(0)
    highest = partial(torch.nn.functional.max_pool2d, kernel_size=5, stride=1, padding=2)
    contrast = sum((highest(x) + highest(-x)).amax(1, keepdim=True) for x in (a, b)) / 2
    want = highest((a - b).abs().amax(1, keepdim=True)).clamp(min=1e-3) / (
        contrast + NOISE_CONTRAST
    )
    torch.testing.assert_close(change_map(a, b).exp(), want)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_describes_itself(stage):
    done = subprocess.run(
        [sys.executable, "-m", f"lift.model.{stage}", "--preset", "tiny"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "parameters" in done.stdout and "saved for backward" in done.stdout and not done.stderr
