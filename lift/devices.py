"""The device that a flag names."""

import re
from typing import TYPE_CHECKING

from lift.errors import LiftError

if TYPE_CHECKING:
    import torch

ACCEPTED = "auto, cpu, cuda or cuda:N"


def is_device_name(name: str) -> bool:
    """Whether the name is one of those that `choose_device` accepts."""
    return re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is not None


def choose_device(name: str) -> "torch.device":
    """The device called `name`; auto is the GPU where there is one, else the CPU.

    Raises:
        LiftError: no such name, or PyTorch sees no such GPU.
    """
    import torch  # here, so that the configuration can check names without it

    if not is_device_name(name):
        raise LiftError(f"--device must be {ACCEPTED}, got {name!r}")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        wanted, count = device.index or 0, torch.cuda.device_count()
        if wanted >= count:
            raise LiftError(
                f"--device {name} asks for GPU {wanted}, but PyTorch sees {count} of them here; "
                "use auto, cpu or a smaller number"
            )
    return device
