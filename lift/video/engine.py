"""The model as a stream runs it: precision, memory format, torch.compile, CUDA graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import nn

from lift.errors import LiftError
from lift.model.adjacent import AdjacentMotion
from lift.model.blocks import PreciseLinear
from lift.model.types import FrameFeatures, Motion, ReferencePair
from lift.video.cuda_graphs import CudaGraphRecorder, GraphedCall

# arguments of `synthesize` that keep their address: the ring buffer's keys and values
RING_BUFFER_ARGUMENTS = (3, 4)


def choose_dtype(dtype: torch.dtype | str, device: torch.device) -> torch.dtype:
    """A dtype as it is; for "auto" the fastest that the device supports natively.

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
    """The stages of a model for a stream, without gradients.

    Args:
        model: a LIFT model; it is moved to `device` and put into evaluation mode.
        device: where it runs.
        dtype: of autocast; float32 for none. A copy of the model then stores the weights of
            convolutions and linear layers in it.
        channels_last: store convolution weights channels-last; their outputs follow.
        compiled: use torch.compile, once for every frame size.
        cuda_graph: record each call once for every frame size as a CUDA graph and replay it.

    Attributes:
        model: the model as it runs.
        path_frames: of the model's configuration.
        recorded: whether its calls are recorded as CUDA graphs.

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
                f"CUDA graphs need a GPU, and the model runs on {device.type}; "
                "leave --cuda_graph out"
            )
        self.device, self.dtype, self.recorded = device, dtype, False
        self.path_frames = model.config.path_frames
        model = model.to(device).eval()
        if dtype != torch.float32:
            model = cast_weights(model, dtype)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.model = model
        calls = [
            model.encode,
            model.prepare_pair,
            model.estimate_motion,
            lambda *arguments: model.synthesize(*arguments, with_attention=False).frame,
        ]
        if compiled:
            calls = [torch.compile(call, dynamic=False, fullgraph=True) for call in calls]
        calls = [_in_precision(call, device.type, dtype) for call in calls]
        self._encode, self._prepare_pair, self._estimate_motion, self._synthesize = calls
        if cuda_graph:
            self.record(CudaGraphRecorder(device))

    def record(self, recorder: Callable) -> None:
        """From now on, record each call once for every set of argument shapes and replay it."""
        self.recorded = True
        self._encode = GraphedCall(self._encode, recorder)
        self._prepare_pair = GraphedCall(self._prepare_pair, recorder)
        self._estimate_motion = GraphedCall(self._estimate_motion, recorder)
        self._synthesize = GraphedCall(self._synthesize, recorder, RING_BUFFER_ARGUMENTS)

    def encode(self, image: torch.Tensor) -> FrameFeatures:
        """(1, 3, H, W) float32 in [0, 1] -> its features."""
        return self._run(self._encode, image)

    def prepare_pair(self, left: FrameFeatures, right: FrameFeatures) -> ReferencePair:
        """As `LIFT.prepare_pair`, of the features of one frame each."""
        return self._run(self._prepare_pair, left.reference_only(), right.reference_only())

    def estimate_motion(self, pair: ReferencePair, t: torch.Tensor) -> Motion:
        """As `LIFT.estimate_motion`."""
        return self._run(self._estimate_motion, pair, t)

    def synthesize(
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
        """As `LIFT.synthesize`, but the frames alone, (B, 3, H, W) float32."""
        arguments = (pair, motion, adjacent, keys, values, times, mask, t)
        return self._run(self._synthesize, *arguments).float()

    def _run(self, call, *arguments):
        if self.device.type != "cuda":
            with _out_of_memory_error(arguments[0]):
                return call(*arguments)
        with torch.cuda.device(self.device), _cudnn_benchmark(), _out_of_memory_error(arguments[0]):
            return call(*arguments)


def _in_precision(call: Callable, device_type: str, dtype: torch.dtype) -> Callable:
    """`call` without gradients, under autocast to a dtype; float32 for none."""
    enabled = dtype != torch.float32

    @torch.no_grad()
    def wrapped(*arguments):
        with torch.autocast(device_type, dtype, enabled=enabled, cache_enabled=False):
            return call(*arguments)

    return wrapped


@contextmanager
def _cudnn_benchmark() -> Iterator[None]:
    """Let cuDNN benchmark its algorithms, once for each convolution of a stream's one frame size.

    The user's setting is restored. Deterministic algorithms, if asked for, are respected.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    deterministic = cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    cudnn.benchmark = before or not deterministic
    try:
        yield
    finally:
        cudnn.benchmark = before


def cast_weights(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a model with the weights of its convolutions and linear layers in `dtype`.

    This is the cast that autocast would repeat at every call. Layers that compute in full precision
    are left as they are.
    """
    model = deepcopy(model)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not isinstance(module, PreciseLinear):
            module.to(dtype)
    return model


@contextmanager
def _out_of_memory_error(argument: torch.Tensor | FrameFeatures | ReferencePair) -> Iterator[None]:
    """Turn an out-of-memory error into a LiftError that names the frame size."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        is_image = isinstance(argument, torch.Tensor)
        height, width = argument.shape[-2:] if is_image else argument.size
        raise LiftError(
            f"frames of {width}x{height} do not fit into the device's memory; "
            "choose a smaller --context_frames, smaller frames, or --device cpu"
        ) from error
