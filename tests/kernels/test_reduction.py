"""Sums that the last program of a launch finishes."""

import pytest
import torch

from lift import kernels
from lift.kernels.ops.bias_act import op

if op.triton is None or not op.triton.INTERPRETED:
    pytest.skip("needs Triton's interpreter", allow_module_level=True)

from lift.kernels import reduction  # needs Triton


def test_a_launch_leaves_its_counters_at_zero_for_the_next():
    like = torch.empty(0)
    counters = reduction.arrival_counters(like, 3)
    assert counters.dtype == torch.int32 and len(counters) >= 3 and not counters.any()
    x = torch.randn(2, 3, 64, 64)
    bias = torch.randn(3, requires_grad=True)
    for _ in range(2):
        grad = torch.randn_like(x)
        out = kernels.bias_act(x, bias, slope=1, backend="triton")
        (dbias,) = torch.autograd.grad(out, bias, grad)
        torch.testing.assert_close(dbias, grad.sum((0, 2, 3)), atol=1e-3, rtol=1e-4)
        assert reduction.arrival_counters(like, 3) is counters and not counters.any()


def test_more_counters_than_there_are_make_a_larger_buffer():
    few = reduction.arrival_counters(torch.empty(0), 1)
    many = reduction.arrival_counters(torch.empty(0), len(few) + 1)
    assert len(many) > len(few) and not many.any()
    assert reduction.arrival_counters(torch.empty(0), 1) is many
