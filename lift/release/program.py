"""`python -m lift.release.program`: a model as a program of `torch.export`, a .pt2 file.

The program takes frames of any size, and one number of input frames. Its kernels are selected where
it runs, so a program from a CPU runs with the fused kernels of a GPU; see `lift.kernels.portable`.
A process that loads it needs `import lift.kernels` before.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from lift.config.flag_values import whole_number
from lift.config.flags import Parser
from lift.data.clip import frames_around
from lift.errors import run
from lift.files import atomic
from lift.release.tensor_function import Interpolation, dynamic_sizes, example


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
    parser = Parser(prog="python -m lift.release.program", description=__doc__)
    parser.add_argument("output", type=Path, metavar="FILE.pt2")
    parser.add_argument(
        "--checkpoint", default="tiny", metavar="FILE", help="weights, or a preset (default tiny)"
    )
    parser.add_argument(
        "--context_frames",
        type=whole_number(2),
        default=4,
        metavar="N",
        help="input frames (default 4)",
    )
    args = parser.parse_args(argv)

    from lift.evaluation.checkpoint import load

    model = load(args.checkpoint, kernels="auto", device="cpu")
    program = export_program(model, args.context_frames)
    with atomic(args.output) as part, open(part, "wb") as file:
        torch.export.save(program, file)
    print(f"written: {args.output}")


if __name__ == "__main__":
    sys.exit(run(main))
