"""The Triton kernels of `warp` and `warp_blend` on a GPU: many inputs, large sizes, graphs."""

import pytest
import torch

from lift import kernels
from tests.support.gpu_session import needs_gpu_memory
from tests.support.parity import FLOWS, LAYOUTS, assert_close, captured, pairwise
from tests.support.warp_cases import (
    PUBLIC,
    REFERENCES,
    assert_parity,
    fused,
    make,
    results,
    towards,
)

pytestmark = pytest.mark.gpu

operations = pytest.mark.parametrize("operation", PUBLIC)


SHAPES = [(2, 3, 37, 131), (1, 32, 48, 64), (2, 64, 17, 33), (1, 130, 13, 19)]
MATRIX = pairwise(
    list(LAYOUTS),
    ["float32", "float16", "bfloat16"],
    SHAPES,
    list(PUBLIC),
    among=[("channels_last", "float32", SHAPES[3], "warp_blend")],
)


@pytest.mark.parametrize(("layout", "dtype", "shape", "operation"), MATRIX, ids=str)
def test_every_flow_in_every_layout(layout, dtype, shape, operation):
    for flow in FLOWS:
        inputs = make(operation, "triton", (dtype, layout, shape, flow))
        assert_parity(operation, results(fused(operation, "triton"), inputs), inputs)


LARGE = [
    ("float32", "contiguous", (1, 3, 2160, 3840), "random"),
    ("bfloat16", "channels_last", (1, 3, 2160, 3840), "far"),
    ("float16", "channels_last", (1, 64, 540, 960), "random"),
]


@operations
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_large_images(operation, case):
    """Gradients are compared as a whole: some of millions of coordinates cross a whole pixel by
    rounding.
    """
    inputs = make(operation, "triton", case)
    found = results(fused(operation, "triton"), inputs)
    low = results(REFERENCES[operation], inputs, towards(found["result"]))
    exact = results(
        REFERENCES[operation], [x.double() for x in inputs], towards(found["result"]).double()
    )
    assert_close("result", found["result"], low["result"], exact["result"], torch.float32)
    for name in found:
        distance = (found[name].double() - exact[name]).norm() / exact[name].norm()
        allowed = 2 * (low[name].double() - exact[name]).norm() / exact[name].norm() + 1e-6
        assert distance <= allowed, (name, distance, allowed)


@pytest.mark.large
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_more_than_31_bits_of_elements(layout):
    B, C, H, W = 1, 264, 2160, 3840
    needs_gpu_memory(3 * B * C * H * W * 2)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    image = torch.empty(B, C, H, W, dtype=torch.float16, device="cuda", memory_format=memory)
    image.copy_(
        torch.rand(B, 1, H, W, device="cuda") + torch.arange(C, device="cuda").view(C, 1, 1)
    )
    flow = FLOWS["far"](B, H, W).cuda()
    out = kernels.warp(image, flow, backend="triton")
    for channel in (0, C - 1):
        part = image[:, channel : channel + 1].contiguous()
        assert torch.equal(
            out[:, channel : channel + 1], kernels.warp(part, flow, backend="triton")
        )


@operations
@pytest.mark.parametrize("flow", ["random", "far", "collapse"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_deterministic_gradients_have_the_same_bits_in_twenty_runs(operation, flow, layout):
    inputs = make(operation, "triton", ("bfloat16", layout, (2, 32, 128, 224), flow))
    torch.use_deterministic_algorithms(True)
    try:
        first = results(fused(operation, "triton"), inputs)
        for _ in range(19):
            again = results(fused(operation, "triton"), inputs)
            assert all(torch.equal(first[name], again[name]) for name in first)
    finally:
        torch.use_deterministic_algorithms(False)


@operations
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_cuda_graph_replays_forward_and_backward(operation, deterministic):
    case = ("float32", "channels_last", (2, 16, 32, 48), "random")
    static = [x.detach().requires_grad_() for x in make(operation, "triton", case)]
    grad = towards(static[0])

    def step():
        out = fused(operation, "triton")(*static)
        return (out.detach(), *torch.autograd.grad(out, static, grad))

    torch.use_deterministic_algorithms(deterministic)
    try:
        graph, found = captured(step)
        for seed in (2, 3):
            torch.manual_seed(seed)
            fresh = make(operation, "triton", case)
            with torch.no_grad():
                for x, y in zip(static, fresh, strict=True):
                    x.copy_(y)
            graph.replay()
            expected = results(fused(operation, "triton"), fresh, grad)
            torch.testing.assert_close(found, tuple(expected.values()), atol=1e-5, rtol=1e-5)
    finally:
        torch.use_deterministic_algorithms(False)


@operations
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_inductor_compiles_it_between_convolutions(operation, dynamic):
    torch._dynamo.reset()
    convolution = torch.nn.Conv2d(4, 4, 3, padding=1).cuda().to(memory_format=torch.channels_last)

    def model(*inputs):
        count = 1 if operation == "warp" else 2
        return convolution(
            fused(operation, "triton")(*[convolution(x) for x in inputs[:count]], *inputs[count:])
        )

    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    for shape in ((2, 4, 24, 40), (2, 4, 33, 57)) if dynamic else ((2, 4, 24, 40),):
        inputs = make(operation, "triton", ("float32", "channels_last", shape, "half"))
        torch.testing.assert_close(
            results(compiled, inputs), results(model, inputs), atol=1e-2, rtol=1e-2
        )  # convolutions may take TF32


@operations
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_host_never_waits_for_the_device(operation, deterministic):
    inputs = make(operation, "triton", ("float16", "channels_last", (2, 8, 32, 48), "random"))
    grad = towards(inputs[0])
    torch.use_deterministic_algorithms(deterministic)
    try:
        results(fused(operation, "triton"), inputs, grad)
        torch.cuda.set_sync_debug_mode("error")
        results(fused(operation, "triton"), inputs, grad)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)


@operations
def test_memory_holds_the_result_and_the_gradients_only(operation):
    inputs = [
        x.requires_grad_()
        for x in make(operation, "triton", ("float32", "contiguous", (1, 32, 256, 448), "random"))
    ]
    grad, slack = towards(inputs[0]), 1 << 20  # torch may give a block so much larger
    torch.cuda.empty_cache()  # or one from an earlier test, larger still
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = fused(operation, "triton")(*inputs)
    assert torch.cuda.max_memory_allocated() - before <= out.nbytes + slack
    torch.autograd.grad(out, inputs, grad)
    most = sum(x.nbytes + slack for x in (out, *inputs))
    assert torch.cuda.max_memory_allocated() - before <= most


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@operations
def test_tensors_on_another_device_than_the_current(operation):
    inputs = [x.to("cuda:1") for x in make(operation, "triton")]
    assert torch.cuda.current_device() == 0
    assert_parity(operation, results(fused(operation, "triton"), inputs), inputs)
