"""`adjacent_frames`: the ends of gaps, whatever the backend, and which arguments it takes."""

import pytest
import torch

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.adjacent_frames.reference import adjacent_frames_reference

BACKENDS = [b.name for b in dispatch.operations()["adjacent_frames"]]


def clips(B=5, T=9):
    """Clips at random times, some frames missing; the references at positions 4 and 5."""
    generator = torch.Generator().manual_seed(0)
    steps = 0.3 + 1.5 * torch.rand(B, T, generator=generator)
    times = steps.cumsum(1)
    start, end = times[:, 4:5], times[:, 5:6]
    mask = torch.rand(B, T, generator=generator) > 0.3
    mask[:, 4:6] = True
    indices = torch.randperm(B * T, generator=generator).view(B, T)
    return (times - start) / (end - start), mask, indices


@pytest.mark.native
@pytest.mark.parametrize("per_side", [1, 2, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree(backend, per_side):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = [x.to(device) for x in clips()]
    # neither of the three contiguous
    inputs = [torch.stack((x, x), 2)[..., 0] for x in inputs]
    reason = kernels.unsupported_reasons("adjacent_frames", *inputs, 4, per_side)[backend]
    if reason:
        pytest.skip(reason)
    found = kernels.adjacent_frames(*inputs, 4, per_side, backend=backend)
    for one, other in zip(found, adjacent_frames_reference(*inputs, 4, per_side), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_gaps_lead_from_frame_to_frame():
    times = torch.tensor([[-2.0, -1, 0, 1, 2.5, 5]])
    mask, indices = torch.ones(1, 6, dtype=torch.bool), 10 + torch.arange(6)[None]
    ends, outer, exists = kernels.adjacent_frames(times, mask, indices, 2, 2)
    assert ends.tolist() == [[[11, 13, 10, 14]], [[12, 14, 11, 14]]]
    assert outer.tolist() == [[-1.0, 2.5, -2.0, 3.5]]
    assert exists.tolist() == [[True, True, True, False]]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("times", torch.zeros(5), "times must be (B, T), got (5,)"),
        ("mask", torch.zeros(5, 9), "mask must be a tensor of torch.bool, got torch.float32"),
        ("indices", torch.zeros(5, 8, dtype=torch.int64), "indices must be (5, 9)"),
        ("left", 8, "left must be in 0..7, got 8"),
        ("per_side", 4, "per_side must be 1, 2 or 3, got 4"),
    ],
)
def test_wrong_arguments_are_named(name, value, error):
    given = dict(zip(("times", "mask", "indices"), clips(), strict=True), left=4, per_side=1)
    with pytest.raises((TypeError, ValueError)) as raised:
        kernels.adjacent_frames(**given | {name: value})
    assert str(raised.value).startswith(f"adjacent_frames: {error}")
