"""Methods under test: LIFT, the baselines, functions of a user's file, and saved frames."""

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lift.errors import LiftError
from lift.evaluation import baselines
from lift.evaluation.methods import Method
from lift.evaluation.protocols.real16 import as_clip
from lift.io.images import IMAGE_SUFFIXES, read_image

BASELINES = (*baselines.UNROUNDED_METHODS, *baselines.PATH_METHODS)
FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")  # path/to/file.py:function


def lift_method(model: torch.nn.Module, context_frames: int, about: str = "") -> Method:
    """A LIFT model, or anything with its interface, on the device of its parameters."""
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def interpolate(frames: np.ndarray, times: list[float], left: int, t: float) -> np.ndarray:
        clip = as_clip(frames, times, left, device)
        frame = model(clip, torch.tensor([t], device=device)).frame[0]
        return (255 * frame.float().clamp(0, 1)).permute(1, 2, 0).cpu().numpy()

    return Method(f"lift_{context_frames}", context_frames, interpolate, about)


def baseline(name: str) -> Method:
    """A baseline by name, one of BASELINES."""
    if name in baselines.PATH_METHODS:

        def along_path(frames, times, left, t):
            return baselines.path_unrounded(name, frames, times, left, t)

        return Method(name, baselines.PATH_FRAMES[name], along_path, "baseline")
    return two_frame_method(name, baselines.UNROUNDED_METHODS[name], "baseline")


def two_frame_method(
    name: str, function: Callable[[np.ndarray, np.ndarray, float], np.ndarray], about: str = ""
) -> Method:
    """A function of (frame0, frame1, t) that generates the frame at t."""

    def interpolate(frames, times, left, t):
        return function(frames[left], frames[left + 1], t)

    return Method(name, 2, interpolate, about)


def function_method(text: str) -> Method:
    """The function that `path/to/file.py:function` names.

    It is called with the references, (H, W, 3) uint8 RGB, and t in (0, 1), and returns the frame
    at t, (H, W, 3) uint8 or float in [0, 255].

    Raises:
        LiftError: the file cannot be imported or has no such function; later, a call fails.
    """
    match = FUNCTION.fullmatch(text)
    path, name = Path(match["file"]), match["name"]
    if not path.is_file():
        raise LiftError(f"{path} is not a file; --methods takes path/to/file.py:function")
    spec = importlib.util.spec_from_file_location(f"lift_method_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # for imports of what lies beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LiftError(f"{path} cannot be imported ({_cause(error, path)})") from error
    finally:
        sys.path.pop(0)
    function = getattr(module, name, None)
    if not callable(function):
        raise LiftError(f"{path} has no function {name}; --methods takes {path}:function")

    def interpolate(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
        try:
            return function(frame0.copy(), frame1.copy(), t)
        except Exception as error:
            raise LiftError(f"{name} of {path} failed ({_cause(error, path)})") from error

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return two_frame_method(name, interpolate, f"{path.name}:{name}, SHA-256 {digest}")


def _cause(error: Exception, path: Path) -> str:
    """The error with the line of the file that it comes from."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where}: {error}"


@dataclass(frozen=True)
class SavedFrames:
    """Frames that another program saved as FOLDER/<sample>.png, scored like those of a method.

    Attributes:
        name: of the column.
        folder: where they are; other image formats are accepted.
        context_frames: how many frames they were generated from is not known: 2.
    """

    name: str
    folder: Path
    context_frames: int = 2

    @property
    def about(self) -> str:
        """The folder, and a digest of its files' names and sizes."""
        listing = sorted(
            (path.relative_to(self.folder).as_posix(), path.stat().st_size)
            for path in self.folder.rglob("*")
            if path.is_file()
        )
        digest = hashlib.sha256(repr(listing).encode()).hexdigest()
        return f"frames of {self.folder.name}, listing SHA-256 {digest}"

    def read(self, sample: str, shape: tuple[int, ...]) -> np.ndarray:
        """The saved frame of a sample, (H, W, 3) float32 in [0, 255].

        Raises:
            LiftError: there is none, or it has another size than the true frame.
        """
        files = [self.folder / f"{sample}{suffix}" for suffix in IMAGE_SUFFIXES]
        file = next((each for each in files if each.is_file()), None)
        if file is None:
            raise LiftError(
                f"{files[0]} does not exist; --frames {self.name}={self.folder} needs a frame of "
                "every sample under its name, as --save_frames writes them"
            )
        frame = read_image(file)
        if frame.shape != shape:
            raise LiftError(
                f"{file} is {frame.shape[1]}x{frame.shape[0]} and the true frame, as the protocol "
                f"prepares it, is {shape[1]}x{shape[0]}; save the frames at that size"
            )
        return frame.astype(np.float32)
