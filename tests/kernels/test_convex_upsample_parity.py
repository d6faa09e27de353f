"""The Triton kernels of `convex_upsample` against the reference."""

import torch

from lift.kernels.ops.convex_upsample.op import CONVEX_UPSAMPLE
from tests.support.op_suite import OpSuite


def make(dtype, generator, B: int, h: int, w: int) -> tuple:
    state = torch.randn(B, 6, h, w, generator=generator)
    logits = 2 * torch.randn(B, 36, h, w, generator=generator)
    return state, logits.to(dtype), torch.randn(36, generator=generator)


def in_bfloat16(state, *features) -> tuple:
    return state, *(x.bfloat16() for x in features)


class TestConvexUpsample(OpSuite):
    op = CONVEX_UPSAMPLE
    cases = {
        "small": lambda dtype, generator: make(dtype, generator, 2, 3, 5),
        "one pixel": lambda dtype, generator: make(dtype, generator, 1, 1, 1),
        "one row": lambda dtype, generator: make(dtype, generator, 1, 1, 7),
        "several programs": lambda dtype, generator: make(dtype, generator, 1, 9, 17),
    }


class TestConvexUpsampleCpp(TestConvexUpsample):
    backend_name = "cpp"
    has_gradient = False
    half_layouts = ("contiguous", "channels_last")
    cases = {
        **TestConvexUpsample.cases,
        "a prior of bfloat16 too": lambda dtype, generator: in_bfloat16(
            *make(dtype, generator, 2, 5, 70)
        ),
        "several strips": lambda dtype, generator: make(dtype, generator, 2, 5, 150),
        "empty": lambda dtype, generator: make(dtype, generator, 0, 4, 4),
    }
