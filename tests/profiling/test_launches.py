"""Launches and bytes on a GPU, counted without one: of ops, of a frame, of a training step."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.config import Config, DataConfig, TrainConfig
from lift.errors import LiftError
from lift.profiling import dataless, launches
from tests.support.models import TINY

IMAGE = 4 * 16 * 64 * 64  # bytes of the image below


def counted(function, **layouts):
    """(launches, bytes) by op of a function of an image and a weight."""
    counter = launches.CostCounter()
    with launches.on_a_gpu(), torch.no_grad():
        image = torch.empty(1, 16, 64, 64, device="cuda:0").to(**layouts)
        weight = torch.empty(16, 16, 3, 3, device="cuda:0").to(**layouts)
        with counter:
            function(image, weight)
    return {op: row[:2] for op, row in counter.cost.by_op().items()}


LAST = {"memory_format": torch.channels_last}
BIAS = 4 * 16
WEIGHT = 4 * 16 * 16 * 9


CASES = {
    "view": (lambda x, w: x.view(16, -1)[2:, None].mT, {}, {}),
    "allocation": (lambda x, w: torch.empty_like(x), {}, {}),
    "sum with itself": (lambda x, w: x + x, {}, {"add": (1, 2 * IMAGE)}),
    "sum": (lambda x, w: x + w[0, 0, 0, 0], {}, {"add": (1, 2 * IMAGE + 4)}),
    "in place": (lambda x, w: x.mul_(2), {}, {"mul_": (1, 2 * IMAGE)}),
    "convolution": (
        lambda x, w: F.conv2d(x, w, padding=1),
        LAST,
        {"convolution": (1, 2 * IMAGE + WEIGHT)},
    ),
    "convolution with bias": (
        lambda x, w: F.conv2d(x, w, x[0, :, 0, 0].clone(), padding=1),
        LAST,
        {
            "convolution": (1, 2 * IMAGE + WEIGHT + BIAS),
            "conv bias": (1, 2 * IMAGE + BIAS),
            "clone": (1, 2 * BIAS),
        },
    ),
    "convolution of planes": (
        lambda x, w: F.conv2d(x.contiguous(), w, padding=1),
        LAST,
        {
            "clone": (1, 2 * IMAGE),
            "conv: input to NHWC": (1, 2 * IMAGE),
            "convolution": (1, 2 * IMAGE + WEIGHT),
        },
    ),
    "warp": (lambda x, w: kernels.warp(x, x[:, :2]), LAST, {"warp": (1, 2 * IMAGE + IMAGE // 8)}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_op_costs_its_launches_and_its_bytes(case):
    pytest.importorskip("triton")
    function, layouts, expected = CASES[case]
    assert counted(function, **layouts) == expected


def test_a_launch_inside_an_op_of_the_project_is_counted():
    pytest.importorskip("triton")
    found = counted(
        lambda x, w: kernels.lucas_kanade(*[x[:, :1]] * 2, *[x[:, :2]] * 2, x[0, :1, 0, 0])
    )
    assert found["lucas_kanade"][0] == 3  # the warps, the steps, their mean


def test_flops_are_those_of_convolutions():
    pytest.importorskip("triton")
    counter = launches.CostCounter()
    with launches.on_a_gpu(), counter:
        F.conv2d(torch.empty(1, 4, 8, 8, device="cuda:0"), torch.empty(6, 4, 3, 3, device="cuda:0"))
    assert counter.cost.totals[2] == 2 * 6 * 4 * 9 * 36


@pytest.mark.slow
def test_a_frame_without_context_costs_less_and_the_reference_more():
    pytest.importorskip("triton")
    fused = launches.frame(TINY, 64, 96, 6, torch.bfloat16)
    assert set(fused.by_part()) >= {"encoder", "transformer", "flow", "synthesis", "refine"}
    for fewer in (
        launches.frame(TINY, 64, 96, 2, torch.bfloat16),
        launches.frame(replace(TINY, layers=1), 64, 96, 6, torch.bfloat16),
    ):
        assert fewer.totals < fused.totals
    reference = launches.frame(TINY, 64, 96, 6, torch.bfloat16, "reference")
    assert reference.totals[0] > fused.totals[0] and reference.totals[1] > fused.totals[1]


@pytest.mark.slow
def test_a_step_is_counted_forward_and_backward():
    pytest.importorskip("triton")
    config = Config(
        replace(TINY, layers=1),
        DataConfig(crop_height=32, crop_width=48, context_frames=3),
        TrainConfig(batch_size=2),
    )
    cost = launches.training_step(config, torch.bfloat16)
    assert {"loss", "backward", "encoder"} <= set(cost.by_part())
    # most convolutions have two gradients; those beside the references, a third of all, have none
    assert cost.by_op()["convolution_backward"][0] > 1.2 * cost.by_op()["convolution"][0]
    recompute = replace(config.train, recompute_encoder=True, recompute_refine=True)
    assert launches.training_step(replace(config, train=recompute), torch.bfloat16).totals > (
        cost.totals
    )


def test_another_system_is_refused_with_the_remedy(monkeypatch):
    if torch.version.cuda is not None:
        pytest.skip("a torch with CUDA needs no guard")
    monkeypatch.setattr(dataless.torch, "__file__", "/nowhere/torch/__init__.py")
    with pytest.raises(LiftError, match="need a torch for Linux"), dataless.cuda_guard():
        pass
