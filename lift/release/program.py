"""`python -m lift.release.program`: a model as a program of `torch.export`, a .pt2 file.

The program takes frames of any size, and one number of input frames. Its kernels are selected where
it runs, so a program from a CPU runs with the fused kernels of a GPU; see `lift.kernels.portable`.
A process that loads it needs `import lift.kernels` before.
"""

import sys

import torch
from torch import nn
from torch.export import ExportedProgram

from lift.data.clip import frames_around
from lift.errors import run
from lift.files import atomic
from lift.release.tensor_function import Interpolation, dynamic_sizes, example, parse


def export_program(model: nn.Module, context_frames: int) -> ExportedProgram:
    """A model as a program; its inputs and output are those of `Interpolation`.

    Args:
        model: a LIFT with kernels="auto", on any device.
        context_frames: number of input frames, at least 2.

    Returns:
        For frames of any height and width of at least `MIN_SIDE`, 17 pixels.
    """
    left = frames_around(context_frames)[0] - 1
    device = next(model.parameters()).device
    inputs = {name: x.to(device) for name, x in example(64, 48, context_frames).items()}
    network = Interpolation(model, left).eval()
    with torch.no_grad():
        return torch.export.export(
            network, tuple(inputs.values()), dynamic_shapes=dynamic_sizes(), strict=False
        )


def main(argv: list[str]) -> None:
    """Write the program."""
    prog = "python -m lift.release.program"
    path, model, context_frames = parse(argv, prog, __doc__, "FILE.pt2")
    program = export_program(model, context_frames)
    with atomic(path) as part, open(part, "wb") as file:
        torch.export.save(program, file)
    print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(run(main))
