"""The C++ kernels of `warp` and `warp_blend`: threads, vectors over channels, memory, float64.

tests/kernels/test_warp_blend_parity.py compares them with the reference over the matrix of inputs.
"""

import math

import pytest
import torch

from lift import kernels
from lift.kernels import extension
from lift.kernels.ops.warp_blend.op import WARP, WARP_BLEND
from tests.support.parity import LAYOUTS
from tests.support.warp_cases import NAMES, PUBLIC, REFERENCES, make, results, towards

operations = pytest.mark.parametrize("operation", PUBLIC)
pytestmark = pytest.mark.skipif(
    bool(extension.unsupported_reason()), reason=str(extension.unsupported_reason())
)
CALLS = {"warp": WARP.bind("lift_cpp"), "warp_blend": WARP_BLEND.bind("lift_cpp")}


# -- selection -------------------------------------------------------------------------------------


@operations
@pytest.mark.parametrize("deterministic", [False, True])
def test_it_is_selected_on_the_cpu_by_default(operation, deterministic):
    torch.use_deterministic_algorithms(deterministic)
    try:
        assert kernels.selected_backend(operation, *make(operation, "cpp")) == "cpp"
    finally:
        torch.use_deterministic_algorithms(False)


@operations
def test_unsupported_arguments_have_a_reason(operation):
    inputs = make(operation, "cpp")
    assert (
        extension.unsupported_reason(*[x.to("meta") for x in inputs])
        == "the tensors are on meta, not on the CPU"
    )
    assert extension.unsupported_reason(inputs[0].to(torch.float8_e4m3fn), *inputs[1:]).startswith(
        "images of float8_e4m3fn"
    )
    long = torch.empty(()).expand(1, 1, 1, 2**24 + 1)
    assert (
        extension.unsupported_reason(long, *inputs[1:])
        == f"images of 1 x {2**24 + 1} pixels: sides from 0 to {2**24} only"
    )


@operations
def test_the_op_itself_checks_shapes_and_dtypes(operation):
    inputs, backward = make(operation, "cpp"), getattr(torch.ops.lift_cpp, f"{operation}_backward")
    flow = len(inputs) // 3 or 1
    wrong = [*inputs]
    wrong[flow] = inputs[flow][:, :, 1:]
    with pytest.raises(RuntimeError, match=r"flow must be \(2, 2, 5, 7\)"):
        CALLS[operation](*wrong)
    wrong[flow] = inputs[flow].double()
    with pytest.raises(RuntimeError, match="flow has the wrong dtype"):
        CALLS[operation](*wrong)
    with pytest.raises(RuntimeError, match="grad must be"):
        backward(inputs[0][1:], *inputs, 1)


# -- threads ---------------------------------------------------------------------------------------


@operations
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("flow", ["random", "collapse", "far"])
@pytest.mark.parametrize("B", [1, 3])
def test_bits_do_not_depend_on_the_number_of_threads(operation, layout, flow, B):
    inputs = make(
        operation, "cpp", ("float32", layout, (B, 5, 37, 300), flow)
    )  # enough values for every thread to have some
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 1):
            torch.set_num_threads(threads)
            found.append(results(CALLS[operation], inputs))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in found[0])


VERTICAL = {  # dy at each row, for images of 200 rows
    "still": lambda y: 0 * y + 0.3,
    "down": lambda y: 0 * y + 40.3,
    "up": lambda y: 0 * y - 40.3,
    "squeezed": lambda y: -0.7 * y + 11.1,
    "stretched": lambda y: 1.6 * y - 120.2,
    "jump": lambda y: torch.where(y < 60, 0.2, 90.4),  # rows in between are never read
    "turned over": lambda y: 199 - 2 * y + 0.1,
    "shaken": lambda y: 6 * torch.sin(40 * y) + 0.1,
}


@operations
@pytest.mark.parametrize("vertical", VERTICAL)
@pytest.mark.parametrize("threads", [1, 3])
def test_windows_of_rows_have_the_bits_of_whole_images(operation, vertical, threads):
    """Planes are reordered a few rows at a time; channels-last images are used in place."""
    planes = make(operation, "cpp", ("float32", "contiguous", (1, 4, 200, 40), "random"))
    for name, x in zip(NAMES[operation], planes, strict=True):
        if "flow" in name:
            x[:, 1] = 0.2 * x[:, 1] + VERTICAL[vertical](torch.arange(200.0))[:, None]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = [
            results(CALLS[operation], [LAYOUTS[layout](x) for x in planes])
            for layout in ("contiguous", "channels_last")
        ]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    expected = results(REFERENCES[operation], planes)
    torch.testing.assert_close(found[0]["result"], expected["result"], atol=1e-4, rtol=0)


# -- channels as vectors, and the memory beside them -----------------------------------------------


