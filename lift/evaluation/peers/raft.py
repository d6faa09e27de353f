"""RAFT optical flow, with both references warped along it and blended by time.

The flow that the baseline `dis` takes from DIS comes from RAFT here; the rest is the same. The
network is torchvision's, its weights are a file of the user's; nothing is downloaded.

Source: Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020.
"""

from argparse import Namespace
from importlib import import_module

import numpy as np
import torch

from lift.errors import LiftError
from lift.evaluation.baselines import warp_and_blend
from lift.evaluation.methods import Method
from lift.evaluation.peers.checkpoint import load_first_fit, read_state
from lift.evaluation.peers.inputs import given_file, weights_about
from lift.evaluation.peers.pairs import failures_named, padded
from lift.provenance import version

WEIGHTS = "--raft_weights"
VARIANTS = ("raft_large", "raft_small")
MULTIPLE, LEAST = 8, 128  # pixels, of the frames that torchvision's RAFT accepts


def raft(args: Namespace, device: torch.device) -> Method:
    """RAFT from `raft_weights`; large or small is the one that the weights fit.

    Raises:
        LiftError: torchvision or the weights are missing, or the weights fit neither.
    """
    try:
        networks = import_module("torchvision.models.optical_flow")
    except (ImportError, OSError, RuntimeError) as error:  # the last two: it is not of this PyTorch
        raise LiftError(
            f"raft needs torchvision, which cannot be imported ({error}); "
            "pip install the torchvision of this PyTorch"
        ) from error
    path = given_file(args.raft_weights, WEIGHTS, "weights of torchvision's raft_large or _small")
    built = ((name, getattr(networks, name)(weights=None)) for name in VARIANTS)
    variant, net = load_first_fit(
        ((name, net, net) for name, net in built), read_state(path, WEIGHTS), path, WEIGHTS
    )
    net.to(device)

    def interpolate(frames: np.ndarray, times: list[float], left: int, t: float) -> np.ndarray:
        frame0, frame1 = frames[left : left + 2]
        height, width = frame0.shape[:2]
        with torch.no_grad(), failures_named("raft", width, height):
            forward, backward = _flows(net, frames[left : left + 2], device)
        return warp_and_blend(frame0, frame1, 0.5 * (forward - backward), t)

    about = (
        f"torchvision {version('torchvision')} {variant}, {weights_about(path)}; half the "
        "difference of forward and backward flow, both references warped and blended by time"
    )
    return Method("raft", 2, interpolate, about)


def _flows(net: torch.nn.Module, pair: np.ndarray, device: torch.device) -> np.ndarray:
    """The flows from the first frame to the second and back, (2, H, W, 2), dx then dy, pixels."""
    height, width = pair.shape[1:3]
    images = torch.from_numpy(np.ascontiguousarray(pair)).to(device)
    images = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    images, (top, start) = padded(images, MULTIPLE, least=LEAST)
    flows = net(images, images.flip(0))[-1]
    flows = flows[:, :, top : top + height, start : start + width]
    return flows.permute(0, 2, 3, 1).cpu().numpy()
