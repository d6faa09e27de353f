"""IFRNet, with its small and its large form.

Source: Kong et al., "IFRNet: Intermediate Feature Refine Network for Efficient Frame
Interpolation", CVPR 2022; github.com/ltkong218/IFRNet.
"""

from argparse import Namespace
from collections.abc import Iterator

import torch
from torch import nn

from lift.evaluation.methods import Method
from lift.evaluation.peers.checkout import Checkout
from lift.evaluation.peers.checkpoint import load_first_fit, read_state
from lift.evaluation.peers.inputs import checkout_about, given_file, given_folder, takes_any_time
from lift.evaluation.peers.pairs import Preparation, multiple_at, pair_method

SOURCE = "github.com/ltkong218/IFRNet"
CODE, WEIGHTS = "--ifrnet_code", "--ifrnet_weights"
VARIANTS = ("IFRNet", "IFRNet_S", "IFRNet_L")
TOP = ("models", "utils", "loss")  # what its modules import from the checkout


def ifrnet(args: Namespace, device: torch.device) -> Method:
    """IFRNet from `ifrnet_code`, `ifrnet_weights`, `peer_scale` and `peer_time`.

    The variant is the one that the weights fit. Weights trained on GoPro take any t; those of
    Vimeo-90K learned t = 0.5 alone.

    Raises:
        LiftError: something is missing, or weights and code do not fit each other.
    """
    root = given_folder(args.ifrnet_code, CODE, f"a checkout of {SOURCE}")
    path = given_file(args.ifrnet_weights, WEIGHTS, "IFRNet_Vimeo90K.pth or another of its files")
    state = read_state(path, WEIGHTS)
    checkout = Checkout({name: root / name for name in TOP}, SOURCE, CODE, device)
    variant, model = load_first_fit(_variants(checkout), state, path, WEIGHTS)
    model.to(device)
    scale = args.peer_scale

    def infer(image0: torch.Tensor, image1: torch.Tensor, t: float) -> torch.Tensor:
        with checkout.active():
            time = torch.full((1, 1, 1, 1), t, device=device)
            return model.inference(image0, image1, time, scale_factor=scale)

    any_time = takes_any_time(args.peer_time, "gopro" in path.stem.lower())
    preparation = Preparation(multiple_at(16, scale), any_time=any_time)
    about = checkout_about(variant, root, path, preparation, scale)
    return pair_method("ifrnet", infer, preparation, device, about)


def _variants(checkout: Checkout) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Name and model of each variant; the model is its own network."""
    for name in VARIANTS:
        model_class = checkout.load(f"models.{name}", "Model")
        with checkout.building():
            model = model_class()
        yield name, model, model
