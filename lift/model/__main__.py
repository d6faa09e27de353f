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
    clip = Clip.evenly_spaced(torch.rand(args.batch_size, args.frames, 3, *args.size))
    describe(create_lift_model(args.preset), clip, torch.full((args.batch_size,), 0.5))


if __name__ == "__main__":
    main()
