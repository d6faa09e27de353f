"""The Triton kernels of `correlation` as a GPU runs them: the model's own sizes, large maps,
graphs, determinism, memory.
"""

import itertools

import pytest
import torch

from tests.support.correlation_cases import NAMES, assert_parity, fused, make, results, towards
from tests.support.gpu_session import needs_gpu_memory
from tests.support.parity import LAYOUTS, captured, pairwise

pytestmark = pytest.mark.gpu

# (B, C, H, W), radius: the three scales of a training crop and of 1080p in `base`, of 720p in
# `small` and `tiny`.
SIZES = [
    ((4, 64, 64, 64), 3),
    ((4, 64, 32, 32), 3),
    ((4, 64, 32, 32), 0),
    ((4, 64, 16, 16), 6),
    ((1, 64, 270, 480), 3),
    ((1, 64, 270, 480), 0),
    ((1, 64, 135, 240), 3),
    ((1, 64, 68, 120), 6),
    ((1, 48, 180, 320), 3),
    ((1, 48, 45, 80), 6),
    ((1, 24, 180, 320), 2),
    ((1, 24, 45, 80), 5),
]
BOTH = ["contiguous", "channels_last"]
DTYPES = ["float32", "float16", "bfloat16"]
FORMS = list(itertools.product(BOTH, DTYPES))
AT_SIZES = [(*FORMS[i % 6], *size) for i, size in enumerate(SIZES)]  # each form twice
RADII = [(0, True), (2, False), (3, True), (6, True)]  # radius, normalize
MATRIX = pairwise(
    RADII, [5, 64, 256], list(LAYOUTS), DTYPES, among=[((3, True), 64, "channels_last", "float32")]
)


@pytest.mark.parametrize(("layout", "dtype", "shape", "radius"), AT_SIZES, ids=str)
def test_values_and_gradients_at_the_models_sizes(layout, dtype, shape, radius):
    maps = make("triton", (dtype, layout, shape, radius, True))
    assert_parity(results(fused("triton", radius, True), maps), maps, radius, True)


@pytest.mark.parametrize(
    ("radius", "normalize", "C", "layout", "dtype"), [(*how, *rest) for how, *rest in MATRIX]
)
def test_every_layout(radius, normalize, C, layout, dtype):
    maps = make("triton", (dtype, layout, (2, C, 19, 37), radius, normalize))
    assert_parity(results(fused("triton", radius, normalize), maps), maps, radius, normalize)


@pytest.mark.parametrize(
    ("layout", "dtype", "shape", "radius"), [AT_SIZES[0], AT_SIZES[3], AT_SIZES[5]], ids=str
)
def test_twenty_runs_give_the_same_bits(layout, dtype, shape, radius):
    maps = make("triton", (dtype, layout, shape, radius, True))
    grad = towards(fused("triton", radius, True)(*maps))
    first, *others = (results(fused("triton", radius, True), maps, grad) for _ in range(20))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.parametrize(
    ("layout", "radius"), [("contiguous", 0), ("channels_last", 3), ("channels_last", 6)]
)
def test_a_cuda_graph_replays_forward_and_backward(layout, radius):
    case = ("bfloat16", layout, (2, 24, 20, 36), radius, True)
    static = make("triton", case)
    grad = towards(fused("triton", radius, True)(*static))
    graph, found = captured(lambda: results(fused("triton", radius, True), static, grad))
    for seed in (2, 3):
        torch.manual_seed(seed)
        fresh = make("triton", case)
        for x, y in zip(static, fresh, strict=True):
            x.copy_(y)
        graph.replay()
        expected = results(fused("triton", radius, True), fresh, grad)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_inductor_compiles_it_between_convolutions(dynamic):
    torch._dynamo.reset()
    convolution = torch.nn.Conv2d(6, 6, 3, padding=1).cuda().to(memory_format=torch.channels_last)

    def model(fmap0, fmap1):
        return fused("triton", 2, True)(convolution(fmap0), convolution(fmap1)).relu()

    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    for shape in ((2, 6, 24, 40), (2, 6, 33, 57)) if dynamic else ((2, 6, 24, 40),):
        maps = make("triton", ("float32", "channels_last", shape, 2, True))
        torch.testing.assert_close(
            results(compiled, maps), results(model, maps), atol=1e-2, rtol=1e-2
        )  # convolutions may take TF32


