"""Loading the weights to be scored."""

from pathlib import Path

import torch

from lift.config import PRESETS
from lift.devices import choose_device
from lift.errors import LiftError
from lift.model.weights import load_weights, pretrained_path


def path_of(checkpoint: str | Path) -> Path:
    """The file of weights that a path, or a preset with bundled weights, names.

    Raises:
        LiftError: no weights ship for the preset.
    """
    path = Path(checkpoint)
    if path.exists() or str(checkpoint) not in PRESETS:
        return path
    bundled = pretrained_path(str(checkpoint))
    if not bundled.is_file():
        raise LiftError(
            f"no weights ship for preset {checkpoint}; give the path of a .safetensors file"
        )
    return bundled


def load(checkpoint: str | Path, kernels: str = "auto", device: str = "auto") -> torch.nn.Module:
    """A model with the weights of a file, in evaluation mode, on a device.

    Args:
        checkpoint: a .safetensors file that LIFT wrote, or a preset with bundled weights.
        kernels: auto, fused or reference.
        device: cpu, cuda, cuda:N, or auto (CUDA where there is one).

    Raises:
        LiftError: the file cannot be loaded, or there is no such device.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # peak memory is counted on the current device
    model, _ = load_weights(path_of(checkpoint), kernels=kernels)
    return model.to(chosen)
