"""RIFE by the program rife-ncnn-vulkan, a pair at a time, through PNG files.

Source: github.com/nihui/rife-ncnn-vulkan.
"""

import os
import shutil
import subprocess
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch

from lift.errors import LiftError
from lift.evaluation.methods import Method
from lift.evaluation.peers.inputs import given_file
from lift.io.images import read_image
from lift.io.optional import require
from lift.model.weights import sha256

PROGRAM = "--rife_ncnn"
SOURCE = "the program rife-ncnn-vulkan, from github.com/nihui/rife-ncnn-vulkan"
LAST_LINES = 3  # of what the program prints that are passed on


def rife_ncnn(args: Namespace, device: torch.device) -> Method:
    """RIFE from `rife_ncnn`, `rife_ncnn_model` and `rife_ncnn_gpu`.

    The device is the program's choice unless `rife_ncnn_gpu` is given. Models before 4 generate
    t = 0.5 alone; the program then refuses others.

    Raises:
        LiftError: the program is missing or may not be run.
    """
    found = shutil.which(str(args.rife_ncnn)) if args.rife_ncnn else None  # a name, or a path
    program = given_file(Path(found) if found else args.rife_ncnn, PROGRAM, SOURCE)
    if not os.access(program, os.X_OK):
        raise LiftError(f"{PROGRAM}: {program} may not be run; chmod +x it")
    options = []
    if args.rife_ncnn_model:
        # A folder here, or the name of a model beside the program.
        folder = Path(args.rife_ncnn_model).expanduser()
        model = str(folder.resolve()) if folder.is_dir() else args.rife_ncnn_model
        options += ["-m", model]
    if args.rife_ncnn_gpu is not None:
        options += ["-g", str(args.rife_ncnn_gpu)]

    def interpolate(frames: np.ndarray, times: list[float], left: int, t: float) -> np.ndarray:
        time = [] if t == 0.5 else ["-s", f"{t:.9g}"]
        with tempfile.TemporaryDirectory(prefix="lift_rife_ncnn_") as folder:
            paths = [Path(folder) / name for name in ("0.png", "1.png", "out.png")]
            for path, frame in zip(paths, frames[left : left + 2], strict=False):
                _write_png(path, frame)
            names = ["-0", str(paths[0]), "-1", str(paths[1]), "-o", str(paths[2])]
            return _run([str(program), *names, *time, *options], paths[2], frames.shape[1:])

    about = (
        f"program {program.name} (SHA-256 {sha256(program)}), "
        f"model {args.rife_ncnn_model or 'by default'}; frames have 8 bits"
    )
    return Method("rife_ncnn", 2, interpolate, about)


def _run(command: list[str], output: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Run the program; the frame that it wrote, (H, W, 3) float32 in [0, 255]."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise LiftError(
            f"{PROGRAM}: {command[0]} cannot be run ({error.strerror or error}); "
            "give the program for this system"
        ) from error
    # Some of its errors end with exit code 0 and no file.
    if ran.returncode or not output.is_file():
        lines = [line for line in (ran.stderr + ran.stdout).splitlines() if line.strip()]
        reason = "; ".join(lines[-LAST_LINES:]) or f"exit code {ran.returncode}, no message"
        raise LiftError(
            f"{PROGRAM}: {Path(command[0]).name} generated no frame ({reason}); "
            "check --rife_ncnn_model and --rife_ncnn_gpu"
        )
    frame = read_image(output)
    if frame.shape != shape:
        raise LiftError(
            f"{PROGRAM}: the frame is {frame.shape[1]}x{frame.shape[0]}, not "
            f"{shape[1]}x{shape[0]}; give a program that keeps the size"
        )
    return frame.astype(np.float32)


def _write_png(path: Path, frame: np.ndarray) -> None:
    cv2 = require("cv2", "rife_ncnn")
    if not cv2.imwrite(str(path), frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise LiftError(f"{path} cannot be written; free some space, or set TMPDIR to another disk")
