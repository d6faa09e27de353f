"""The Triton kernels of `lucas_kanade` as a GPU runs them: the model's own sizes, large images,
graphs, determinism, memory.
"""

import pytest
import torch

from tests.support.gpu_session import needs_gpu_memory
from tests.support.lucas_kanade_cases import FINITE_FLOWS, assert_parity, fused, make
from tests.support.parity import LAYOUTS, captured, pairwise

pytestmark = pytest.mark.gpu

# Halves of 720p and 1080p, a quarter, training crops.
SIZES = [(1, 1, 360, 640), (1, 1, 540, 960), (1, 1, 180, 320), (4, 1, 128, 128), (2, 3, 112, 112)]
SHAPES = [(2, 1, 37, 131), (1, 3, 48, 64), (3, 2, 1, 200), (1, 17, 13, 19), (1, 1, 90, 3)]
DTYPES = ["float32", "float16", "bfloat16"]
MATRIX = pairwise(
    list(LAYOUTS), DTYPES, SHAPES, among=[("channels_last", "float32", (1, 17, 13, 19))]
)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_values_at_the_models_sizes(dtype, shape):
    inputs = make("triton", (dtype, "contiguous", shape, "random"))
    assert_parity(fused("triton")(*inputs), inputs)


@pytest.mark.parametrize(("layout", "dtype", "shape"), MATRIX, ids=str)
def test_every_flow_in_every_layout(layout, dtype, shape):
    for flow in FINITE_FLOWS:
        inputs = make("triton", (dtype, layout, shape, flow))
        assert_parity(fused("triton")(*inputs), inputs)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_twenty_runs_give_the_same_bits(shape):
    inputs = make("triton", ("float32", "contiguous", shape, "random"))
    first, *others = (fused("triton")(*inputs) for _ in range(20))
    assert all(torch.equal(first, other) for other in others)


def test_a_cuda_graph_replays_it():
    case = ("bfloat16", "contiguous", (2, 1, 60, 100), "random")
    static = make("triton", case)
    graph, found = captured(lambda: fused("triton")(*static))
    for seed in (2, 3):
        torch.manual_seed(seed)
        fresh = make("triton", case)
        for x, y in zip(static, fresh, strict=True):
            x.copy_(y)
        graph.replay()
        assert torch.equal(found, fused("triton")(*fresh))


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_inductor_compiles_it_between_other_operations(dynamic):
    torch._dynamo.reset()

    def model(image0, image1, flow0, flow1, t):
        luma0, luma1 = (x.mean(1, keepdim=True) for x in (image0, image1))
        step = fused("triton")(luma0, luma1, flow0, flow1, t)
        return flow0 - t.view(-1, 1, 1, 1) * step

    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    for shape in ((2, 3, 24, 40), (2, 3, 33, 57)) if dynamic else ((2, 3, 24, 40),):
        inputs = make("triton", ("float32", "contiguous", shape, "half"))
        inputs[2].requires_grad_()
        found = compiled(*inputs)
        torch.testing.assert_close(found, model(*inputs), atol=1e-3, rtol=0)
        assert (torch.autograd.grad(found.sum(), inputs[2])[0] == 1).all()


def test_the_host_never_waits_for_the_device():
    inputs = make("triton", ("float16", "contiguous", (2, 1, 32, 48), "random"))
    fused("triton")(*inputs)  # compiles, outside of the watch
    try:
        torch.cuda.set_sync_debug_mode("error")
        fused("triton")(*inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_holds_the_warped_images_and_the_weighted_motion_only():
    inputs = make("triton", ("float32", "contiguous", (1, 1, 540, 960), "random"))
    fused("triton")(*inputs)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step = fused("triton")(*inputs)
    allowed = 5 * step.nbytes // 2 + (2 << 20)  # torch may give a block that is so much larger
    assert torch.cuda.max_memory_allocated() - before <= allowed


# -- offsets that 32 bits do not hold, in the memory of a card of 24 GB ----------------------------


@pytest.mark.large
def test_the_last_rows_of_a_large_image():
    """The warped images, 2 H W values, pass 2^31, as the weighted motion and the step do."""
    H = W = 32800
    needs_gpu_memory(2 * H * W + (8 + 12) * H * W + (64 << 20))
    image = torch.empty((1, 1, H, W), dtype=torch.float16, device="cuda").uniform_()
    t = torch.tensor([0.4], device="cuda")
    flow0, flow1 = (
        torch.tensor(motion, device="cuda").view(1, 2, 1, 1)
        for motion in ((0.25, 0.5), (-0.5, -1.75))
    )

    def step(image: torch.Tensor) -> torch.Tensor:
        flows = (flow.expand(1, 2, *image.shape[2:]) for flow in (flow0, flow1))
        return fused("triton")(image, image, *flows, t)

    expected = step(image[:, :, -40:].clone())[:, :, -20:]
    assert expected.any() and torch.equal(step(image)[:, :, -20:], expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_tensors_on_another_device_than_the_current():
    inputs = [x.to("cuda:1") for x in make("triton")]
    assert torch.cuda.current_device() == 0
    assert_parity(fused("triton")(*inputs), inputs)
