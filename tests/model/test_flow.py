"""Stage 3: global motion from a correlation, then residuals that start at zero."""

from dataclasses import replace

import pytest
import torch

from lift.kernels import warp
from lift.model.blocks import upsample
from lift.model.flow import FlowBlock, FlowCascade, GlobalMotion
from lift.model.types import FlowEstimate, FrameFeatures
from tests.support.models import TINY, wake


def features(batch: int = 2, size: int = 64) -> FrameFeatures:
    scales = ((TINY.c4, 4), (TINY.c8, 8), (TINY.c16, 16))
    maps = (torch.rand(batch, c, size // s, size // s) for c, s in scales)
    luma2, luma4, luma8 = (torch.rand(batch, 1, size // s, size // s) for s in (2, 4, 8))
    return FrameFeatures(*maps, None, luma2, None, luma4, luma8, None, None, (size, size))


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
@torch.no_grad()
def test_global_motion_reads_a_shift_out_of_the_correlation(t):
    """Before training, for features moved by whole pixels; divided at the target's time."""
    config = replace(TINY, radius16=3)
    stage = GlobalMotion(config)
    stage.inv_temperature.fill_(60.0)
    left = torch.randn(1, config.c16, 16, 16)
    right = left.roll((1, 2), (2, 3))  # down 1, right 2
    volume = stage.correlation(stage.corr_proj(left), stage.corr_proj(right))
    estimate, hidden = stage(left, right, volume, torch.tensor([t]))
    inner = (..., slice(5, -5), slice(5, -5))
    want = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand_as(estimate.flow_t0[inner])
    torch.testing.assert_close(estimate.flow_t0[inner], -t * want, atol=0.3, rtol=0)
    torch.testing.assert_close(estimate.flow_t1[inner], (1 - t) * want, atol=0.3, rtol=0)
    assert estimate.scale == 16 and hidden.shape == (1, config.hidden16, 16, 16)


@torch.no_grad()
def test_without_training_the_shorter_of_equal_motions_is_likelier():
    stage, flat = GlobalMotion(TINY), torch.ones(1, TINY.c16, 8, 8)
    projected = stage.corr_proj(flat)
    estimate, _ = stage(flat, flat, stage.correlation(projected, projected), torch.tensor([0.5]))
    assert estimate.flow_t0[..., 3:-3, 3:-3].abs().max() < 1e-4


@torch.no_grad()
def test_a_block_starts_with_the_coarser_flow_enlarged():
    block = FlowBlock(TINY.c8, 16, 16, 1, 8, 0, replace(TINY, convex_upsampling=False))
    left, right = torch.rand(2, 2, TINY.c8, 8, 8)
    coarser = FlowEstimate(torch.randn(2, 6, 4, 4), 16)
    projected = block.corr_proj(left), block.corr_proj(right)
    zero_motion, t = block.correlation(*projected, 0), torch.tensor([0.3, 0.6])
    lumas = (None, None), (None, None)
    coarse = coarser, torch.rand(2, 16, 4, 4)
    estimate, hidden = block((left, right), projected, *lumas, zero_motion, *coarse, t)
    assert torch.equal(estimate.flow_t0, 2 * upsample(coarser.flow_t0, 2))
    assert torch.equal(estimate.occ_t1, upsample(coarser.occ_t1, 2))
    assert estimate.scale == 8 and hidden.shape == (2, 16, 8, 8)


@torch.no_grad()
def test_similarity_at_zero_motion_is_one_where_nothing_moves():
    block = FlowBlock(TINY.c8, 16, 16, 1, 8, 1, TINY)
    x, other = torch.randn(2, 1, TINY.corr_channels, 4, 4)
    torch.testing.assert_close(block.correlation(x, x, 0), torch.ones(1, 1, 4, 4))
    assert (block.correlation(x, other, 0) < 0.999).all()


@torch.no_grad()
def test_features_may_be_projected_before_they_are_warped():
    """Bilinear weights sum to 1, so the bias passes too."""
    block, x = wake(FlowBlock(TINY.c8, 16, 16, 1, 8, 1, TINY)), torch.randn(1, TINY.c8, 6, 8)
    flow = 3 * torch.randn(1, 2, 6, 8)
    before, after = warp(block.corr_proj(x), flow), block.corr_proj(warp(x, flow))
    torch.testing.assert_close(before, after)


@torch.no_grad()
def test_the_cascade_goes_from_a_sixteenth_to_a_quarter():
    stage = FlowCascade(TINY)
    left, right = stage.project(features()), stage.project(features())
    motion = stage(left, right, stage.correlate(left, right), torch.tensor([0.5, 0.25]))
    assert [e.scale for e in motion.cascade] == [16, 8, 4]
    assert [e.flow_t0.shape[-1] for e in motion.cascade] == [4, 8, 16]
    assert motion.flow_01.shape == (2, 2, 16, 16)
    assert motion.hidden.shape == (2, TINY.hidden4, 16, 16)


@torch.no_grad()
def test_the_target_s_time_divides_straight_paths():
    """Before training: at time t the flows are -t and 1 - t times one motion."""
    stage, (left, right) = GlobalMotion(TINY), torch.rand(2, 1, TINY.c16, 4, 4)
    t = torch.tensor([0.25])
    volume = stage.correlation(stage.corr_proj(left), stage.corr_proj(right))
    estimate, _ = stage(left, right, volume, t)
    motion = estimate.flow_t1 - estimate.flow_t0
    torch.testing.assert_close(estimate.flow_t0, -0.25 * motion)
    assert motion.abs().max() > 0


def test_every_layer_learns():
    stage = wake(FlowCascade(TINY))
    left, right = stage.project(features()), stage.project(features())
    t = torch.tensor([0.5, 0.25])
    motion = stage(left, right, stage.correlate(left, right), t)
    loss = sum(e.flow_t0.square().sum() + e.occ_t1.square().sum() for e in motion.cascade)
    loss.backward()
    silent = [
        name
        for name, p in stage.named_parameters()
        if not name.startswith("trajectory") and (p.grad is None or not p.grad.any())
    ]
    assert not silent
