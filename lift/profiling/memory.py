"""Activation memory and time of a training step by model stage: `lift train --memory_report`.

Memory is counted on tensors without data (FakeTensorMode), so any machine gives the figures for any
size and for a GPU within seconds: every storage that autograd saves for backward, once, except the
weights. Workspaces of kernels are not counted. Time is measured on one real step on the device of
the run.
"""

import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lift import kernels
from lift.config import Config
from lift.data.clip import Batch, Clip
from lift.kernels import dispatch as backend
from lift.model.lift import LIFT
from lift.profiling.stages import STAGES, Tracer
from lift.saved_tensors import on_saved_storage
from lift.training.distributed import init_distributed
from lift.training.losses import total_loss
from lift.training.optim import autocast_dtype
from lift.training.state import build_model

PARTS = (*STAGES, "loss")


# -- memory ----------------------------------------------------------------------------------------


@dataclass
class SavedActivations:
    """Memory of a training step, bytes.

    Attributes:
        stages: activation memory saved for backward by each stage, in the order of `PARTS`.
        peak: largest memory of all tensors at any moment of forward and backward: with weights,
            gradients and the batch, without the optimizer's state and workspaces of kernels; None
            where it was not counted.
    """

    stages: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    peak: int | None = None

    @property
    def total(self) -> int:
        return sum(self.stages.values())


def count(
    config: Config, model: LIFT, batch: Batch, autocast: torch.dtype | None, *, peak: bool = False
) -> SavedActivations:
    """Count the memory of a step of `model` on `batch`.

    The tensors may be real or without data. Counting the peak takes a backward pass.
    """
    found, tracer = SavedActivations(), Tracer()

    def saved(size: int) -> None:
        found.stages[tracer.stage] += size

    with _Peak(model, batch) if peak else nullcontext() as sizes:
        with tracer.watch(model), on_saved_storage(saved, exclude=model.parameters()):
            loss = _forward(config, model, batch, autocast)
        if sizes is not None:
            run_backward(loss)
            found.peak = sizes.highest
    return found


def run_backward(loss: torch.Tensor) -> None:
    """As loss.backward(), during which modes for functions would not be active."""
    torch.autograd.Variable._execution_engine.run_backward(
        (loss,),
        (torch.ones_like(loss),),
        False,
        False,
        (),
        allow_unreachable=True,
        accumulate_grad=True,
    )


def _forward(
    config: Config, model: nn.Module, batch: Batch, autocast: torch.dtype | None
) -> torch.Tensor:
    with torch.autocast(batch.t.device.type, dtype=autocast, enabled=autocast is not None):
        prediction = model(batch.clip, batch.t, with_attention=False)
    return total_loss(prediction, batch, config.train)[0]


def plan(
    config: Config, device: str, autocast: torch.dtype | None, *, peak: bool = False
) -> SavedActivations:
    """Memory of a step of the configured run on a device, counted without data.

    Args:
        config: batch size, crop, frames, model, kernels and recompute switches have an effect.
        device: "cuda" (no GPU is needed) or "cpu".
        autocast: the dtype that autocast computes in, or None.
        peak: count the peak too, which doubles the time.
    """
    with dataless_step(config, device):
        return count(config, build_model(config), empty_batch(config), autocast, peak=peak)


@contextmanager
def dataless_step(config: Config, device: str) -> Iterator[None]:
    """A step inside the block is one on tensors without data, as on a device with this name."""
    with ExitStack() as stack:
        stack.enter_context(kernels.use(config.kernels))
        if device != "cpu":
            stack.enter_context(backend.assume_available())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_Dataless(as_on_a_gpu=device != "cpu"))
        yield


def empty_batch(config: Config) -> Batch:
    """A batch of the configured shape with any content."""
    data, B = config.data, config.train.batch_size
    T, H, W, K = data.context_frames, data.crop_height, data.crop_width, data.targets
    if K == 1:
        clip = Clip.evenly_spaced(torch.rand(B, T, 3, H, W))
    else:
        N = T + K - (data.sampling == "skip")
        single = Clip.evenly_spaced(torch.empty(1, T, 3, 1, 1))
        row, k, i = torch.meshgrid(torch.arange(B), torch.arange(K), torch.arange(T), indexing="ij")
        clip = Clip(
            frames=torch.rand(B, N, 3, H, W),
            times=single.times.expand(B * K, T),
            mask=single.mask.expand(B * K, T),
            left=single.left,
            frame_index=(row * N + k + i).flatten(0, 1),
        )
    return Batch(
        clip=clip,
        t=torch.full((B * K,), 0.5),
        target=torch.rand(B * K, 3, H, W),
        flow=torch.zeros(B * K, 4, H, W),
        visible=torch.ones(B * K, 2, H, W),
        flow_known=torch.ones(B * K, dtype=torch.bool),
    )


class _Dataless(TorchFunctionMode):
    """Make tensors without data behave like a GPU's, where autocast runs more ops in float32."""

    PRECISE = {
        F.group_norm,
        F.layer_norm,
        F.normalize,
        F.softmax,
        torch.softmax,
        torch.Tensor.softmax,
        torch.Tensor.norm,
        torch.Tensor.log,
        torch.Tensor.exp,
        torch.Tensor.sum,
    }

    def __init__(self, as_on_a_gpu: bool):
        super().__init__()
        self.as_on_a_gpu = as_on_a_gpu

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is torch.Tensor.__bool__:  # the model asks whether t lies in (0, 1)
            return True
        if self.as_on_a_gpu and function in self.PRECISE and torch.is_autocast_enabled("cpu"):
            arguments = [
                x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
                for x in arguments
            ]
        return function(*arguments, **(keywords or {}))


