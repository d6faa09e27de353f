"""OpenCV, imported where it is used: the rest of the package runs without it."""

from types import ModuleType

from lift.errors import LiftError


def opencv(purpose: str) -> ModuleType:
    """The module cv2.

    Raises:
        LiftError: OpenCV is not installed; `purpose` says what needed it.
    """
    try:
        import cv2
    except ImportError:
        raise LiftError(f"{purpose} needs OpenCV: pip install opencv-python-headless") from None
    return cv2
