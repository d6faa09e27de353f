"""The fused kernels of `refine_output` against the reference."""

import torch

from lift.kernels.ops.refine_output.op import REFINE_OUTPUT
from lift.kernels.ops.refine_output.reference import RESIDUALS, SHARP_RESIDUALS
from tests.support.op_suite import OpSuite
from tests.support.refine_cases import maps, references, residuals


def _case(stride: int, size: tuple[int, int], batch: int = 1, R: int = RESIDUALS):
    def make(dtype, generator):
        residual, bias = residuals(generator, batch, size, stride, R)
        state, change = maps(generator, batch, size, 6, 1)
        images = references(generator, batch, size)
        return residual.to(dtype), bias, *images, state, change, torch.tensor(-1.7), stride

    return make


def _channels_last(case):
    """The case with a residual as convolutions write it."""

    def make(dtype, generator):
        residual, *others = case(dtype, generator)
        return residual.contiguous(memory_format=torch.channels_last), *others

    return make


class TestRefineOutput(OpSuite):
    op = REFINE_OUTPUT
    cases = {
        "stride 2": _case(2, (6, 10), batch=2),
        "stride 1": _case(1, (6, 4)),
        "stride 4": _case(4, (8, 12)),
        "one pixel": _case(2, (2, 2)),
        "several programs": _case(2, (26, 22)),
    }
    half_layouts = ("channels_last",)
    without_gradient = (2, 3, 5)


class TestSharp(OpSuite):
    """With a sharpness, whose samples of 4 x 4 pixels reach beyond the borders of small images."""

    op = REFINE_OUTPUT
    cases = {
        "stride 2": _case(2, (6, 8), 2, SHARP_RESIDUALS),
        "stride 1": _case(1, (6, 4), 1, SHARP_RESIDUALS),
        "stride 4": _case(4, (8, 4), 1, SHARP_RESIDUALS),
        "one pixel": _case(2, (2, 2), 1, SHARP_RESIDUALS),
        "several programs": _case(2, (18, 18), 1, SHARP_RESIDUALS),
    }
    half_layouts = ("channels_last",)
    without_gradient = (2, 3, 5)


class TestRefineOutputCpp(TestRefineOutput):
    backend_name = "cpp"
    has_gradient = False
    cases = TestRefineOutput.cases | {
        "stride 1, several strips": _case(1, (6, 134)),
        "stride 2, several strips": _case(2, (6, 134)),
        "stride 2, channels last": _channels_last(_case(2, (6, 134))),
        "stride 4, channels last": _channels_last(_case(4, (12, 132))),
        "several threads": _channels_last(_case(2, (64, 258), batch=3)),
    }
    half_layouts = ("contiguous", "channels_last")


class TestSharpCpp(TestSharp):
    backend_name = "cpp"
    has_gradient = False
    cases = TestSharp.cases | {
        "stride 1, several strips": _case(1, (6, 134), 1, SHARP_RESIDUALS),
        "stride 2, channels last": _channels_last(_case(2, (6, 134), 1, SHARP_RESIDUALS)),
        "stride 4, channels last": _channels_last(_case(4, (12, 132), 1, SHARP_RESIDUALS)),
    }
    half_layouts = ("contiguous", "channels_last")
