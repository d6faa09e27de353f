"""The Triton kernels of `warp` and `warp_blend` follow offsets past 2^31 from strides below it.

In Triton's interpreter, with memory that is hardly touched; `test_warp_blend_gpu.py` fills it.
"""

import pytest
import torch

from lift.kernels.ops.warp_blend import op
from tests.support.far_memory import far
from tests.support.parity import FLOWS, LAYOUTS
from tests.support.warp_cases import INTERPRETED, NAMES, PUBLIC, fused, results, towards

launches = pytest.importorskip("lift.kernels.launch")  # needs Triton
pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter")

operations = pytest.mark.parametrize("operation", PUBLIC)
DIMENSIONS = {"channels": (1,), "rows": (2,), "columns": (3,), "pixels": (2, 3)}
IMAGES = [
    ("contiguous", "channels"),
    ("contiguous", "rows"),
    ("contiguous", "columns"),
    ("channels_last", "rows"),
    ("channels_last", "columns"),
    ("channels_last", "pixels"),
]
READ = [
    (operation, name, *where)
    for operation in PUBLIC
    for name in NAMES[operation]
    for where in (IMAGES if "image" in name else [("contiguous", "pixels")])
]


def some(operation: str, layout: str = "contiguous") -> list[torch.Tensor]:
    """Inputs of an operation with three channels, rows and columns."""
    makers = {
        "image": lambda: torch.randn(1, 3, 3, 3),
        "flow": lambda: FLOWS["random"](1, 3, 3),
        "occ": lambda: torch.randn(1, 1, 3, 3),
    }
    return [LAYOUTS[layout](makers[name.rstrip("01")]()) for name in NAMES[operation]]


def launch(direction: str, *arguments) -> None:
    """Run the kernel of a direction, "forward" or "backward"."""
    kernel = op.triton.warp_blend_fwd_kernel
    if direction == "backward":
        kernel = op.triton.warp_blend_bwd_kernel
    launches.launch(kernel, *getattr(op.triton, f"{direction}_arguments")(*arguments))


def as_blend(operation: str, *tensors) -> tuple:
    return op.triton.as_blend(1 if operation == "warp" else 2, *tensors)


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "name", "layout", "dimension"), READ)
def test_inputs(operation, name, layout, dimension):
    dense = dict(zip(NAMES[operation], some(operation, layout), strict=True))
    distant = dense | {name: far(dense[name], *DIMENSIONS[dimension])}
    expected, found = (results(fused(operation, "triton"), [*x.values()]) for x in (dense, distant))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@operations
@pytest.mark.parametrize("dimension", ["channels", "pixels"])
def test_the_gradient_of_the_result(operation, dimension):
    inputs = some(operation)
    grad = towards(inputs[0])
    backward = getattr(torch.ops.lift_triton, f"{operation}_backward")
    needs = (1 << len(inputs)) - 1
    distant = far(grad, *DIMENSIONS[dimension])
    expected, found = (backward(given, *inputs, needs) for given in (grad, distant))
    assert all(map(torch.equal, found, expected))


# -- what is written -------------------------------------------------------------------------------


@operations
@pytest.mark.parametrize(
    ("layout", "dimension"),
    [("contiguous", "channels"), ("contiguous", "pixels"), ("channels_last", "pixels")],
)
def test_the_result(operation, layout, dimension):
    inputs = some(operation, layout)
    out = far(torch.zeros_like(inputs[0]), *DIMENSIONS[dimension])
    launch("forward", out, *as_blend(operation, *inputs))
    assert torch.equal(out, fused(operation, "triton")(*inputs))


@pytest.mark.slow
@operations
@pytest.mark.parametrize("fixed", [False, True], ids=["float32", "fixed point"])
@pytest.mark.parametrize(("layout", "dimension"), IMAGES)
def test_sums_of_the_gradients_of_images(operation, fixed, layout, dimension):
    inputs = some(operation, layout)
    grad = towards(inputs[0])
    scale = op.triton.fixed_point_units(grad)[0] if fixed else None
    found = []
    for place in (lambda x: x, lambda x: far(x, *DIMENSIONS[dimension])):
        wrt = [
            place(torch.zeros_like(x, dtype=torch.int64 if fixed else torch.float32))
            if "image" in name
            else None
            for name, x in zip(NAMES[operation], inputs, strict=True)
        ]
        launch("backward", grad, as_blend(operation, *inputs), as_blend(operation, *wrt), scale)
        found.append([x for x in wrt if x is not None])
    assert all(x.any() for x in found[0]) and all(map(torch.equal, *found))


@pytest.mark.parametrize("name", ["flow", "occ0"])
def test_gradients_of_one_pixel_that_is_repeated_2_32_times(name):
    """Strides of 0 keep the inputs' offsets small; those of the gradients are not."""
    operation = "warp" if name == "flow" else "warp_blend"
    channels = [3 if "image" in n else 2 if "flow" in n else 1 for n in NAMES[operation]]
    inputs = [torch.empty(1, n, 1, 1, device="meta").expand(1, n, 2**16, 2**16) for n in channels]
    wrt = [
        torch.empty(x.shape, device="meta") if n == name else None
        for n, x in zip(NAMES[operation], inputs, strict=True)
    ]
    _, arguments = op.triton.backward_arguments(
        inputs[0], as_blend(operation, *inputs), as_blend(operation, *wrt), None
    )
    assert arguments["INT64_OFFSETS"]
