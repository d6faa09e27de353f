"""`python -m lift.release.onnx`: a model as an ONNX file, for runtimes without PyTorch.

The graph consists of ONNX's own operators: a fused kernel has none. It takes frames of any size,
and one number of input frames.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from lift.data.clip import frames_around
from lift.errors import LiftError, run
from lift.files import atomic
from lift.release.tensor_function import Interpolation, dynamic_sizes, example, parse

OPSET = 20  # the first with a bilinear grid_sample that matches PyTorch's
PACKAGES = ("onnx", "onnxscript")


def export(model: nn.Module, path: str | Path, context_frames: int) -> None:
    """Write a model as an ONNX file; its inputs and output are those of `Interpolation`.

    Takes minutes: PyTorch reasons about the sizes of thousands of operators.

    Args:
        model: on the CPU, with kernels="auto", for which `lift.kernels.onnx` has ONNX's operators.
        path: the file.
        context_frames: number of input frames, at least 2.

    Raises:
        LiftError: the packages onnx and onnxscript are not installed.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise LiftError(f"ONNX needs {missing[0]}; pip install {' '.join(PACKAGES)}")
    inputs = example(64, 48, context_frames)
    left = frames_around(context_frames)[0] - 1
    network = Interpolation(model, left).eval()
    with torch.no_grad():
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["frame"],
            dynamic_shapes=dynamic_sizes(),
            optimize=False,  # takes minutes more; runtimes optimize what they load
            verbose=False,
        )
    with atomic(path) as part:
        program.save(part)


def main(argv: list[str]) -> None:
    """Write the ONNX file."""
    prog = "python -m lift.release.onnx"
    path, model, context_frames = parse(argv, prog, __doc__, "FILE.onnx")
    export(model, path, context_frames)
    print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(run(main))
