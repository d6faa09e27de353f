"""Run the whole model on random data: `python -m lift.model`."""

import torch

from lift.config import PRESETS
from lift.config.flags import Parser
from lift.data.clip import Clip
from lift.model.describe import describe
from lift.model.factory import create_lift_model


def main() -> None:
    parser = Parser(
        prog="python -m lift.model",
        description="Run LIFT on random data; print shapes, parameters, memory.",
    )
    parser.add_argument("--preset", choices=PRESETS, default="base")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    args = parser.parse_args()
    left = (args.frames - 1) // 2
    times = (torch.arange(args.frames) - left).float().expand(args.batch_size, -1)
    clip = Clip(
        torch.rand(args.batch_size, args.frames, 3, *args.size),
        times,
        torch.ones_like(times, dtype=torch.bool),
        left,
    )
    describe(create_lift_model(args.preset), clip, torch.full((args.batch_size,), 0.5))


if __name__ == "__main__":
    main()
