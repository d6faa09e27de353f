"""`convex_upsample`: what it computes, and which arguments it takes."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels import selfcheck

STATE, LOGITS, PRIOR = (x.requires_grad_(False) for x in selfcheck.samples("convex_upsample"))
DOUBLED = torch.tensor([2.0, 2, 2, 2, 1, 1])  # flows, not visibilities


def test_a_fine_pixel_combines_the_nine_coarse_ones_around_it():
    fine = kernels.convex_upsample(STATE, LOGITS, PRIOR)
    around = F.pad(STATE, (1, 1, 1, 1), mode="replicate")
    logits = LOGITS.unflatten(1, (4, 9)) + PRIOR.view(4, 9, 1, 1)
    for row, column in ((0, 0), (13, 19), (5, 4), (0, 7)):
        y, x, i = row // 2, column // 2, 2 * (row % 2) + column % 2
        weights = logits[1, i, :, y, x].softmax(0)
        mixed = around[1, :, y : y + 3, x : x + 3].flatten(1) @ weights
        torch.testing.assert_close(fine[1, :, row, column], DOUBLED * mixed)


def test_a_constant_stays_whatever_the_weights_are():
    state = torch.full_like(STATE, 3.0)
    fine = kernels.convex_upsample(state, 30 * LOGITS, PRIOR)
    assert fine.is_contiguous() and fine.shape == (2, 6, 14, 20)
    torch.testing.assert_close(fine, (3 * DOUBLED).view(1, 6, 1, 1).expand_as(fine))


def test_gradients_of_weights_sum_to_nothing():
    """A softmax does not change with a constant."""
    leaves = [x.clone().requires_grad_() for x in (STATE, LOGITS, PRIOR)]
    kernels.convex_upsample(*leaves).square().sum().backward()
    sums = leaves[1].grad.unflatten(1, (4, 9)).sum(2)
    torch.testing.assert_close(sums, torch.zeros_like(sums), atol=1e-3, rtol=0)
    torch.testing.assert_close(leaves[2].grad, leaves[1].grad.sum((0, 2, 3)), atol=1e-3, rtol=1e-4)


def test_under_autocast_a_half_state_is_cast():
    with torch.autocast("cpu", torch.bfloat16):
        fine = kernels.convex_upsample(STATE.bfloat16(), LOGITS.bfloat16(), PRIOR)
    assert fine.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((STATE[0], LOGITS, PRIOR), ValueError, r"state must be \(B, C, H, W\)"),
        ((STATE[:, :5], LOGITS, PRIOR), ValueError, "state must have 6 channels, got 5"),
        ((STATE.half(), LOGITS, PRIOR), TypeError, "state must be float32 or float64"),
        ((STATE, LOGITS[:, 1:], PRIOR), ValueError, r"logits must be \(2, 36, 7, 10\)"),
        ((STATE, LOGITS, PRIOR[1:]), ValueError, r"prior must be \(36,\)"),
        ((STATE, LOGITS, None), TypeError, "prior must be a tensor"),
    ],
)
def test_wrong_arguments_have_a_clear_error(arguments, error, message):
    with pytest.raises(error, match=message):
        kernels.convex_upsample(*arguments)
