"""The model in the form in which a stream runs it: its precision and layout, compiled or recorded
where asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import nn

from lift.errors import LiftError
from lift.model.adjacent import AdjacentMotion
from lift.model.blocks import PreciseLinear
from lift.model.types import FrameFeatures, Motion, ReferencePair
from lift.video.cuda_graphs import CudaRecorder, Graphed

FIXED = (
    3,
    4,
)  # of the arguments of `synthesize`: the ring's keys and values are read where they lie


def choose_dtype(dtype: torch.dtype | str, device: torch.device) -> torch.dtype:
    """A dtype as it is; for "auto" the fastest that a device computes in natively.

    That is bfloat16 on GPUs from compute capability 8.0 on, float16 on older ones, which emulate
    bfloat16, and float32 on a CPU.

    Raises:
        ValueError: dtype is neither a torch.dtype nor "auto".
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype != "auto":
        raise ValueError(f"Interpolator: dtype must be a torch.dtype or 'auto', got {dtype!r}")
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


class Engine:
    """What a stream asks of a model: to encode a frame, to make ready a pair, to see its motion, to
    make targets. No gradients.

    Args:
        model: a LIFT model; it is moved to `device` and put into evaluation mode.
        device: where it runs.
        dtype: of autocast; float32 for none. The weights of convolutions and linear layers are then
            kept in it, in a copy.
        channels_last: keep convolution weights, and with them what convolutions answer,
            channels-last.
        compiled: through torch.compile, anew for every size of frame.
        cuda_graph: record each call once as a CUDA graph for every size and replay it.

    Attributes:
        model: the model in the form in which it runs.
        recorded: whether its calls are recorded.

    Raises:
        LiftError: cuda_graph without a GPU.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        compiled: bool = False,
        cuda_graph: bool = False,
    ):
        if cuda_graph and device.type != "cuda":
            raise LiftError(
                f"CUDA graphs need a GPU, and the model runs on {device.type}; leave --cuda_graph out"
            )
        self.device, self.dtype, self.recorded = device, dtype, False
        model = model.to(device).eval()
        if dtype != torch.float32:
            model = lowered(model, dtype)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.model = model
        calls = [
            model.encode,
            model.prepare_pair,
            model.estimate_motion,
            lambda *arguments: model.synthesize(*arguments).frame,
        ]
        if compiled:
            calls = [torch.compile(call, dynamic=False, fullgraph=True) for call in calls]
        calls = [_in_precision(call, device.type, dtype) for call in calls]
        self._encode, self._pair, self._motion, self._at = calls
        if cuda_graph:
            self.record(CudaRecorder(device))

    def record(self, recorder: Callable) -> None:
        """From now on, record each call once for every form of its arguments and replay it."""
        self.recorded = True
        self._encode = Graphed(self._encode, recorder)
        self._pair = Graphed(self._pair, recorder)
        self._motion = Graphed(self._motion, recorder)
        self._at = Graphed(self._at, recorder, FIXED)

    def encode(self, image: torch.Tensor) -> FrameFeatures:
        """(1, 3, H, W) float32 in [0, 1] -> its features."""
        return self._run(self._encode, image)

    def pair(
        self, image0: torch.Tensor, image1: torch.Tensor, left: FrameFeatures, right: FrameFeatures
    ) -> ReferencePair:
        """Two references (1, 3, H, W) and their features -> what all targets between them share."""
        return self._run(self._pair, image0, image1, left.reference_only(), right.reference_only())

    def motion(self, pair: ReferencePair, t: torch.Tensor) -> Motion:
        """As `LIFT.estimate_motion`."""
        return self._run(self._motion, pair, t)

    def at(
        self,
        pair: ReferencePair,
        motion: Motion,
        adjacent: AdjacentMotion | None,
        keys: torch.Tensor,
        values: torch.Tensor,
        times: torch.Tensor,
        mask: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """As `LIFT.synthesize` -> frames (B, 3, H, W) float32."""
        return self._run(self._at, pair, motion, adjacent, keys, values, times, mask, t).float()

    def _run(self, call, *arguments):
        if self.device.type != "cuda":
            with _memory(arguments[0]):
                return call(*arguments)
        with torch.cuda.device(self.device), _measured_convolutions(), _memory(arguments[0]):
            return call(*arguments)


def _in_precision(call: Callable, device_type: str, dtype: torch.dtype) -> Callable:
    """`call` without gradients, under autocast to a dtype; float32 for none."""
    lower = dtype != torch.float32

    @torch.no_grad()
    def inside(*arguments):
        with torch.autocast(device_type, dtype, enabled=lower, cache_enabled=False):
            return call(*arguments)

    return inside


@contextmanager
def _measured_convolutions() -> Iterator[None]:
    """Let cuDNN measure which algorithm is fastest for each convolution, once: the frames of a
    stream have one size. What the user chose comes back; who asks for determinism keeps it."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    fixed = cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    cudnn.benchmark = before or not fixed
    try:
        yield
    finally:
        cudnn.benchmark = before


def lowered(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose convolutions and linear layers hold their weights in `dtype`: what autocast
    would make of them at every call. Layers that compute in full precision keep theirs."""
    model = deepcopy(model)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not isinstance(module, PreciseLinear):
            module.to(dtype)
    return model


@contextmanager
def _memory(given: torch.Tensor | ReferencePair) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        height, width = given.size if isinstance(given, ReferencePair) else given.shape[-2:]
        raise LiftError(
            f"frames of {width}x{height} do not fit into the device's memory; choose a smaller --context_frames, "
            "smaller frames, or --device cpu"
        ) from error
