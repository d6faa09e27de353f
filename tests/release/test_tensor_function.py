import torch

from lift.data.clip import Clip
from lift.release.tensor_function import Interpolation, example


@torch.no_grad()
def test_the_function_is_the_model(awake_model):
    inputs = example(48, 40, context_frames=5)
    frames, times, mask, t = inputs.values()
    expected = awake_model(Clip(frames, times, mask, 2), t).frame
    assert times.tolist() == [[-2, -1, 0, 1, 2]]
    torch.testing.assert_close(Interpolation(awake_model, 2)(*inputs.values()), expected)
