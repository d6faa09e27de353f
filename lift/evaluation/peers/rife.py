"""RIFE: the model of the paper, its form for any time, and the Practical-RIFE models 3.x and 4.x.

Source: Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation",
ECCV 2022; github.com/hzwer/ECCV2022-RIFE and github.com/hzwer/Practical-RIFE.
"""

import inspect
import math
from argparse import Namespace
from pathlib import Path

import torch

from lift.errors import LiftError
from lift.evaluation.methods import Method
from lift.evaluation.peers.checkout import Checkout
from lift.evaluation.peers.checkpoint import load_first_fit, read_state
from lift.evaluation.peers.inputs import checkout_about, given_file, given_folder, given_path
from lift.evaluation.peers.pairs import Preparation, multiple_at, pair_method

SOURCE = "github.com/hzwer/ECCV2022-RIFE or Practical-RIFE"
CODE, WEIGHTS = "--rife_code", "--rife_weights"
PRACTICAL = "RIFE_HDv3.py"  # beside the weights of each Practical-RIFE model


def rife(args: Namespace, device: torch.device) -> Method:
    """RIFE from `rife_code`, `rife_weights` (flownet.pkl or its folder) and `peer_scale`.

    Raises:
        LiftError: something is missing, or weights and code do not fit each other.
    """
    root = given_folder(args.rife_code, CODE, f"a checkout of {SOURCE}")
    path = given_path(args.rife_weights, WEIGHTS, what := "flownet.pkl or its folder")
    path = given_file(path / "flownet.pkl", WEIGHTS, what) if path.is_dir() else path
    state = read_state(path, WEIGHTS)
    train_log = _practical_code(root, path)
    if train_log is None:
        return _paper(root, path, state, args.peer_scale, device)
    return _practical(root, train_log, path, state, args.peer_scale, device)


def _practical_code(root: Path, weights: Path) -> Path | None:
    """The folder of a Practical-RIFE model's own code, or None for the model of the paper."""
    if (weights.parent / PRACTICAL).is_file():
        return weights.parent
    if (root / "model" / "RIFE.py").is_file():
        return None
    if (root / "train_log" / PRACTICAL).is_file():
        return root / "train_log"
    raise LiftError(
        f"{CODE}: expected {root / 'model' / 'RIFE.py'} (the model of the paper), or {PRACTICAL} "
        f"in {weights.parent} or {root / 'train_log'} (Practical-RIFE); give a checkout of {SOURCE}"
    )


def _paper(root: Path, path: Path, state: dict, scale: float, device: torch.device) -> Method:
    checkout = Checkout({"model": root / "model"}, SOURCE, CODE, device)
    model_class = checkout.load("model.RIFE", "Model")
    with checkout.building():
        takes = inspect.signature(model_class).parameters
        forms = {"RIFE": {}} | ({"RIFE_m": {"arbitrary": True}} if "arbitrary" in takes else {})
        models = ((form, model_class(**flags)) for form, flags in forms.items())
        variant, model = load_first_fit(
            ((form, model, model.flownet) for form, model in models), state, path, WEIGHTS
        )
        model.flownet.to(device)
    any_time = variant == "RIFE_m"

    def infer(image0: torch.Tensor, image1: torch.Tensor, t: float) -> torch.Tensor:
        with checkout.active():
            time = {"timestep": t} if any_time else {}
            size = {"scale": scale} if scale != 1 else {}
            return model.inference(image0, image1, **size, **time)

    preparation = Preparation(_multiple(32, scale), bgr=True, any_time=any_time)
    about = checkout_about(variant, root, path, preparation, scale)
    return pair_method("rife", infer, preparation, device, about)


def _practical(
    root: Path, train_log: Path, path: Path, state: dict, scale: float, device: torch.device
) -> Method:
    packages = {"model": root / "model", "train_log": train_log}
    checkout = Checkout(packages, SOURCE, CODE, device)
    model_class = checkout.load(f"train_log.{PRACTICAL.removesuffix('.py')}", "Model")
    with checkout.building():
        model = model_class()
        any_time = "timestep" in inspect.signature(model.inference).parameters
        version = getattr(model, "version", "3.x")
        form = [(f"Practical-RIFE {version}", model, model.flownet)]
        variant, _ = load_first_fit(form, state, path, WEIGHTS)
        model.flownet.to(device)

    def infer(image0: torch.Tensor, image1: torch.Tensor, t: float) -> torch.Tensor:
        with checkout.active():
            time = {"timestep": t} if any_time else {}
            return model.inference(image0, image1, scale=scale, **time)

    preparation = Preparation(_multiple(128, scale), centred=False, any_time=any_time)
    about = checkout_about(variant, root, path, preparation, scale)
    return pair_method("rife", infer, preparation, device, about)


def _multiple(base: int, scale: float) -> int:
    """Multiple of height and width: they are multiples of `base` before and after scaling."""
    return math.lcm(base, multiple_at(base, scale))