class _Peak(TorchDispatchMode):
    """Peak memory of all tensors of a computation, bytes."""

    def __init__(self, model: nn.Module, batch: Batch):
        super().__init__()
        self.now = self.highest = 0
        self.known: set[int] = set()
        for tensor in (
            *model.parameters(),
            *model.buffers(),
            batch.clip.frames,
            batch.target,
            batch.flow,
            batch.visible,
        ):
            self._add(tensor)

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.highest = max(self.highest, self.now)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        out = function(*arguments, **(keywords or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor)
        return out


# -- time ------------------------------------------------------------------------------------------


@dataclass
class Times:
    """Seconds of a training step by stage; recomputation counts as backward."""

    forward: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    backward: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @property
    def total(self) -> float:
        return sum(self.forward.values()) + sum(self.backward.values())


class _Clock:
    """Adds up the time between calls, for the stage of the earlier call."""

    def __init__(self, device: torch.device, sums: dict[str, float], stage: str):
        self.device, self.sums, self.stage = device, sums, stage
        self.since = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __call__(self, stage: str) -> None:
        if stage != self.stage:
            now = self._now()
            self.sums[self.stage] += now - self.since
            self.stage, self.since = stage, now

    def stop(self) -> None:
        self.sums[self.stage] += self._now() - self.since


def times(config: Config, model: LIFT, batch: Batch, autocast: torch.dtype | None) -> Times:
    """Time forward and backward of a step by stage, with a synchronisation at each change."""
    found, marks = Times(), []

    def entered(stage: str) -> None:
        marks.append((_sequence_number(), stage))
        clock(stage)

    clock = _Clock(batch.t.device, found.forward, "loss")
    with Tracer(entered).watch(model):
        loss = _forward(config, model, batch, autocast)
    clock.stop()
    clock = _Clock(batch.t.device, found.backward, "loss")
    for node in _nodes(loss.grad_fn):
        stage = next(
            (stage for number, stage in reversed(marks) if number < node._sequence_nr()), "loss"
        )
        node.register_prehook(lambda gradients, stage=stage, clock=clock: clock(stage))
    loss.backward()
    clock.stop()
    return found


def _sequence_number() -> int:
    """The number that autograd will give to the next operation."""
    with torch.enable_grad():
        return torch.zeros((), requires_grad=True).view_as(torch.zeros(())).grad_fn._sequence_nr()


def _nodes(root) -> Iterator:
    """All nodes of an autograd graph except those that accumulate gradients."""
    seen, waiting = {root}, [root]
    while waiting:
        node = waiting.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen and following.next_functions:
                seen.add(following)
                waiting.append(following)


# -- the report ------------------------------------------------------------------------------------


def report(config: Config) -> Iterator[str]:
    """Lines of the memory report: bytes, then seconds, by model stage.

    Bytes are given for the reference path and for the run as configured; those of a GPU, whether
    there is one or not, unless the configuration names the CPU.

    Raises:
        LiftError: the device that the configuration names is not there.
    """
    with init_distributed(config.train.device) as distributed:
        device = distributed.device
    settings, data = config.train, config.data
    target = "cpu" if settings.device == "cpu" else "cuda"
    absent_gpu = target != device.type and settings.amp == "auto"
    autocast = torch.bfloat16 if absent_gpu else autocast_dtype(settings.amp, device)
    plain = replace(
        config,
        kernels="reference",
        train=replace(settings, recompute_encoder=False, recompute_refine=False),
    )
    precision = "float32" if autocast is None else str(autocast).removeprefix("torch.")
    targets = f", {data.targets} targets of each" if data.targets > 1 else ""
    yield (
        f"activation memory saved for backward by a step of {config.model.preset}: "
        f"batch {settings.batch_size}{targets}, {data.context_frames} frames of "
        f"{data.crop_height} x {data.crop_width}, {precision}, "
        f"on a {'CPU' if target == 'cpu' else 'GPU'}; MB"
    )
    reference, run = (plan(c, target, autocast, peak=True) for c in (plain, config))

    def row(name: str, *sizes: int) -> str:
        return f"{name:14}" + "".join(f"{size / 1e6:12.1f}" for size in sizes)

    yield f"{'stage':14}{'reference':>12}{'this run':>12}"
    for stage in PARTS:
        yield row(stage, reference.stages[stage], run.stages[stage])
    share = f"{run.total / reference.total:.0%} of the reference"
    yield f"{row('all', reference.total, run.total)}   {share}"
    yield (
        f"{row('peak', reference.peak, run.peak)}   "
        "with weights, gradients, batch; without optimizer state and workspaces"
    )
    yield ""
    autocast = autocast_dtype(settings.amp, device)
    yield f"seconds per step on this machine, on {device.type}, after one warm-up step"
    model = build_model(config).to(device)
    batch = empty_batch(config).to(device)
    with kernels.use(config.kernels):
        times(config, model, batch, autocast)
        found = times(config, model, batch, autocast)
    yield f"{'stage':14}{'forward':>12}{'backward':>12}{'share':>12}"
    for stage in PARTS:
        forward, backward = found.forward[stage], found.backward[stage]
        yield f"{stage:14}{forward:12.4f}{backward:12.4f}{(forward + backward) / found.total:12.0%}"
    yield f"{'all':14}{sum(found.forward.values()):12.4f}{sum(found.backward.values()):12.4f}"
    if device.type == "cuda":
        yield f"peak GPU memory allocated: {torch.cuda.max_memory_allocated(device) / 1e6:.1f} MB"
