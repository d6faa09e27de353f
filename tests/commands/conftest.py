"""Fixtures of the commands that interpolate files."""

import pytest
import torch

from lift.config import PRESETS, Config
from lift.model.factory import create_lift_model
from lift.model.weights import save_weights


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Weights of an untrained tiny model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, create_lift_model("tiny"), Config(model=PRESETS["tiny"]()))
    return path
