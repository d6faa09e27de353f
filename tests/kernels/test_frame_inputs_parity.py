"""The fused kernels of `frame_inputs` against the reference."""

import torch

from lift import kernels
from lift.kernels.ops.frame_inputs.op import FRAME_INPUTS
from tests.support.op_suite import OpSuite


def frames(*size: int, multiple: int = 16):
    return lambda dtype, generator: (torch.rand(size, generator=generator), multiple, dtype)


class TestFrameInputs(OpSuite):
    op = FRAME_INPUTS
    encoder_dtype = "float16"
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
            arguments = self.make(label, self.encoder_dtype)
            stem, padded, *_ = kernels.frame_inputs(*arguments, backend=self.backend_name)
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


class TestFrameInputsCpp(TestFrameInputs):
    backend_name = "cpp"
    encoder_dtype = "bfloat16"
    layouts = (*TestFrameInputs.layouts, "transposed")
    cases = {
        **TestFrameInputs.cases,
        "padded both ways": frames(2, 3, 37, 83),
        "several threads": frames(1, 3, 203, 120, multiple=8),
    }

    def test_what_is_not_supported_has_a_reason(self):
        image, _, dtype = self.make("padded rows", "float32")
        for arguments, reason in (
            ((image.half(), 16, torch.half), "images of float16: float32 or float64 only"),
            ((image, 16, torch.half), "an output of torch.float16: torch.float32 only"),
            ((image.clone().requires_grad_(), 16, dtype), "C++ has no gradient"),
        ):
            found = kernels.unsupported_reasons("frame_inputs", *arguments)["cpp"]
            assert found.startswith(reason)

    def test_float64_is_computed_in_float64(self):
        image = self.make("padded both ways", "float32")[0].double()
        found, expected = (
            kernels.frame_inputs(image, 16, torch.float64, backend=b) for b in ("cpp", "reference")
        )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-14)
