"""Checks of an operation's arguments: a mistake is told where it is made, with the argument, what
it should be and what came.

And what is no mistake, but more than a kernel can do.
"""

import torch

LONGEST_SIDE = 1 << 24  # longest_side in csrc/warp.h: a float32 coordinate beyond is no whole pixel


def check_tensor(operation: str, name: str, value) -> None:
    """Raise TypeError where `value` is not a floating tensor."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{operation}: {name} must be a tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{operation}: {name} must be a floating tensor, got {value.dtype}")


def check_image(operation: str, name: str, value) -> None:
    """Raise where `value` is not a floating tensor (B, C, H, W)."""
    check_tensor(operation, name, value)
    if value.ndim != 4:
        raise ValueError(f"{operation}: {name} must be (B, C, H, W), got {tuple(value.shape)}")


def check_same(
    operation: str,
    name: str,
    value,
    other_name: str,
    other: torch.Tensor,
    shape: tuple,
    dtype: torch.dtype | None = None,
) -> None:
    """Raise where `value` is not a floating tensor of this shape (and dtype) on the device of
    `other`.
    """
    check_tensor(operation, name, value)
    if tuple(value.shape) != tuple(shape):
        raise ValueError(
            f"{operation}: {name} must be {tuple(shape)} to fit {other_name} {tuple(other.shape)}, got {tuple(value.shape)}"
        )
    if dtype is not None and value.dtype != dtype:
        raise TypeError(
            f"{operation}: {name} must be {dtype} to fit {other_name}, got {value.dtype}"
        )
    if value.device != other.device:
        raise ValueError(
            f"{operation}: {name} must be on {other.device} like {other_name}, got {value.device}"
        )


def check_flow(operation: str, name: str, flow, image_name: str, image: torch.Tensor) -> None:
    """Raise where `flow` is not (B, 2, H, W) for `image` (B, C, H, W), in the dtype that
    coordinates need.
    """
    B, _, H, W = image.shape
    check_same(operation, name, flow, image_name, image, (B, 2, H, W), coordinate_dtype(image))


def unsuited(
    images: torch.Tensor, device: str, dtypes: tuple[torch.dtype, ...], shortest_side: int = 0
) -> str | None:
    """A clause why kernels for this type of device ("cpu" or "cuda") and these dtypes cannot serve
    images (B, C, H, W), or None.
    """
    if images.device.type != device:
        return f"the tensors are on {images.device.type}, not on {'the CPU' if device == 'cpu' else 'a CUDA device'}"
    if images.dtype not in dtypes:
        *names, last = (str(dtype).removeprefix("torch.") for dtype in (images.dtype, *dtypes))
        return f"images of {names[0]}: {', '.join(names[1:])} or {last} only"
    H, W = images.shape[2:]
    if not shortest_side <= min(H, W) <= max(H, W) <= LONGEST_SIDE:
        return f"images of {H} x {W} pixels: sides from {shortest_side} to {LONGEST_SIDE} only"
    return None


def unsuited_to_triton(interpreted: bool, *images: torch.Tensor) -> str | None:
    """A clause why Triton cannot serve images (B, C, H, W), or None; no images to ask about the
    machine.

    `interpreted`: whether its kernels run under its interpreter, on the CPU.
    """
    if not interpreted and not torch.cuda.is_available():
        return "no CUDA device"
    if not images:
        return None
    device = "cpu" if interpreted and not images[0].is_cuda else "cuda"
    return unsuited(images[0], device, (torch.float32, torch.float16, torch.bfloat16))


@torch.compiler.assume_constant_result  # torch.compile cannot trace the question
def capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of a GPU, (8, 9) for 8.9."""
    return torch.cuda.get_device_capability(device)


def coordinate_dtype(image: torch.Tensor) -> torch.dtype:
    """float32, or float64 for a float64 image: half precision would put a coordinate of 1000 up to
    4 pixels off.
    """
    return torch.float64 if image.dtype == torch.float64 else torch.float32


def promoted(value):
    """Under autocast, a half tensor as float32 (the result of a layer that autocast ran in half);
    else as it came.
    """
    if (
        isinstance(value, torch.Tensor)
        and value.dtype in (torch.float16, torch.bfloat16)
        and _autocast(value.device.type)
    ):
        return value.float()
    return value


def lowered(value):
    """Under autocast, a float32 or half tensor in autocast's dtype, as in
    `F.scaled_dot_product_attention`; else as it came.
    """
    if (
        isinstance(value, torch.Tensor)
        and value.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and _autocast(value.device.type)
    ):
        return value.to(torch.get_autocast_dtype(value.device.type))
    return value


def _autocast(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(
        device
    )  # "meta" raises; torch 2.11 traces no better question
