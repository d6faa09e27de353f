"""The model of the tests of streaming."""

import pytest
import torch

from lift.model.factory import create_lift_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = create_lift_model("tiny", kernels="reference")
    with torch.no_grad():
        # the projections that start at zero would hide the context
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    return model.eval()
