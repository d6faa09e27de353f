"""The whole model with the fused attention against the model with the reference.

Outputs, and the gradient of every parameter.
"""

from dataclasses import fields, replace

import pytest
import torch

from lift.data.clip import Clip
from lift.kernels import dispatch
from lift.kernels.ops.temporal_attention import op
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference
from lift.model.lift import LIFT
from tests.support.models import TINY, wake
from tests.support.temporal_attention_cases import device

if op.triton is None or op.triton.unsupported_reason():
    pytest.skip("Triton has neither a GPU nor its interpreter here", allow_module_level=True)

pytestmark = pytest.mark.native


def exactly(*arguments):
    """The reference, computed in float64."""
    doubled = [
        x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for x in arguments
    ]
    out, frame_weights = temporal_attention_reference(*doubled)
    return out.float(), None if frame_weights is None else frame_weights.float()


def run(config, monkeypatch, attention, clip: Clip) -> dict[str, torch.Tensor]:
    """The prediction and all gradients, with this attention and the reference for the rest."""
    calls = []

    def call(*arguments):
        calls.append(attention)
        return attention(*arguments)

    only = dispatch.Backend("reference", call, dispatch.always_supported, fused=False)
    monkeypatch.setitem(dispatch._operations, "temporal_attention", (only,))
    torch.manual_seed(0)
    model = wake(LIFT(config, kernels="reference")).to(device())
    prediction = model(clip, torch.tensor([0.3, 0.7], device=device()))
    (prediction.frame.square().sum() + prediction.attention.square().sum()).backward()
    monkeypatch.undo()
    assert calls
    found = {
        f.name: getattr(prediction, f.name)
        for f in fields(prediction)
        if isinstance(getattr(prediction, f.name), torch.Tensor)
    }
    return found | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


CHANGES = [
    {"window": 4},
    {"window": 8, "layers": 1},
    {"window": 1, "layers": 1},
    {"window": 4, "layers": 1, "self_attention": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_outputs_and_all_gradients_agree(change, monkeypatch):
    times = torch.tensor([-1.5, 0, 1]).expand(2, -1)
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[1, 0] = False
    clip = Clip(torch.rand(2, 3, 3, 32, 48).to(device()), times.to(device()), mask.to(device()), 1)
    config = replace(TINY, **change)
    attentions = (op.TEMPORAL_ATTENTION.bind("lift_triton"), temporal_attention_reference, exactly)
    found, low, exact = (run(config, monkeypatch, attention, clip) for attention in attentions)
    assert found.keys() == exact.keys() and any("window_bias" in name for name in found)
    # What cancels in a softmax or a norm has a gradient of rounding alone: that of large gradients.
    rounding = 1e-6 + 2e-8 * max(x.abs().max().item() for x in exact.values())
    for name, x in exact.items():
        error, noise = (found[name] - x).abs().max().item(), (low[name] - x).abs().max().item()
        allowed = 4 * noise + 1e-5 * x.abs().max().item() + rounding
        assert error <= allowed, f"{name}: off by {error:.3g}, allowed {allowed:.3g}"
