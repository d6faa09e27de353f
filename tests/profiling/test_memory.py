"""The memory report: counted without data it is what a real step keeps, and the fused kernels and
the switches keep what they promise.
"""

from dataclasses import replace

import pytest
import torch

from lift import kernels
from lift.commands.train import main
from lift.config import Config, DataConfig, TrainConfig, base
from lift.kernels import dispatch as backend
from lift.profiling import memory
from lift.training.state import build_model
from tests.support.models import TINY

MODEL = replace(TINY, layers=1)

SMALL = Config(
    MODEL, DataConfig(crop_height=48, crop_width=64, context_frames=4), TrainConfig(batch_size=2)
)
LEAN = {"recompute_encoder": True, "recompute_refine": True}


def lean(config: Config) -> Config:
    return replace(config, train=replace(config.train, **LEAN))


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, kernels="reference"),
        lean(replace(SMALL, data=replace(SMALL.data, targets=3))),
    ],
    ids=["auto", "reference", "lean and several"],
)
def test_counting_without_data_is_counting(config, autocast):
    planned = memory.plan(config, "cpu", autocast, peak=True)
    with kernels.use(config.kernels):
        real = memory.count(
            config, build_model(config), memory.empty_batch(config), autocast, peak=True
        )
    assert all(real.stages.values())
    # Without data PyTorch takes the statistics of norms for bfloat16 ones, on a CPU alone; else the
    # bytes are the same.
    assert (
        planned == real
        if autocast is None
        else planned.stages == pytest.approx(real.stages, rel=0.02)
    )


def test_a_gpu_is_planned_for_without_one(monkeypatch):
    served = []
    for operation, implementations in backend.operations().items():

        def call(*arguments, name=operation, original=implementations[0].call):
            served.append(name)
            return original(*arguments)

        monkeypatch.setitem(
            backend._operations,
            operation,
            (replace(implementations[0], call=call), *implementations[1:]),
        )
    kept = memory.plan(SMALL, "cuda", torch.bfloat16)
    assert {"warp", "warp_blend", "temporal_attention"} <= set(served)
    served.clear()
    assert (
        memory.plan(replace(SMALL, kernels="reference"), "cuda", torch.bfloat16).total > kept.total
        and not served
    )


def test_base_at_256_keeps_what_was_promised():
    """Batch 4 in bfloat16 on a GPU: fused kernels keep at most 70 % of the reference path's bytes,
    with recompute switches 35 %.
    """
    config = Config(base(), DataConfig(crop_height=256, crop_width=256), TrainConfig(batch_size=4))
    reference, fused, switched = (
        memory.plan(c, "cuda", torch.bfloat16)
        for c in (
            replace(config, kernels="reference"),
            replace(config, kernels="fused"),
            lean(config),
        )
    )
    assert fused.total <= 0.70 * reference.total
    assert switched.total <= 0.35 * reference.total
    assert switched.stages["encoder"] == 4 * 15 * 3 * 256 * 256 * 4  # the frames, and nothing else


def test_stages_share_all_of_the_time():
    config = lean(SMALL)
    found = memory.times(config, build_model(config), memory.empty_batch(config), None)
    assert all(found.forward[stage] > 0 and found.backward[stage] > 0 for stage in memory.PARTS)


def test_the_command_prints_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [
        "--memory_report",
        "--device",
        "cpu",
        "--preset",
        "tiny",
        "--crop_height",
        "32",
        "--crop_width",
        "32",
        "--batch_size",
        "1",
        "--context_frames",
        "3",
        "--recompute_encoder",
        "--radius16",
        "1",
        "--radius8",
        "1",
        "--radius4",
        "1",
        "--layers",
        "1",
    ]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    assert (
        all(stage in printed for stage in memory.PARTS)
        and "of the reference" in printed
        and "forward" in printed
    )
    assert not list(tmp_path.iterdir())
