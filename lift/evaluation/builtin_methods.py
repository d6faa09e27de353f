"""Methods under test: LIFT, the baselines, functions of a user's file, and saved frames."""

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from lift.errors import LiftError
from lift.evaluation import baselines
from lift.evaluation.methods import Method
from lift.evaluation.protocols.real16 import as_clip
from lift.io.images import IMAGE_SUFFIXES, read_image

BASELINES = (*baselines.UNROUNDED_METHODS, *baselines.PATH_METHODS)
UNIT_LIMIT = 16  # of 255: references darker than that may have a frame below 1 between them
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
        LiftError: the file cannot be imported or has no such function; later, a call fails or
            returns values that are not in [0, 255].
    """
    match = FUNCTION.fullmatch(text)
    path, name = Path(match["file"]), match["name"]
    if not path.is_file():
        raise LiftError(f"{path} is not a file; --methods takes path/to/file.py:function")
    module = _import(path)
    function = getattr(module, name, None)
    if not callable(function):
        raise LiftError(f"{path} has no function {name}; --methods takes {path}:function")

    def interpolate(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
        try:
            return _as_frame(function(frame0.copy(), frame1.copy(), t), (frame0, frame1))
        except (Exception, SystemExit) as error:
            raise LiftError(f"{name} of {path} failed ({_cause(error, path)})") from error

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return two_frame_method(name, interpolate, f"{path.name}:{name}, SHA-256 {digest}")


def _import(path: Path) -> ModuleType:
    """The module of a user's file.

    Raises:
        LiftError: it fails, or ends the program.
    """
    name = f"lift_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look for it
    sys.path.insert(0, str(path.resolve().parent))  # it stays: a function may import what it needs
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise LiftError(f"{path} cannot be imported ({_cause(error, path)})") from error
    return module


def _as_frame(frame: object, references: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """What a function has returned, as an array of numbers in [0, 255].

    Raises:
        TypeError, ValueError: it is something else.
    """
    if isinstance(frame, torch.Tensor):
        frame = frame.detach().cpu().numpy()
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 and frame.dtype.kind != "f":
        raise TypeError(f"it returned {frame.dtype} values, and not uint8 or float")
    if frame.size and np.isfinite(frame).all():
        low, high = float(frame.min()), float(frame.max())
        # methods overshoot a little; [0, 1] is the range of PyTorch's images
        in_unit_range = (
            frame.dtype.kind == "f" and 0 < high <= 1 and np.max(references) > UNIT_LIMIT
        )
        if low < -255 or high > 2 * 255 or in_unit_range:
            raise ValueError(f"it returned values from {low:.4g} to {high:.4g}, not in [0, 255]")
    return frame


def _cause(error: BaseException, path: Path) -> str:
    """The error with the line of the file that it comes from."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    where = f" in line {lines[-1]}" if lines else ""
    cause = f"{type(error).__name__}{where}"
    return f"{cause}: {error}" if str(error) else cause


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
