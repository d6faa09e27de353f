"""`adjacent_frames`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import check_tensor
from lift.kernels.ops.adjacent_frames.reference import adjacent_frames_reference, empty_outputs

# -- the op ----------------------------------------------------------------------------------------

ADJACENT_FRAMES = autograd.Op(
    name="adjacent_frames",
    schema="(Tensor times, Tensor mask, Tensor indices, int left, int per_side)"
    " -> (Tensor, Tensor, Tensor)",
    backward_schema=None,
    inputs=0,
    tensors=3,
    features=0,
    fake=lambda times, mask, indices, left, per_side: empty_outputs(times, per_side),
    reference=adjacent_frames_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    times = torch.arange(-3, 4, dtype=torch.float32).repeat(2, 1)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, 2] = False
    return times, mask, torch.arange(14).view(2, 7), 3, 3


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", ADJACENT_FRAMES)
dispatch.register(
    "adjacent_frames",
    _triton,
    dispatch.Backend(
        "reference", adjacent_frames_reference, dispatch.always_supported, fused=False
    ),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def adjacent_frames(
    times: torch.Tensor,
    mask: torch.Tensor,
    indices: torch.Tensor,
    left: int,
    per_side: int = 1,
    *,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The frames nearest to two references on either side, as gaps between frames.

    Gaps are in the order: before the left reference, after the right one, then before and after
    those two, and so on. Each lies between an inner frame, nearer to the references, and an outer
    one, at most 2 intervals away.

    Args:
        times: (B, T), float32 or float64, in intervals of the references, which are at 0 and 1; the
            frames are in any order, and the times of real ones differ.
        mask: (B, T), bool, whether a frame is real.
        indices: (B, T), int64, of the frames in a list, any where masked.
        left: position of the left reference; the right one follows it.
        per_side: gaps on each side, 1 to 3.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        Indices of the earlier and of the later frame of each gap, (2, B, G), int64, G = 2 *
        per_side; the times of the outer frames, (B, G), one interval farther out where there is
        none; and whether there is one, (B, G), bool. A gap without an outer frame has its inner
        frame at both ends.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "adjacent_frames"
    check_tensor(op, "times", times)
    if times.ndim != 2:
        raise ValueError(f"{op}: times must be (B, T), got {tuple(times.shape)}")
    for name, x, dtype in (("mask", mask, torch.bool), ("indices", indices, torch.int64)):
        if not isinstance(x, torch.Tensor) or x.dtype != dtype:
            got = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"{op}: {name} must be a tensor of {dtype}, got {got}")
        if x.shape != times.shape or x.device != times.device:
            raise ValueError(
                f"{op}: {name} must be {tuple(times.shape)} on {times.device} like times, "
                f"got {tuple(x.shape)} on {x.device}"
            )
    if not 0 <= left < times.shape[1] - 1:
        raise ValueError(f"{op}: left must be in 0..{times.shape[1] - 2}, got {left}")
    if per_side not in (1, 2, 3):
        raise ValueError(f"{op}: per_side must be 1, 2 or 3, got {per_side}")
    return dispatch.call(op, backend, times, mask, indices, left, per_side)
