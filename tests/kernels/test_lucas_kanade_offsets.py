"""The kernels of `lucas_kanade` follow offsets past 2^31 that come of strides below it.

In memory that is hardly touched; `test_lucas_kanade_gpu.py` fills it.
"""

import pytest
import torch

from lift.kernels import dispatch
from lift.kernels.ops.lucas_kanade import op
from tests.support.far_memory import far, reserved
from tests.support.lucas_kanade_cases import INTERPRETED, NAMES, fused
from tests.support.parity import FLOWS, LAYOUTS

launch = pytest.importorskip("lift.kernels.launch")  # needs Triton
pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter")
backends = pytest.mark.parametrize(
    "backend", [i.name for i in dispatch.operations()["lucas_kanade"] if i.fused]
)

DIMENSIONS = {"channels": 1, "rows": 2, "columns": 3}
READ = [
    *((name, "contiguous", dimension) for name in NAMES[:2] for dimension in DIMENSIONS),
    *(
        (name, "channels_last", dimension)
        for name in NAMES[:2]
        for dimension in ("rows", "columns")
    ),
    *((name, "contiguous", dimension) for name in NAMES[2:4] for dimension in ("rows", "columns")),
]


def some(C: int, H: int, W: int) -> list[torch.Tensor]:
    """Inputs with C channels."""
    images = [torch.rand(1, C, H, W) for _ in range(2)]
    flows = [FLOWS["half"](1, H, W) for _ in range(2)]
    return [*images, *flows, torch.rand(1)]


@pytest.mark.slow
@backends
@pytest.mark.parametrize(("name", "layout", "dimension"), READ)
def test_what_is_read(backend, name, layout, dimension):
    dense = some(3 if dimension == "channels" else 1, 3, 3)
    dense = {n: x if n == "t" else LAYOUTS[layout](x) for n, x in zip(NAMES, dense, strict=True)}
    distant = dense | {name: far(dense[name], DIMENSIONS[dimension])}
    assert torch.equal(fused(backend)(*distant.values()), fused(backend)(*dense.values()))


PLANE = 2**30  # elements from plane to plane


def test_planes_of_what_one_launch_has_for_the_next():
    H, W = 2, 8
    inputs = some(2, H, W)
    dense = op.triton.empty_warped(inputs[0])
    distant = reserved(dense.shape, (0, PLANE, W, 1), torch.float32)
    for warped, plane in ((dense, H * W), (distant, PLANE)):
        programs, arguments = op.triton.warp_arguments(warped, *inputs)
        assert arguments["INT64_OFFSETS"] == (warped is distant)
        changed = arguments | {"HW": plane, "BP": H * W}  # one program has all pixels
        launch.launch(op.triton.lucas_kanade_warp_kernel, programs, changed)
    assert torch.equal(distant, dense) and dense.any()

    flows, kernel = inputs[2:4], op.triton.lucas_kanade_solve_kernel
    weighted = op.triton.empty_weighted(inputs[0])
    launch.launch(kernel, *op.triton.solve_arguments(weighted, dense, *flows))
    far_weighted = reserved(weighted.shape, (0, PLANE, W, 1), torch.float32)
    programs, arguments = op.triton.solve_arguments(far_weighted, distant, *flows)
    launch.launch(kernel, programs, arguments | {"HW": PLANE})
    assert torch.equal(far_weighted, weighted) and weighted[:, 2].all()

    step = reserved((1, 2, H, W), (0, PLANE, W, 1), torch.float32)
    programs, arguments = op.triton.smooth_arguments(step, far_weighted, *flows)
    assert arguments["INT64_OFFSETS"]
    kernel = op.triton.lucas_kanade_smooth_kernel
    launch.launch(kernel, programs, arguments | {"HW": PLANE})
    assert torch.equal(step, fused("triton")(*inputs))
