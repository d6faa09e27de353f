"""The forms in which a stream runs the model give what the plain model gives."""
import pytest
import torch
from parity import wake
from test_graphs import Recorder
from test_interpolator import EXACT, interpolator, model, tensors  # noqa: F401  the fixture `model`
from test_lift import SMALL
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lift.errors import LiftError
from lift.model.features import Neighbours
from lift.model.lift import LIFT
from lift.video.engine import FIXED, Engine, lowered
from lift.video.graphs import Graphed
from lift.video.interpolator import Interpolator

CPU = torch.device("cpu")


def made(smooth, multi=3):
    return [frame for k, frame in enumerate(smooth.frames(tensors(6), multi)) if k % multi]


@pytest.mark.parametrize("options", ({"channels_last": False}, {"batch": 2}, {"context": 4}), ids=str)
def test_layout_and_batch_change_nothing_but_rounding(model, options):  # noqa: F811
    reference = {"context": options.get("context", 15), "channels_last": True}
    for a, b in zip(made(interpolator(model, **options)), made(interpolator(model, **reference)), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("options", ({}, {"batch": 2}, {"reverse_average": True}), ids=str)
def test_recorded_streams_are_the_plain_ones(model, options, monkeypatch):  # noqa: F811
    """With the recorder that stands in for CUDA graphs: a second stream has another ring."""
    smooth, recorder = interpolator(model, **options), Recorder()
    engine = smooth.engine
    for name, fixed in (("_encode", ()), ("_pair", ()), ("_motion", ()), ("_at", FIXED)):
        monkeypatch.setattr(engine, name, Graphed(engine._within(getattr(engine, name)), fixed, recorder))
    for _ in range(2):
        for a, b in zip(made(smooth), made(interpolator(model, **options)), strict=True):
            torch.testing.assert_close(a, b, **EXACT)
    a, b = tensors(2)
    for t in (0.3, 0.6):
        torch.testing.assert_close(smooth.between(a, b, t), interpolator(model, **options).between(a, b, t), **EXACT)
    sizes = 2 if "batch" in options else 1              # of the motion: of several targets, and half way
    assert recorder.recorded == 1 + 1 + sizes + 2 + 1   # of making targets one for every ring, the third for two frames alone


def test_compiled_streams_are_the_plain_ones(monkeypatch):
    compile, small = torch.compile, wake(LIFT(SMALL, kernels="reference"))
    monkeypatch.setattr(torch, "compile", lambda call, **options: compile(call, backend="eager", **options))
    torch._dynamo.reset()
    for a, b in zip(made(interpolator(small, compiled=True), 2), made(interpolator(small), 2), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16), ids=str)
def test_half_precision_is_autocast_of_the_whole_weights(model, dtype):  # noqa: F811
    before = {name: p.clone() for name, p in model.named_parameters()}
    frames = [frame[None] for frame in tensors(2)]
    halved = made(interpolator(model, dtype=dtype))
    assert all(torch.equal(p, before[name]) and p.dtype == torch.float32 for name, p in model.named_parameters())
    with torch.no_grad(), torch.autocast("cpu", dtype):
        whole, cast = model.encode(frames[0]).keys, lowered(model, dtype).encode(frames[0]).keys
    assert torch.equal(whole, cast) and whole.dtype == dtype
    worst = max((a - b).abs().max() for a, b in zip(halved, made(interpolator(model)), strict=True))
    assert 0 < worst < 0.05


def test_graphs_need_a_gpu(model):  # noqa: F811
    with pytest.raises(LiftError, match="CUDA graphs need a GPU, and the model runs on cpu"):
        Interpolator(model, cuda_graph=True)


class _NothingFromTheHost(TorchDispatchMode):
    """On tensors without data: refuses what would make a GPU wait for the host, or the host for the GPU, while a graph is recorded."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        given = [x for x in tree_leaves((arguments, keywords or {})) if isinstance(x, torch.Tensor)]
        if any(x.device.type == "meta" for x in given) and any(x.device.type == "cpu" and x.ndim for x in given):
            raise AssertionError(f"{function} mixes devices")
        if "_local_scalar_dense" in str(function):
            raise AssertionError("a value is asked for")
        out = function(*arguments, **(keywords or {}))
        if any(isinstance(x, torch.Tensor) and x.device.type == "cpu" and x.ndim for x in tree_leaves(out)):
            raise AssertionError(f"{function} makes a tensor on the host")
        return out


def test_nothing_of_a_recorded_call_comes_from_the_host(model):  # noqa: F811
    meta = torch.device("meta")
    engine = Engine(lowered(model, torch.float32), meta)
    image, times = torch.empty(1, 3, 32, 48, device=meta), torch.empty(1, 4, device=meta)
    with torch.no_grad(), _NothingFromTheHost():
        features = engine._encode(image)
        keys, values = (x[None].expand(1, 4, *x.shape[1:]) for x in (features.keys, features.values))
        pair = engine._pair(image, image, features, features)
        motion, mask, t = engine._motion(pair, times[0, :2]), torch.empty(1, 4, dtype=torch.bool, device=meta), times[0, :2]
        neighbours = Neighbours(motion.across[:1], motion.across[:1], times[:, :2], mask[:, :2])
        assert engine._at(pair, motion, neighbours, keys, values, times, mask, t).shape == (2, 3, 32, 48)
