"""Names of the other models, the flags that say where they are, and the choice among them."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lift.devices import choose_device
from lift.errors import LiftError
from lift.evaluation.methods import Method

if TYPE_CHECKING:
    import torch

# Each is a module here, with a function of its name: (args, device) -> Method.
NAMES: tuple[str, ...] = ("rife", "rife_ncnn", "ifrnet", "emavfi", "raft")
TIMES = ("auto", "any", "halves")
# Flags of which one at least is given for a model that is wanted.
PLACES = {
    "rife": ("rife_code", "rife_weights"),
    "rife_ncnn": ("rife_ncnn",),
    "ifrnet": ("ifrnet_code", "ifrnet_weights"),
    "emavfi": ("emavfi_code", "emavfi_weights"),
    "raft": ("raft_weights",),
}


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of the other models to a parser, as a group."""
    group = parser.add_argument_group(
        "other models", "Their code and weights are the user's own copies; see docs/peers.md."
    )
    for name, weights in (
        ("rife", "flownet.pkl, or its folder"),
        ("ifrnet", "its .pth file"),
        ("emavfi", "its .pkl file"),
    ):
        group.add_argument(f"--{name}_code", type=Path, metavar="DIR", help="checkout of its code")
        group.add_argument(f"--{name}_weights", type=Path, metavar="PATH", help=weights)
    group.add_argument(
        "--emavfi_flips",
        action="store_true",
        help="mean with the result of flipped frames, as its scripts do for `ours`",
    )
    group.add_argument("--rife_ncnn", metavar="PATH", help="program rife-ncnn-vulkan")
    group.add_argument(
        "--rife_ncnn_model", metavar="DIR", help="folder or name of its model, such as rife-v4.6"
    )
    group.add_argument(
        "--rife_ncnn_gpu", type=int, metavar="N", help="its GPU; -1 for the CPU (default: its own)"
    )
    group.add_argument(
        "--raft_weights", type=Path, metavar="FILE", help="weights of torchvision's RAFT"
    )
    group.add_argument(
        "--peer_scale",
        type=_scale,
        default=1.0,
        metavar="S",
        help="rife, ifrnet, emavfi: estimate flow at this scale of the frames (default: 1)",
    )
    group.add_argument(
        "--peer_time",
        choices=TIMES,
        default="auto",
        help="ifrnet, emavfi: give t to the network, or halve the interval until t is its middle; "
        "auto goes by the name of the weights (default: auto)",
    )


def models_named(args: Namespace) -> list[str]:
    """The other models whose code, program or weights the flags name."""
    return [name for name in NAMES if any(getattr(args, flag) for flag in PLACES[name])]


def method(name: str, args: Namespace, device: "torch.device | None" = None) -> Method:
    """Load another model.

    Args:
        name: one of NAMES.
        args: with the attributes that `add_flags` adds.
        device: where it runs; None for that of `args.device`, a name such as auto or cuda:1.

    Raises:
        LiftError: there is no such name, or something of the model is missing or does not fit.
    """
    if name not in NAMES:
        raise LiftError(f"there is no other model {name!r}; choose from {', '.join(NAMES)}")
    module = import_module(f"lift.evaluation.peers.{name}")  # here: parsing needs no PyTorch
    return getattr(module, name)(args, device or choose_device(args.device))


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale <= 8:
        raise ArgumentTypeError(f"must be a number above 0 and at most 8, got {text!r}")
    return scale
