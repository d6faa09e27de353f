"""The weights under test: loading them, and saying exactly what made the numbers."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from lift import __version__
from lift.devices import choose_device
from lift.model.weights import load_weights

PACKAGES = ("torch", "numpy", "opencv-python-headless", "av")


def load(checkpoint: str | Path, kernels: str = "auto", device: str = "auto") -> torch.nn.Module:
    """A model with the weights of a file, in evaluation mode, on a device.

    Args:
        checkpoint: a .safetensors file that LIFT wrote.
        kernels: auto, fused or reference.
        device: cpu, cuda, cuda:N, or auto (CUDA where there is one).

    Raises:
        LiftError: the file cannot be loaded, or there is no such device.
    """
    chosen = choose_device(device)
    model, _ = load_weights(checkpoint, kernels=kernels)
    return model.to(chosen)


def provenance(checkpoint: str | Path | None) -> dict:
    """JSON-able: versions, machine, threads, and the weights with their SHA-256."""
    made_by = {
        "lift": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        **{name: _version(name) for name in PACKAGES},
    }
    if torch.cuda.is_available():
        made_by["gpu"] = torch.cuda.get_device_name()
    if checkpoint is None:
        return {"made_by": made_by}
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    return {"made_by": made_by, "weights": {"file": Path(checkpoint).name, "sha256": digest}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
