"""`python -m lift.release.onnx`: a model as an ONNX file, for runtimes without PyTorch.

The graph consists of the reference kernels, which are plain PyTorch; a fused kernel has no ONNX
operator. Sizes are fixed: a graph is for one height, width and number of input frames.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from lift.config.flag_values import whole_number
from lift.config.flags import Parser
from lift.data.clip import Clip, frames_around
from lift.errors import LiftError, run
from lift.files import atomic

OPSET = 20  # the first with a bilinear grid_sample that matches PyTorch's
PACKAGES = ("onnx", "onnxscript")


class Interpolation(nn.Module):
    """A LIFT model as a function of tensors.

    Args:
        model: with the reference kernels.
        left: position of the left reference among the input frames.
    """

    def __init__(self, model: nn.Module, left: int):
        super().__init__()
        self.model, self.left = model, left

    def forward(
        self, frames: torch.Tensor, times: torch.Tensor, mask: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """The frame at time t.

        Args:
            frames: (1, T, 3, H, W), RGB in [0, 1].
            times: (1, T), the references at 0 and 1.
            mask: (1, T), bool, true where the frame is real.
            t: (1,), in (0, 1).

        Returns:
            (1, 3, H, W), not clamped.
        """
        clip = Clip(frames, times, mask, self.left)
        return self.model(clip, t, with_attention=False).frame


def example(height: int, width: int, context_frames: int) -> dict[str, torch.Tensor]:
    """Inputs of `Interpolation` by name: random frames at even distances."""
    left = frames_around(context_frames)[0] - 1
    times = torch.arange(context_frames, dtype=torch.float32)[None] - left
    return {
        "frames": torch.rand(1, context_frames, 3, height, width),
        "times": times,
        "mask": torch.ones_like(times, dtype=torch.bool),
        "t": torch.tensor([0.5]),
    }


def export(
    model: nn.Module, path: str | Path, height: int, width: int, context_frames: int
) -> None:
    """Write a model as an ONNX file; its inputs and output are those of `Interpolation`.

    Takes minutes: PyTorch traces and simplifies thousands of operators.

    Args:
        model: on the CPU, with the reference kernels.
        path: the file.
        height, width: of the frames, pixels.
        context_frames: number of input frames, at least 2.

    Raises:
        LiftError: the packages onnx and onnxscript are not installed.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise LiftError(f"ONNX needs {missing[0]}; pip install {' '.join(PACKAGES)}")
    inputs = example(height, width, context_frames)
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
            verbose=False,
        )
    with atomic(path) as part:
        program.save(part)


def main(argv: list[str]) -> None:
    """Write the ONNX file."""
    parser = Parser(prog="python -m lift.release.onnx", description=__doc__)
    parser.add_argument("output", metavar="FILE.onnx")
    parser.add_argument(
        "--checkpoint", default="tiny", metavar="FILE", help="weights, or a preset (default tiny)"
    )
    parser.add_argument("--height", type=whole_number(1), default=256, help="pixels (default 256)")
    parser.add_argument("--width", type=whole_number(1), default=448, help="pixels (default 448)")
    parser.add_argument(
        "--context_frames",
        type=whole_number(2),
        default=4,
        metavar="N",
        help="input frames (default 4)",
    )
    args = parser.parse_args(argv)

    from lift.evaluation.checkpoint import load

    model = load(args.checkpoint, kernels="reference", device="cpu")
    export(model, args.output, args.height, args.width, args.context_frames)
    print(f"written: {args.output}")


if __name__ == "__main__":
    sys.exit(run(main))
