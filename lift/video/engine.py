"""The model as a stream runs it: precision, memory format, torch.compile, CUDA graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from fractions import Fraction

import torch
from torch import nn

from lift import kernels
from lift.errors import LiftError
from lift.model.adjacent import AdjacentMotion
from lift.model.blocks import PreciseLinear, upsample
from lift.model.images import MULTIPLE, reduced
from lift.model.types import FrameFeatures, Motion, Prediction, ReferencePair, expand
from lift.video.cuda_graphs import CudaGraphRecorder, GraphedCall

# arguments of `synthesize` that keep their address: the ring buffer's keys and values
RING_BUFFER_ARGUMENTS = (3, 4)
LARGEST_DENOMINATOR = 8  # of the scale, so that little is added to the sides of frames


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
        scale: what frames are reduced to before they are encoded, in (0, 1].

    Attributes:
        model: the model as it runs.
        path_frames: of the model's configuration.
        scale: as a fraction with a denominator of at most `LARGEST_DENOMINATOR`.
        multiple: what the sides of frames that are reduced have to be multiples of, pixels.
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
        scale: float = 1.0,
    ):
        if cuda_graph and device.type != "cuda":
            raise LiftError(
                f"CUDA graphs need a GPU, and the model runs on {device.type}; "
                "leave --cuda_graph out"
            )
        self.device, self.dtype, self.recorded = device, dtype, False
        fraction = Fraction(scale).limit_denominator(LARGEST_DENOMINATOR)
        self.scale = scale = float(fraction)
        self.multiple = MULTIPLE * fraction.denominator
        self.path_frames = model.config.path_frames
        model = model.to(device).eval()
        if dtype != torch.float32:
            model = cast_weights(model, dtype)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.model = model
        calls = [
            model.encode if scale == 1 else lambda image: model.encode(reduced(image, scale)),
            model.prepare_pair,
            lambda *arguments: model.with_images(*arguments),
            model.estimate_motion,
            lambda *arguments: model.synthesize(*arguments, with_attention=False).frame,
            lambda *arguments: _frame_and_state(model.synthesize(*arguments, with_attention=False)),
        ]
        if compiled:
            calls = [torch.compile(call, dynamic=False, fullgraph=True) for call in calls]
        calls = [_in_precision(call, device.type, dtype) for call in calls]
        self._plain = calls
        self._use(calls)
        if cuda_graph:
            self.record(CudaGraphRecorder(device))

    def _use(self, calls: list[Callable]) -> None:
        (
            self._encode,
            self._prepare_pair,
            self._with_images,
            self._estimate_motion,
            self._synthesize,
            self._synthesize_with_state,
        ) = calls

    def record(self, recorder: Callable) -> None:
        """From now on, record each call once for every set of argument shapes and replay it."""
        self.recorded, self._recorder = True, recorder
        fixed = [()] * 4 + [RING_BUFFER_ARGUMENTS] * 2
        calls = zip(self._plain, fixed, strict=True)
        self._use([GraphedCall(call, recorder, arguments) for call, arguments in calls])

    def forget_recordings(self) -> None:
        """Free the memory of all recordings; calls are recorded again when they are next used."""
        if self.recorded:
            is_cuda = isinstance(self._recorder, CudaGraphRecorder)
            self.record(CudaGraphRecorder(self.device) if is_cuda else self._recorder)

    def encode(self, image: torch.Tensor) -> FrameFeatures:
        """(1, 3, H, W) float32 in [0, 1] -> its features, at `scale` times the size."""
        return self._run(self._encode, image)

    def prepare_pair(self, left: FrameFeatures, right: FrameFeatures) -> ReferencePair:
        """As `LIFT.prepare_pair`, of the features of one frame each."""
        return self._run(self._prepare_pair, left.reference_only(), right.reference_only())

    def with_images(
        self, pair: ReferencePair, left: torch.Tensor, right: torch.Tensor
    ) -> ReferencePair:
        """As `LIFT.with_images`, of one pair."""
        return self._run(self._with_images, pair, left, right)

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
        with_state: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """As `LIFT.synthesize`, but the frames alone, (B, 3, H, W) float32.

        With `with_state` also the flows and visibilities, (B, 6, H/4, W/4) float32.
        """
        arguments = (pair, motion, adjacent, keys, values, times, mask, t)
        if not with_state:
            return self._run(self._synthesize, *arguments).float()
        frames, state = self._run(self._synthesize_with_state, *arguments)
        return frames.float(), state.float()

    @torch.no_grad()
    def warp_alpha(
        self, alpha0: torch.Tensor, alpha1: torch.Tensor, state: torch.Tensor
    ) -> torch.Tensor:
        """The alpha of targets, from that of their references and their motion.

        Args:
            alpha0, alpha1: (1, 1, H, W) float32 in [0, 1].
            state: (B, 6, H/4, W/4), H and W rounded up.

        Returns:
            (B, 1, H, W) float32 in [0, 1].
        """
        h, w = alpha0.shape[-2:]
        state = upsample(state, 4)[..., :h, :w]
        flows, visibility = 4 * state[:, :4], state[:, 4:]
        parts = (*flows.split(2, 1), *visibility.split(1, 1))
        alphas = expand((alpha0, alpha1), len(state))
        return kernels.warp_blend(*(x.contiguous() for x in (*alphas, *parts)))

    def _run(self, call, *arguments):
        if self.device.type != "cuda":
            return call(*arguments)
        with torch.cuda.device(self.device), _cudnn_benchmark():
            return call(*arguments)


def _frame_and_state(prediction: Prediction) -> tuple[torch.Tensor, torch.Tensor]:
    return prediction.frame, prediction.state


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
