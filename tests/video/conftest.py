"""The model of the tests of streaming."""

import pytest
import torch

from lift.model.factory import create_lift_model


@pytest.fixture(scope="module")
def model():
    return _model(path_frames=8, noise=-2.0)


@pytest.fixture(scope="module", params=(4, 6, 8), ids="{} frames".format)
def model_of_a_path(request):
    """The model with paths through four, six and eight frames."""
    return _model(request.param, noise=-1.5)


def _model(path_frames, noise):
    torch.manual_seed(0)
    # propagation enlarges rounding where flows are noise
    options = {"path_frames": path_frames, "propagation": 0}
    model = create_lift_model("tiny", kernels="reference", **options)
    with torch.no_grad():
        # the projections that start at zero would hide the context
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
        # the motion that random weights find is noise, which would hardly bend paths; at -2 all of
        # it counts, at -1.5 most
        model.flow.trajectory.noise_agreement = (noise,) * (path_frames // 2 - 2)
    return model.eval()