@operations
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_every_number_of_channels_has_the_same_values(operation, dtype, layout):
    images = 1 if operation == "warp" else 2
    whole = make(operation, "cpp", (dtype, "contiguous", (1, 35, 3, 70), "random"))
    expected = results(CALLS[operation], whole, torch.ones_like(whole[0]))
    for C in [*range(1, 21), 31, 32, 33, 35]:
        inputs = [LAYOUTS[layout](x[:, :C] if i < images else x) for i, x in enumerate(whole)]
        found = results(CALLS[operation], inputs, torch.ones_like(inputs[0]))
        assert torch.equal(found["result"], expected["result"][:, :C])
        for name in NAMES[operation][:images]:
            assert torch.equal(found[f"gradient of {name}"], expected[f"gradient of {name}"][:, :C])


@operations
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("flow", ["nan", "infinite", "far", "outside"])
@pytest.mark.parametrize("C", [1, 3, 5, 19, 32])
def test_nothing_beside_an_image_is_read_or_written(operation, channels_last, flow, C):
    inputs = make(operation, "cpp", ("float32", "contiguous", (1, C, 4, 67), flow))
    images, surroundings = 1 if operation == "warp" else 2, []
    for i in range(images):
        around = torch.full((3, 4, 67, C) if channels_last else (3, C, 4, 67), math.nan)
        inside = around[1:2].permute(0, 3, 1, 2) if channels_last else around[1:2]
        inputs[i] = inside.copy_(inputs[i])
        surroundings.append(around)
    found = results(CALLS[operation], inputs)
    assert all(x.isfinite().all() for x in found.values())
    assert all(around[[0, 2]].isnan().all() for around in surroundings)


def test_a_gradient_as_large_as_float32_allows_is_summed_in_float32():
    image, flow = (
        torch.zeros(1, 1, 1, 2048, dtype=torch.bfloat16, requires_grad=True),
        torch.full((1, 2, 1, 2048), -1e9),
    )
    CALLS["warp"](image, flow).backward(torch.ones_like(image))
    assert image.grad[0, 0, 0, 0] == 2048  # bfloat16 sums would stop at 256


# -- derivatives -----------------------------------------------------------------------------------


def smooth(operation: str, layout: str, shape: tuple) -> list[torch.Tensor]:
    """float64 inputs whose coordinates keep a quarter pixel away from whole ones, where a sample
    has a kink.
    """
    inputs = make(operation, "cpp", ("float64", layout, shape, "integer"))
    for name, x in zip(NAMES[operation], inputs, strict=True):
        if "flow" in name:
            x += 0.25 + 0.5 * torch.rand_like(x)
    return [x.requires_grad_() for x in inputs]


@operations
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradcheck(operation, layout):
    assert torch.autograd.gradcheck(CALLS[operation], smooth(operation, layout, (2, 5, 3, 4)))


@pytest.mark.slow
@operations
def test_gradgradcheck(operation):
    assert torch.autograd.gradgradcheck(
        CALLS[operation], smooth(operation, "contiguous", (1, 2, 3, 3))
    )


@pytest.mark.parametrize(
    "shape", [(1, 32, 330, 400), (1, 24, 440, 400), (2, 36, 240, 250)], ids=str
)
def test_a_result_beyond_the_caches_is_written_whole(shape):
    generator = torch.Generator().manual_seed(0)
    image, flow = (
        torch.rand(shape, generator=generator),
        8 * torch.randn(shape[0], 2, *shape[2:], generator=generator),
    )
    last = CALLS["warp"](image.contiguous(memory_format=torch.channels_last), flow)
    assert last.nbytes >= 16 << 20 and torch.equal(last, CALLS["warp"](image, flow))


@pytest.mark.parametrize("logit", [0.0, 30.0, -30.0, 100.0, -100.0, 1e30, -1e38])
def test_logits_of_any_size_are_weighed_as_the_reference_weighs_them(logit):
    occ0 = torch.full((1, 1, 2, 70), logit)
    occ1 = torch.linspace(-120, 120, 140).view(1, 1, 2, 70)
    ones, zeros, still = torch.ones(1, 1, 2, 70), torch.zeros(1, 1, 2, 70), torch.zeros(1, 2, 2, 70)
    for pair in ((occ0, occ1), (occ1, occ0)):
        inputs = [ones, zeros, still, still, *pair]
        found, expected = (
            results(f, inputs, ones)["result"]
            for f in (CALLS["warp_blend"], REFERENCES["warp_blend"])
        )
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@operations
def test_empty_images_have_zero_gradients(operation):
    inputs = make(operation, "cpp", ("float32", "contiguous", (2, 0, 3, 4), "random"))
    found = results(CALLS[operation], inputs, towards(inputs[0]))
    assert all(x.abs().sum() == 0 for x in found.values())
