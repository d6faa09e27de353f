"""Loading the weights to be scored."""

from pathlib import Path

import torch

from lift.devices import choose_device
from lift.model.pretrained import weights_path
from lift.model.weights import load_weights


def load(checkpoint: str | Path, kernels: str = "auto", device: str = "auto") -> torch.nn.Module:
    """A model with the weights of a file, in evaluation mode, on a device.

    Args:
        checkpoint: a .safetensors file that LIFT wrote, or the name of bundled weights.
        kernels: auto, fused or reference.
        device: cpu, cuda, cuda:N, or auto (CUDA where there is one).

    Raises:
        LiftError: the file cannot be loaded, or there is no such device.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # peak memory is counted on the current device
    model, _ = load_weights(weights_path(checkpoint), kernels=kernels)
    return model.to(chosen)
