"""Launches, bytes and FLOPs on a GPU of a generated frame and of a training step, without a GPU.

Everything runs on tensors without data, so that seconds give the figures of any size. A launch is a
kernel that a GPU runs. Its bytes are those of every tensor that it reads or writes, once each:
caches are not modelled. FLOPs are those of convolutions and matrix products. The project's own ops
run their Python code, and each of their launches is counted with its arguments. An op of PyTorch is
one launch, with these exceptions for CUDA: a view is none; a convolution adds its bias in another,
and copies an input that is not channels-last where its weights are; each gradient of a convolution
is one; GroupNorm copies channels-last input, takes three launches and answers contiguously.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lift import kernels
from lift.config import Config, ModelConfig
from lift.kernels import autograd, dispatch
from lift.model.adjacent import AdjacentMotion, gaps_per_side
from lift.model.lift import LIFT
from lift.model.types import FrameFeatures
from lift.profiling import memory
from lift.profiling.dataless import GPU, cuda_guard, dataless
from lift.profiling.stages import Tracer
from lift.training.losses import total_loss
from lift.training.state import build_model
from lift.video.engine import Engine

ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
# Ops on lists of tensors: elements of a block, blocks of a launch, and tensors of a launch by the
# number of lists.
MULTI_TENSOR_CHUNK, MULTI_TENSOR_BLOCKS = 65536, 320
MULTI_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36}
GROUP_NORM_LAUNCHES = {"native_group_norm": 3, "native_group_norm_backward": 5}


@dataclass
class Cost:
    """What a computation costs a GPU; each by (part, op).

    Attributes:
        launches: kernels.
        bytes: read and written.
        flops: of convolutions and matrix products.
    """

    launches: Counter = field(default_factory=Counter)
    bytes: Counter = field(default_factory=Counter)
    flops: Counter = field(default_factory=Counter)

    def by_part(self) -> dict[str, tuple[int, int, int]]:
        """(launches, bytes, FLOPs) of each part, in the order in which the parts ran."""
        return self._grouped(0)

    def by_op(self) -> dict[str, tuple[int, int, int]]:
        """(launches, bytes, FLOPs) of each op, the largest bytes first."""
        return dict(sorted(self._grouped(1).items(), key=lambda item: -item[1][1]))

    def _grouped(self, i: int) -> dict[str, tuple[int, int, int]]:
        sums: dict[str, list[int]] = {}
        for key in self.launches:
            row = sums.setdefault(key[i], [0, 0, 0])
            for k, counter in enumerate((self.launches, self.bytes, self.flops)):
                row[k] += counter[key]
        return {name: tuple(row) for name, row in sums.items()}

    @property
    def totals(self) -> tuple[int, int, int]:
        """Launches, bytes and FLOPs of everything."""
        return tuple(sum(x.values()) for x in (self.launches, self.bytes, self.flops))


class CostCounter(TorchDispatchMode):
    """Counts every op that runs inside the block.

    Attributes:
        part: what the next ops are counted under.
        cost: the counts.
    """

    def __init__(self):
        super().__init__()
        self.part, self.cost = "", Cost()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        namespace, name = function._schema.name.split("::")
        if namespace == "lift_triton":
            return self._own(f"{namespace}::{name}", arguments)
        out = function(*arguments, **keywords)
        inputs, outputs = _tensors((arguments, keywords)), _tensors(out)
        if name.startswith("_foreach_"):
            lists = [x for x in arguments if isinstance(x, list)]
            self._add(name, _multi_tensor_launches(*lists), _size(*inputs, *outputs))
            return out
        if not outputs or name in ALLOCATIONS or _is_view(function, inputs, outputs):
            return out
        launches, size = 1, _size(*inputs) + _size(*outputs)
        if name == "convolution":
            image, weight, bias = arguments[:3]
            if bias is not None:
                self._add("conv bias", 1, 2 * _size(out) + _size(bias))
            out = self._channels_last(image, weight, out)
        elif name == "convolution_backward":
            self._channels_last(arguments[0], arguments[2], arguments[0])
            launches = sum(arguments[-1])
        elif name in GROUP_NORM_LAUNCHES:
            image = arguments[name.endswith("backward")]
            launches, size = GROUP_NORM_LAUNCHES[name], size + _size(image)  # read twice
            if _is_channels_last(image):
                self._add("group_norm: input to NCHW", 1, 2 * _size(image))
            out = (out[0].contiguous(), *out[1:])
        flops = 0
        if function._overloadpacket in flop_registry:
            flops = flop_registry[function._overloadpacket](*arguments, **keywords, out_val=out)
        self._add(name, launches, size, flops)
        return out

    def _channels_last(self, image, weight, out):
        """cuDNN computes channels-last where image or weight are; else an input is copied."""
        last = _is_channels_last(weight) or _is_channels_last(image)
        if not last or image.ndim != 4:
            return out
        if not image.is_contiguous(memory_format=torch.channels_last):
            self._add("conv: input to NHWC", 1, 2 * _size(image))
        return out.contiguous(memory_format=torch.channels_last)

    def _own(self, name: str, arguments: tuple):
        def launched(kernel_arguments: dict) -> None:
            self._add(short, 1, _size(*_tensors(list(kernel_arguments.values()))))

        from lift.kernels.launch import observed_launches  # needs Triton

        short = name.split("::")[1]
        with observed_launches(launched), self:
            return autograd.implementations[name](*arguments)

    def _add(self, op: str, launches: int, size: int, flops: int = 0) -> None:
        key = self.part, op
        self.cost.launches[key] += launches
        self.cost.bytes[key] += size
        self.cost.flops[key] += flops


def _tensors(value) -> list[torch.Tensor]:
    return [x for x in tree_leaves(value) if isinstance(x, torch.Tensor)]


def _size(*tensors: torch.Tensor) -> int:
    """Bytes of tensors; an expanded one has those of its memory, and one met twice counts once."""
    sizes = {}
    for x in tensors:
        size = x.numel() * x.element_size()
        key = x.untyped_storage()._cdata, x.storage_offset(), x.shape
        sizes[key] = min(size, x.untyped_storage().nbytes())
    return sum(sizes.values())


def _multi_tensor_launches(*lists: list[torch.Tensor]) -> int:
    """How many kernels an op on lists of tensors launches, as in ATen's MultiTensorApply.cuh."""
    launches, blocks, tensors = 0, 0, 0
    for x in lists[0]:
        tensors += 1
        chunks = -(-x.numel() // MULTI_TENSOR_CHUNK)
        for i in range(chunks):
            blocks += 1
            last = i == chunks - 1
            if blocks == MULTI_TENSOR_BLOCKS or (last and tensors == MULTI_TENSORS[len(lists)]):
                launches, blocks, tensors = launches + 1, 0, int(not last)
    return launches + (blocks > 0)


def _is_view(function, inputs: list, outputs: list) -> bool:
    if function._schema.is_mutable or not outputs:
        return False
    storages = {x.untyped_storage()._cdata for x in inputs}
    return all(x.untyped_storage()._cdata in storages for x in outputs)


def _is_channels_last(x: torch.Tensor) -> bool:
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return last and not x.is_contiguous()


# -- a generated frame -----------------------------------------------------------------------------


@contextmanager
def on_a_gpu() -> Iterator[None]:
    """Tensors made inside the block hold no data; the fused kernels are the ones selected."""
    with ExitStack() as stack:
        stack.enter_context(cuda_guard())
        target = "torch.cuda.amp.common.amp_definitely_not_available"
        stack.enter_context(patch(target, lambda: False))
        stack.enter_context(patch("torch.cuda.is_bf16_supported", lambda *a, **k: True))
        stack.enter_context(patch("torch.cuda.device", _no_device))
        stack.enter_context(patch("torch.cuda.get_device_name", lambda device: "any GPU"))
        stack.enter_context(dispatch.assume_available())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield


@contextmanager
def _no_device(device) -> Iterator[None]:
    yield


def frame(
    config: ModelConfig,
    height: int,
    width: int,
    frames: int,
    dtype: torch.dtype,
    flag: str = "auto",
) -> Cost:
    """The cost of a generated frame of a stream that doubles the rate, by stage.

    A new frame is encoded, the motion of a new pair is estimated, one frame is generated. Copies
    between host and GPU, and those of the ring buffer, are not counted.

    Args:
        config: the model's sizes.
        height, width: of the frames, pixels.
        frames: of context, 2 to 15.
        dtype: of autocast; float32 for none.
        flag: of the kernels.

    Raises:
        LiftError: a torch for another system than Linux.
    """
    prepared = Engine(LIFT(config), torch.device("cpu"), dtype).model
    per_side = gaps_per_side(frames, config.path_frames)
    with on_a_gpu(), kernels.use(flag), torch.no_grad():
        model = dataless(prepared)
        image = torch.empty(1, 3, height, width, device=GPU)
        autocast = torch.autocast(
            "cuda", dtype, enabled=dtype != torch.float32, cache_enabled=False
        )
        with autocast:
            with CostCounter():  # laid out as a GPU does, counted for nothing
                left = model.encode(image)
            generate = generation(model, left, frames, per_side, with_attention=False)
            counter = CostCounter()
            with counter, _parts(model, counter, outside="frame"):
                generate(torch.empty_like(image))
    return counter.cost


def generation(
    stages: LIFT | Engine, left: FrameFeatures, frames: int, per_side: int, **options
) -> Callable[[torch.Tensor], None]:
    """The calls of a stream from the features of a frame to one generated after it.

    Args:
        stages: what runs them.
        left: features of a frame, (1, ...).
        frames: of context.
        per_side: gaps between them on a side that have a motion.
        options: of `synthesize`.

    Returns:
        Takes the next frame (1, 3, H, W).
    """
    keys, values = (x.new_empty((1, frames, *x.shape[1:])) for x in (left.keys, left.values))
    times, t = (torch.empty(1, n, device=GPU) for n in (frames, 1))
    mask, gaps = times > 0, torch.empty(1, 2 * per_side, device=GPU)
    valid = gaps > 0

    def generate(image: torch.Tensor) -> None:
        pair = stages.prepare_pair(left, stages.encode(image))
        motion = stages.estimate_motion(pair, t[0])
        adjacent = None
        if frames > 2:
            flows = torch.empty(1, 2 * per_side, 2, *motion.hidden.shape[2:], device=GPU)
            adjacent = AdjacentMotion(flows, gaps, valid)
        stages.synthesize(pair, motion, adjacent, keys, values, times, mask, t[0], **options)

    return generate


@contextmanager
def _parts(model: LIFT, counter: CostCounter, outside: str) -> Iterator[None]:
    def entered(stage: str) -> None:
        counter.part = outside if stage == "loss" else stage

    entered("loss")
    with Tracer(entered).watch(model):
        yield


# -- a training step -------------------------------------------------------------------------------


def training_step(config: Config, autocast: torch.dtype | None) -> Cost:
    """The cost of a training step's forward, loss and backward, without the optimizer.

    Args:
        config: batch size, crop, frames, model, kernels and recompute switches have an effect.
        autocast: the dtype that autocast computes in, or None.
    """
    with memory.dataless_step(config, "cuda"):
        model, batch = build_model(config), memory.empty_batch(config)
        counter = CostCounter()
        with counter:
            with _parts(model, counter, outside="forward"):
                with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
                    prediction = model(batch.clip, batch.t, with_attention=False)
            counter.part = "loss"
            loss = total_loss(prediction, batch, config.train)[0]
            counter.part = "backward"
            memory.run_backward(loss)
    return counter.cost
