"""The forms in which a stream runs the model give what the plain model gives."""

import gc
import weakref

import pytest
import torch

from lift.errors import LiftError
from lift.model import blocks
from lift.model.adjacent import AdjacentMotion
from lift.model.lift import LIFT
from lift.profiling.dataless import dataless
from lift.video.engine import Engine, cast_weights
from lift.video.interpolator import Interpolator
from tests.support.device_traffic import device_traffic
from tests.support.models import TINY, wake
from tests.support.recorder import Recorder
from tests.support.streams import EXACT, interpolator, tensors

CPU = torch.device("cpu")


def made(smooth, multi=3):
    return [frame for k, frame in enumerate(smooth.frames(tensors(6), multi)) if k % multi]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ({"channels_last": False}, {"batch": 2}, {"context_frames": 4}), ids=str
)
def test_layout_and_batch_change_nothing_but_rounding(model, options):
    reference = {"context_frames": options.get("context_frames", 15), "channels_last": True}
    for a, b in zip(
        made(interpolator(model, **options)), made(interpolator(model, **reference)), strict=True
    ):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("options", ({}, {"batch": 2}, {"reverse_average": True}), ids=str)
def test_recorded_streams_are_the_plain_ones(model, options):
    """With the recorder that stands in for CUDA graphs: the second stream has the first's ring."""
    smooth, recorder = interpolator(model, **options), Recorder()
    smooth.engine.record(recorder)
    for _ in range(2):
        for a, b in zip(made(smooth), made(interpolator(model, **options)), strict=True):
            torch.testing.assert_close(a, b, **EXACT)
    a, b = tensors(2)
    for t in (0.3, 0.6):
        torch.testing.assert_close(
            smooth.between(a, b, t), interpolator(model, **options).between(a, b, t), **EXACT
        )
    sizes = 2 if "batch" in options else 1  # of the motion: of several targets, and half way
    # Of making targets one for every ring: of streams, and of two frames alone.
    assert recorder.recorded == 1 + 1 + sizes + 1 + 1


@pytest.mark.slow
def test_streams_side_by_side_have_a_ring_each(model):
    smooth, plain = interpolator(model), made(interpolator(model))
    smooth.engine.record(Recorder())
    streams = [smooth.frames(tensors(6), 3) for _ in range(2)]
    both = [frames for k, frames in enumerate(zip(*streams, strict=True)) if k % 3]
    for want, found in zip(plain, both, strict=True):
        for frame in found:
            torch.testing.assert_close(frame, want, **EXACT)


@pytest.mark.parametrize("recorded", (False, True))
def test_an_engine_dies_with_its_last_user(model, recorded):
    """At once: what it recorded holds memory of the GPU, which is not to wait for the collector."""
    gc.disable()
    try:
        smooth = interpolator(model)
        if recorded:
            smooth.engine.record(Recorder())
        made(smooth)
        engine = weakref.ref(smooth.engine)
        del smooth
        assert engine() is None
    finally:
        gc.enable()


@pytest.mark.slow
def test_compiled_streams_are_the_plain_ones(monkeypatch):
    compile, small = torch.compile, wake(LIFT(TINY, kernels="reference"))
    monkeypatch.setattr(
        torch, "compile", lambda call, **options: compile(call, backend="eager", **options)
    )
    torch._dynamo.reset()
    for a, b in zip(
        made(interpolator(small, compiled=True), 2), made(interpolator(small), 2), strict=True
    ):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16), ids=str)
def test_half_precision_is_autocast_of_the_whole_weights(model, dtype, monkeypatch):
    before = {name: p.clone() for name, p in model.named_parameters()}
    frames = [frame[None] for frame in tensors(2)]
    halved = made(interpolator(model, dtype=dtype))
    assert all(
        torch.equal(p, before[name]) and p.dtype == torch.float32
        for name, p in model.named_parameters()
    )
    # oneDNN adds and activates with cast weights alone, before it rounds
    monkeypatch.setattr(blocks, "_onednn_fuses", lambda *arguments: False)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        whole, cast = (
            model.encode(frames[0]).keys,
            cast_weights(model, dtype).encode(frames[0]).keys,
        )
    assert torch.equal(whole, cast) and whole.dtype == dtype
    worst = max((a - b).abs().max() for a, b in zip(halved, made(interpolator(model)), strict=True))
    assert 0 < worst < 0.05


def test_graphs_need_a_gpu(model):
    with pytest.raises(LiftError, match="CUDA graphs need a GPU, and the model runs on cpu"):
        Interpolator(model, cuda_graph=True)


@pytest.mark.slow
def test_nothing_of_a_call_comes_from_the_host(model):
    with device_traffic() as found:
        engine = Engine(dataless(model), torch.device("cuda"))
        image, times = torch.empty(1, 3, 32, 48, device="cuda"), torch.empty(1, 4, device="cuda")
        found.clear()
        features = engine.encode(image)
        keys, values = (
            x[None].expand(1, 4, *x.shape[1:]) for x in (features.keys, features.values)
        )
        pair = engine.prepare_pair(features, features)
        mask, t = torch.empty(1, 4, dtype=torch.bool, device="cuda"), times[0, :2]
        motion = engine.estimate_motion(pair, t)
        flow = motion.flow_01[:1]
        adjacent = AdjacentMotion(torch.stack([flow] * 4, 1), times, mask)
        made = engine.synthesize(pair, motion, adjacent, keys, values, times, mask, t)
        assert made.shape == (2, 3, 32, 48)
        assert not (found.uploads or found.downloads or found.waits or found.synchronizations)


@pytest.mark.parametrize("user", (False, True))
@pytest.mark.parametrize("deterministic", (False, True))
def test_convolutions_are_measured_on_a_gpu_and_the_users_choice_comes_back(
    model,
    monkeypatch,
    user,
    deterministic,
):
    cudnn, seen = torch.backends.cudnn, []
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = user, deterministic
    try:
        with device_traffic():
            copy = dataless(model)
            encode = copy.encode
            monkeypatch.setattr(copy, "encode", lambda x: seen.append(cudnn.benchmark) or encode(x))
            Engine(copy, torch.device("cuda")).encode(torch.empty(1, 3, 32, 48, device="cuda"))
        assert seen == [user or not deterministic] and cudnn.benchmark is user
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def test_convolutions_on_a_cpu_are_left_alone(model, monkeypatch):
    seen, encode = [], model.encode
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(model, "encode", lambda x: seen.append(cudnn.benchmark) or encode(x))
    Engine(model, CPU).encode(torch.rand(1, 3, 32, 48))
    assert seen == [cudnn.benchmark]


@pytest.mark.slow
@pytest.mark.parametrize(
    "capability, dtype",
    (((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)),
    ids=str,
)
def test_a_gpu_computes_in_what_it_has_natively(model, monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with device_traffic():
        smooth = Interpolator(dataless(model), device="cuda", dtype="auto")
        assert smooth.engine.dtype == smooth.engine.model.encoder.stem.weight.dtype == dtype
        explicit = Interpolator(dataless(model), device="cuda", dtype=torch.float32)
        assert explicit.engine.dtype == torch.float32


def test_a_cpu_computes_in_float32_unless_otherwise_stated(model):
    assert interpolator(model, dtype="auto").engine.dtype == torch.float32
    assert interpolator(model, dtype=torch.bfloat16).engine.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="dtype must be a torch.dtype or 'auto', got 'bf16'"):
        interpolator(model, dtype="bf16")
