"""EMA-VFI, with its small form.

Source: Zhang et al., "Extracting Motion and Appearance via Inter-Frame Attention for Efficient
Video Frame Interpolation", CVPR 2023; github.com/MCG-NJU/EMA-VFI.
"""

import math
from argparse import Namespace
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch

from lift.evaluation.methods import Method
from lift.evaluation.peers.checkout import Checkout
from lift.evaluation.peers.checkpoint import load_first_fit, read_state
from lift.evaluation.peers.inputs import checkout_about, given_file, given_folder, takes_any_time
from lift.evaluation.peers.pairs import Preparation, multiple_at, pair_method

SOURCE = "github.com/MCG-NJU/EMA-VFI"
CODE, WEIGHTS = "--emavfi_code", "--emavfi_weights"
TOP = ("Trainer", "config", "model")
VARIANTS = {  # arguments of its config.init_model_config, from its benchmark scripts
    "ours": {"F": 32, "depth": [2, 2, 2, 4, 4]},
    "ours_small": {"F": 16, "depth": [2, 2, 2, 2, 2]},
}
MASKS = ("attn_mask", "HW")  # buffers that depend on the size of the frames, not weights


def emavfi(args: Namespace, device: torch.device) -> Method:
    """EMA-VFI from `emavfi_code`, `emavfi_weights`, `emavfi_flips`, `peer_scale` and `peer_time`.

    The variant is the one that the weights fit. Weights named `..._t` take any t; the others
    learned t = 0.5 alone.

    Raises:
        LiftError: something is missing, or weights and code do not fit each other.
    """
    root = given_folder(args.emavfi_code, CODE, f"a checkout of {SOURCE}")
    path = given_file(args.emavfi_weights, WEIGHTS, "ckpt/ours.pkl or another of its files")
    state = read_state(path, WEIGHTS)
    checkout = Checkout({name: root / name for name in TOP}, SOURCE, CODE, device)
    variant, model = load_first_fit(_variants(checkout), state, path, WEIGHTS)
    scale, flips = args.peer_scale, args.emavfi_flips
    size = None

    def infer(image0: torch.Tensor, image1: torch.Tensor, t: float) -> torch.Tensor:
        nonlocal size
        if size != image0.shape:  # its masks are kept by area: 720x1280 would take 1280x720's
            _forget_masks(model.net)
            size = image0.shape
        with checkout.active(), _cuda_is(device):
            if scale == 1:
                return model.inference(image0, image1, TTA=flips, timestep=t)
            return model.hr_inference(image0, image1, TTA=flips, timestep=t, down_scale=scale)

    any_time = takes_any_time(args.peer_time, path.stem.endswith("_t"))
    multiple = math.lcm(32, multiple_at(16, scale))
    preparation = Preparation(multiple, bgr=True, any_time=any_time)
    variant += ", flip ensemble" if flips else ""
    about = checkout_about(variant, root, path, preparation, scale)
    return pair_method("emavfi", infer, preparation, device, about)


def _variants(checkout: Checkout) -> Iterator[tuple[str, Any, torch.nn.Module]]:
    """Name, model and network of each variant, on the device of the checkout."""
    model_class = checkout.load("Trainer", "Model")
    config = checkout.load("config", "MODEL_CONFIG")
    architecture = checkout.load("config", "init_model_config")

    class OnDevice(model_class):
        def device(self) -> None:  # its own moves the network to CUDA
            self.net.to(checkout.device)

    for name, arguments in VARIANTS.items():
        with checkout.building():
            config["MODEL_ARCH"] = architecture(**arguments)
            model = OnDevice(-1)
            net = model.net
        yield name, model, net


def _forget_masks(net: torch.nn.Module) -> None:
    for module in net.modules():
        for name in MASKS:
            module._buffers.pop(name, None)


def _cuda_is(device: torch.device):
    """Its code calls `.cuda()` in the middle of the network: let that mean `device`."""
    return patch.object(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor.to(device))
