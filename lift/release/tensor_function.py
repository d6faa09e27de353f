"""A LIFT model as a function of tensors, which is what can be exported."""

from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from lift.config.flag_values import whole_number
from lift.config.flags import Parser
from lift.data.clip import Clip, frames_around

MIN_SIDE = 17  # pixels; PyTorch would make a constant of a shorter side, which is 1 at 1/16


class Interpolation(nn.Module):
    """A LIFT model as a function of tensors.

    Args:
        model: a `LIFT`.
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


def dynamic_sizes() -> dict:
    """The `dynamic_shapes` of an export of `Interpolation`: frames of any height and width."""
    frames = {3: Dim("height", min=MIN_SIDE), 4: Dim("width", min=MIN_SIDE)}
    return {"frames": frames, "times": None, "mask": None, "t": None}


def parse(argv: list[str], prog: str, description: str, file: str) -> tuple[Path, nn.Module, int]:
    """The output, the model and the number of input frames that a command names.

    Args:
        file: how the help names the output.
    """
    parser = Parser(prog=prog, description=description)
    parser.add_argument("output", type=Path, metavar=file)
    parser.add_argument(
        "--checkpoint",
        default="tiny",
        metavar="FILE",
        help="weights, or the name of bundled ones (default tiny)",
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
    return args.output, model, args.context_frames
