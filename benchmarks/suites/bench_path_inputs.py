"""Speed and memory of `path_inputs`."""

import torch

from benchmarks.harness.frame_suites import PATH_INPUTS
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.path_inputs import op


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Random features, smooth motion of a few pixels in frames of equal distance."""
    B, C, H, W, G = shape

    def smooth(*channels: int) -> torch.Tensor:
        coarse = torch.randn(B * G, 6, H // 32 + 2, W // 32 + 2, generator=generator)
        maps = 4 * torch.nn.functional.interpolate(coarse, size=(H, W), mode="bilinear")
        return maps.view(B, G, 6, H, W)[:, slice(*channels)]

    hidden = torch.randn(B, C, H, W, generator=generator).to(dtype)
    times = torch.tensor([[-1.0, 2, -2, 3, -3, 4]])[:, :G].repeat(B, 1)
    return (
        hidden.contiguous(memory_format=torch.channels_last),
        smooth(0, 1)[:, 0],
        smooth(0, G)[:, :, :2].contiguous(),
        times,
        torch.ones(B, G, dtype=torch.bool),
        G,
        [0.25, 0.125, 1.0],
        dtype,
    )


SUITE = OpSuite(
    PATH_INPUTS,
    op.PATH_INPUTS,
    make,
    cpu=((1, 48, 90, 160, 6),),
    gpu=((1, 160, 270, 480, 6), (4, 160, 64, 64, 6), (1, 48, 270, 480, 6)),
    toy=((2, 3, 4, 5, 4),),
    fixed=(2, 3),
)
pytest_generate_tests = SUITE.generate_tests


def test_path_inputs(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