@pytest.mark.parametrize("layout", BOTH)
def test_the_host_never_waits_for_the_device(layout):
    maps = make("triton", ("float16", layout, (2, 24, 32, 48), 3, True))
    grad = towards(fused("triton", 3, True)(*maps))
    results(fused("triton", 3, True), maps, grad)  # compiles, outside of the watch
    try:
        torch.cuda.set_sync_debug_mode("error")
        results(fused("triton", 3, True), maps, grad)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("normalize", [False, True])
def test_memory_holds_the_result_the_gradients_and_the_lengths_only(normalize):
    maps = [
        x.requires_grad_()
        for x in make("triton", ("float32", "channels_last", (1, 64, 68, 120), 3, normalize))
    ]
    grad = towards(fused("triton", 3, normalize)(*maps))
    allowed = 2 * 4 * 68 * 120 * normalize + (
        1 << 20
    )  # torch may give a block that is so much larger; a copy of a map is 2 MB
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = fused("triton", 3, normalize)(*maps)
    assert torch.cuda.max_memory_allocated() - before <= out.nbytes + allowed
    torch.autograd.grad(out, maps, grad)
    assert torch.cuda.max_memory_allocated() - before <= out.nbytes + allowed + sum(
        x.nbytes for x in maps
    )


# -- offsets that 32 bits do not hold, in the memory of a card of 24 GB ----------------------------

WIDE = [
    ((1, 256, 2900, 2900), 1, "contiguous"),
    ((1, 256, 2900, 2900), 1, "channels_last"),  # 2^31 values in a map
    ((1, 4, 3600, 3600), 6, "channels_last"),
]  # and in the result


@pytest.mark.large
@pytest.mark.parametrize(("shape", "radius", "layout"), WIDE, ids=str)
def test_the_last_rows_of_large_maps(shape, radius, layout):
    B, C, H, W = shape
    maps, result = 2 * B * C * H * W, 4 * B * (2 * radius + 1) ** 2 * H * W
    needs_gpu_memory(3 * maps + result + (64 << 20))  # of the gradients, one at a time
    assert_last_rows(shape, radius, layout, "cuda")


def assert_last_rows(shape, radius: int, layout: str, device: str) -> None:
    """What the last rows hold, and their gradients, is what a call on these rows alone gives, up to
    rounding.
    """
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    maps = [
        torch.empty(shape, dtype=torch.float16, device=device, memory_format=memory).normal_()
        for _ in NAMES
    ]
    ending, compared = (
        slice(-4 * radius - 4, None),
        slice(-3 * radius - 4, None),
    )  # an ending's first rows miss their neighbours
    endings = [x[:, :, ending].clone(memory_format=memory) for x in maps]
    for wrt in NAMES:
        grad = fused("triton", radius, True)(
            *maps
        )  # the result is its own gradient: it needs no memory beside it
        whole, part = (
            gradient(*inputs, radius, wrt)
            for inputs in ((maps, grad), (endings, grad[:, :, ending]))
        )
        torch.testing.assert_close(
            whole[:, :, compared], part[:, :, compared], rtol=2e-3, atol=2e-3
        )
        part = fused("triton", radius, True)(*endings)
        torch.testing.assert_close(grad[:, :, compared], part[:, :, compared])
        del whole, grad


def gradient(maps, grad, radius: int, wrt: str) -> torch.Tensor:
    backward = torch.ops.lift_triton.correlation_backward
    return backward(grad, *maps, radius, True, 1 << NAMES.index(wrt))[NAMES.index(wrt)]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_tensors_on_another_device_than_the_current():
    maps = [x.to("cuda:1") for x in make("triton")]
    assert torch.cuda.current_device() == 0
    assert_parity(results(fused("triton", 1, True), maps), maps, 1, True)
