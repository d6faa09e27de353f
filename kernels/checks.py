"""Argument checks, and checks for what a backend supports.

A wrong argument raises where the public function is called; the message names the argument, what
it should be and what it is.
"""

import functools
import warnings
from collections.abc import Callable

import torch

from lift.kernels.transforms import in_transform

MAX_SIDE = 1 << 24  # max_side in csrc: a larger float32 coordinate is no whole pixel
HALF_DTYPES = (torch.float16, torch.bfloat16)
TRITON_DTYPES = (torch.float32, *HALF_DTYPES)
FLOAT_DTYPES = (*TRITON_DTYPES, torch.float64)


# -- arguments -------------------------------------------------------------------------------------


def check_tensor(op: str, name: str, value) -> None:
    """Raise TypeError unless `value` is a dense tensor of a supported floating dtype."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(value).__name__}")
    if value.dtype not in FLOAT_DTYPES:
        if not value.is_floating_point():
            raise TypeError(f"{op}: {name} must be a floating tensor, got {value.dtype}")
        raise TypeError(
            f"{op}: {name} must be float32, float16, bfloat16 or float64, got {value.dtype}"
        )
    if not _is_dense(value):
        layout = "a nested tensor" if value.is_nested else value.layout
        raise TypeError(f"{op}: {name} must be a dense tensor, got {layout}")


def _is_dense(x: torch.Tensor) -> bool:
    return x.layout is torch.strided and not x.is_nested


def check_image(op: str, name: str, value) -> None:
    """Raise TypeError or ValueError unless `value` is a floating-point tensor (B, C, H, W)."""
    check_tensor(op, name, value)
    if value.ndim != 4:
        raise ValueError(f"{op}: {name} must be (B, C, H, W), got {tuple(value.shape)}")


def check_same(
    op: str,
    name: str,
    value,
    other_name: str,
    other: torch.Tensor,
    shape: tuple,
    dtype: torch.dtype | None = None,
) -> None:
    """Raise unless `value` has this shape, and this dtype if any, on the device of `other`.

    Raises:
        TypeError: not a floating-point tensor, or of another dtype.
        ValueError: another shape or device.
    """
    check_tensor(op, name, value)
    if value.shape != shape:
        raise ValueError(
            f"{op}: {name} must be {tuple(shape)} to fit {other_name} {tuple(other.shape)}, "
            f"got {tuple(value.shape)}"
        )
    if dtype is not None and value.dtype != dtype:
        raise TypeError(f"{op}: {name} must be {dtype} to fit {other_name}, got {value.dtype}")
    if value.device != other.device:
        raise ValueError(
            f"{op}: {name} must be on {other.device} like {other_name}, got {value.device}"
        )


def check_flow(op: str, name: str, flow, image_name: str, image: torch.Tensor) -> None:
    """Raise unless `flow` is (B, 2, H, W) for `image` (B, C, H, W), in the accumulation dtype."""
    B, _, H, W = image.shape
    check_same(op, name, flow, image_name, image, (B, 2, H, W), accumulate_dtype(image))


def accepts_old_names(**names: str) -> Callable:
    """Decorate a function whose parameters were renamed: old keywords work, with a warning.

    Args:
        names: the new name for each old one.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*arguments, **keywords):
            for old in names.keys() & keywords.keys():
                warnings.warn(
                    f"{function.__name__}: {old} is deprecated; use {names[old]}",
                    DeprecationWarning,
                    stacklevel=2,
                )
                keywords[names[old]] = keywords.pop(old)
            return function(*arguments, **keywords)

        return call

    return decorate


# -- what a backend supports -----------------------------------------------------------------------


class ByDesign(str):
    """A reason why a backend does not support a call that is no news: nobody is warned of it."""


def unsupported_images(
    images: torch.Tensor, device: str, dtypes: tuple[torch.dtype, ...], min_side: int | None = 0
) -> str | None:
    """The reason why kernels for this device and these dtypes do not support images, or None.

    Args:
        images: (B, C, H, W).
        device: "cpu" or "cuda".
        min_side: the shortest side in pixels; None for tensors of any shape.
    """
    if images.device.type != device:
        needed = "the CPU" if device == "cpu" else "a CUDA device"
        return f"the tensors are on {images.device.type}, not on {needed}"
    if not _is_dense(images):
        return "images that are no dense tensor"
    if images.dtype not in dtypes:
        *names, last = (str(dtype).removeprefix("torch.") for dtype in (images.dtype, *dtypes))
        return f"images of {names[0]}: {', '.join(names[1:])} or {last} only"
    if min_side is None:
        return None
    H, W = images.shape[2:]
    if not min_side <= min(H, W) <= max(H, W) <= MAX_SIDE:
        return f"images of {H} x {W} pixels: sides from {min_side} to {MAX_SIDE} only"
    return None


