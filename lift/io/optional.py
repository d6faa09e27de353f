"""Packages that are imported where they are used: everything else runs without them."""

from importlib import import_module
from types import ModuleType

from lift.errors import LiftError

PACKAGES = {
    "av": "av",
    "cv2": "opencv-python-headless",
    "torchvision": "torchvision",
    "wandb": "wandb",
}
NAMES = {
    "av": "PyAV",
    "cv2": "OpenCV",
    "torchvision": "torchvision",
    "wandb": "Weights & Biases",
}


def require(module: str, purpose: str) -> ModuleType:
    """Import a package of PACKAGES or one of its modules.

    Args:
        module: its full name.
        purpose: what needs it, as the beginning of a sentence ("reading a video").

    Raises:
        LiftError: the module cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise LiftError(
            f"{purpose} needs {NAMES[package]}, which cannot be imported ({error}); "
            f"pip install {PACKAGES[package]}"
        ) from error
