"""The memory report: fake tensors count what a real step saves; fused kernels save less."""

from dataclasses import replace

import pytest
import torch

from lift import kernels
from lift.commands.train import main
from lift.config import Config, DataConfig, TrainConfig, base, to_flags
from lift.kernels import dispatch as backend
from lift.profiling import memory
from lift.training.state import build_model
from tests.support.models import TINY

SMALL = Config(
    replace(TINY, layers=1),
    DataConfig(crop_height=32, crop_width=48, context_frames=3),
    TrainConfig(batch_size=2),
)
LEAN = {"recompute_encoder": True, "recompute_refine": True}


def lean(config: Config) -> Config:
    return replace(config, train=replace(config.train, **LEAN))


LEAN_MULTI = lean(replace(SMALL, data=replace(SMALL.data, targets=3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "config, autocast",
    [
        (SMALL, None),
        (replace(SMALL, kernels="reference"), torch.bfloat16),
        (LEAN_MULTI, None),
        (LEAN_MULTI, torch.bfloat16),
    ],
    ids=["auto", "reference bfloat16", "lean multi-target", "lean multi-target bfloat16"],
)
def test_counting_without_data_is_counting(config, autocast):
    planned = memory.plan(config, "cpu", autocast, peak=True)
    with kernels.use(config.kernels):
        real = memory.count(
            config, build_model(config), memory.empty_batch(config), autocast, peak=True
        )
    assert all(real.stages.values())
    if autocast is None:
        assert planned == real
    else:  # On a CPU, fake tensors take the statistics of norms for bfloat16 ones.
        assert planned.stages == pytest.approx(real.stages, rel=0.02)


@pytest.mark.slow
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


@pytest.mark.slow
def test_base_at_256_saves_no_more_than_promised():
    """Batch 4 in bfloat16 on a GPU: at most 45 % of the reference path, 12 % with recomputation."""
    config = Config(base(), DataConfig(crop_height=256, crop_width=256), TrainConfig(batch_size=4))
    reference, fused, switched = (
        memory.plan(c, "cuda", torch.bfloat16)
        for c in (
            replace(config, kernels="reference"),
            replace(config, kernels="fused"),
            lean(config),
        )
    )
    assert fused.total <= 0.45 * reference.total
    assert switched.total <= 0.12 * reference.total
    assert switched.stages["encoder"] == 4 * 15 * 3 * 256 * 256 * 2  # its input and nothing else


def test_stages_share_all_of_the_time():
    config = lean(SMALL)
    found = memory.times(config, build_model(config), memory.empty_batch(config), None)
    assert all(found.forward[stage] > 0 and found.backward[stage] > 0 for stage in memory.PARTS)


@pytest.mark.slow
def test_the_command_prints_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = replace(lean(SMALL), train=replace(lean(SMALL).train, batch_size=1, device="cpu"))
    flags = ["--memory_report", *" ".join(to_flags(config).values()).split()]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    assert (
        all(stage in printed for stage in memory.PARTS)
        and "of the reference" in printed
        and "forward" in printed
    )
    assert not list(tmp_path.iterdir())