def unsupported_kind(*arguments) -> str | None:
    """The reason why no backend supports the kind of tensors among arguments, or None.

    Args:
        arguments: of an op; the first holds features, others may be masks too.
    """
    for i, x in enumerate(arguments):
        if not isinstance(x, torch.Tensor):
            continue
        if not _is_dense(x):
            return f"{'a nested tensor' if x.is_nested else f'a tensor in {x.layout}'}: dense only"
        if x.dtype not in FLOAT_DTYPES and (i == 0 or x.is_floating_point() or x.is_complex()):
            return f"a tensor of {x.dtype}: float32, float16, bfloat16 or float64 only"
    return None


def unsupported_by_triton(
    interpreted: bool, *images: torch.Tensor, min_side: int | None = 0
) -> str | None:
    """The reason why Triton kernels do not support images (B, C, H, W), or None.

    Args:
        interpreted: whether the kernels run under Triton's interpreter, on the CPU.
        images: the first is checked; none for what holds on this machine whatever the arguments.
        min_side: as in `unsupported_images`.
    """
    on_gpu = bool(images) and images[0].is_cuda  # then the query, which takes time, is needless
    if not on_gpu and not interpreted and not torch.cuda.is_available():
        return "no CUDA device"
    if not images:
        return None
    device = "cuda" if on_gpu or not interpreted else "cpu"
    return unsupported_images(images[0], device, TRITON_DTYPES, min_side)


def unsupported_gradient(**inputs: torch.Tensor) -> str | None:
    """The reason why a kernel without gradients does not support its inputs, or None."""
    if in_transform():
        return "it has no gradient, which a transform of torch.func may need"
    if torch.is_grad_enabled():
        for name, x in inputs.items():
            if x.requires_grad:
                return ByDesign(
                    f"a gradient of {name} is required, which the kernels do not compute"
                )
    return None


def _constant_when_traced(function: Callable) -> Callable:
    """As `torch.compiler.assume_constant_result`, which would import torch._dynamo."""
    function._dynamo_marked_constant = True
    return function


@_constant_when_traced  # torch.compile cannot trace the query
def capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of a GPU, (8, 9) for 8.9."""
    return torch.cuda.get_device_capability(device)


# -- dtypes ----------------------------------------------------------------------------------------


def accumulate_dtype(x: torch.Tensor) -> torch.dtype:
    """float32, or float64 for a float64 tensor: the dtype of coordinates, weights and sums.

    In half precision a coordinate of 1000 would be up to 4 pixels off.
    """
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def upcast_under_autocast(value):
    """A half tensor as float32 under autocast, such as the output of a layer run in half."""
    if (
        isinstance(value, torch.Tensor)
        and value.dtype in HALF_DTYPES
        and _autocast(value.device.type)
    ):
        return value.float()
    return value


def promote_under_autocast(*values):
    """Tensors of several dtypes in the widest of them under autocast, as its list to promote.

    Outside of autocast, and where they have one dtype, they are returned as they are.
    """
    dtypes = {x.dtype for x in values if isinstance(x, torch.Tensor)}
    if len(dtypes) < 2 or not all(
        [
            isinstance(x, torch.Tensor) and x.is_floating_point() and _autocast(x.device.type)
            for x in values
        ]
    ):
        return values
    widest = functools.reduce(torch.promote_types, dtypes)
    return tuple([x.to(widest) for x in values])


def cast_to_autocast(value):
    """A float32 or half tensor in autocast's dtype, as in `F.scaled_dot_product_attention`."""
    if (
        isinstance(value, torch.Tensor)
        and value.dtype in (torch.float32, *HALF_DTYPES)
        and _autocast(value.device.type)
    ):
        return value.to(torch.get_autocast_dtype(value.device.type))
    return value


def autocast_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype in which a linear layer computes with x: autocast's under autocast, else its own.

    Autocast leaves float64 as it is.
    """
    if x.dtype != torch.float64 and _autocast(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _autocast(device: str) -> bool:
    # "meta" raises, and torch 2.11 traces no better query.
    return device != "meta" and torch.is_autocast_enabled(device)
