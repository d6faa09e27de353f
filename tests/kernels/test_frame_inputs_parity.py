"""The fused kernel of `frame_inputs` against the reference."""

import torch

from lift import kernels
from lift.kernels.ops.frame_inputs.op import FRAME_INPUTS
from tests.support.op_suite import OpSuite


def frames(*size: int, multiple: int = 16):
    return lambda dtype, generator: (torch.rand(size, generator=generator), multiple, dtype)


class TestFrameInputs(OpSuite):
    op = FRAME_INPUTS
    cases = {
        "padded rows": frames(2, 3, 19, 32),
        "not padded": frames(1, 3, 16, 48),
        "padded columns": frames(1, 3, 16, 20),
        "one pixel": frames(1, 3, 1, 1, multiple=8),
        "two programs": frames(1, 3, 3, 262, multiple=8),
        "none": frames(0, 3, 8, 8, multiple=8),
    }

    def test_the_encoder_s_input_is_channels_last(self):
        for label in ("padded rows", "not padded"):
            arguments = self.make(label, "float16")
            stem, padded, *_ = kernels.frame_inputs(*arguments, backend="triton")
            assert stem.is_contiguous(memory_format=torch.channels_last)
            assert (padded is arguments[0]) == (label == "not padded")

    def test_what_is_not_supported_has_a_reason(self):
        image, _, dtype = self.make("padded rows", "float32")
        for arguments, reason in (
            ((image.double(), 16, dtype), "images of float64"),
            ((image.half(), 16, dtype), "frames of float16: float32 only"),
            ((image, 16, torch.float64), "an output of float64"),
            ((image.requires_grad_(), 16, dtype), "a gradient of frames is required"),
        ):
            found = kernels.unsupported_reasons("frame_inputs", *arguments)["triton"]
            assert found.startswith(reason)
