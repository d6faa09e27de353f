"""The flags that say where and how a command computes: --kernels, --device and --threads."""

from argparse import ArgumentParser

from lift.config.flag_values import whole_number
from lift.config.schema import BACKENDS


def add_machine_flags(parser: ArgumentParser) -> None:
    """Add the three flags; without them kernels and device are chosen automatically."""
    parser.add_argument(
        "--kernels",
        choices=BACKENDS,
        default="auto",
        help="kernels: auto, fused (an error where unsupported) or reference (default auto)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--threads",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="CPU threads; 0: PyTorch's default",
    )
