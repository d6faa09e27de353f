"""Fused operations on streams of their own: they read what work queued before them has written,
work queued after them may change what they read, and two threads do not disturb each other.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.grid_sample import cuda
from tests.support import correlation_cases, lucas_kanade_cases, warp_cases
from tests.support import temporal_attention_cases as attention_cases
from tests.support.parity import assert_close

pytestmark = pytest.mark.gpu

BUSY = 50_000_000  # cycles: longer than launching a call takes
ROUNDS = 20
SUMMED = {"gradient of image", "gradient of image0", "gradient of image1", "gradient of input"}


@pytest.fixture(params=[False, True], ids=["fast", "deterministic"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


# -- operations ------------------------------------------------------------------------------------


@dataclass
class Call:
    """A fused operation with its inputs.

    Attributes:
        run: takes as many tensors and returns the result and all gradients, by name.
        tensors: the inputs, and the gradient of the result last.
        check: takes what `run` returned and raises where it breaks the rule of `parity`; None where
            the operation sums in one order, so that its bits are always the same.
    """

    run: Callable[..., dict[str, torch.Tensor]]
    tensors: list[torch.Tensor]
    check: Callable[[dict], None] | None = None


def warp_call(operation: str, layout: str = "channels_last") -> Call:
    case = ("float32", layout, (2, 16, 32, 48), "random")
    inputs = warp_cases.make(operation, "triton", case)
    grad = warp_cases.towards(inputs[0])
    fused = warp_cases.fused(operation, "triton")
    return Call(
        lambda *x: warp_cases.results(fused, x[:-1], x[-1]),
        [*inputs, grad],
        lambda found: warp_cases.assert_parity(operation, found, inputs, grad),
    )


def attention_call(window: int) -> Call:
    arguments = attention_cases.make((1, 1, 5, 16, 20, 4, 32, window, 0), "bfloat16")
    grad = attention_cases.towards(arguments["q"])  # of the result's shape
    names = attention_cases.NAMES

    def run(*x):
        changed = arguments | dict(zip(names, x[:-1], strict=True))
        return attention_cases.results(attention_cases.fused, changed, grad=x[-1])

    return Call(run, [*(arguments[name] for name in names), grad])


def correlation_call(radius: int, unit: bool) -> Call:
    case = ("float16", "channels_last", (2, 24, 20, 36), radius, unit)
    maps = correlation_cases.make("triton", case)
    fused = correlation_cases.fused("triton", radius, unit)
    grad = correlation_cases.towards(fused(*maps))
    return Call(lambda *x: correlation_cases.results(fused, x[:-1], x[-1]), [*maps, grad])


def lucas_kanade_call() -> Call:
    inputs = lucas_kanade_cases.make("triton", ("float16", "contiguous", (2, 1, 60, 90), "random"))
    return Call(lambda *x: {"result": lucas_kanade_cases.fused("triton")(*x)}, inputs)


def grid_sample_call() -> Call:
    if reason := cuda.unsupported_reason():
        pytest.skip(reason)
    how = ("bilinear", "border", True)
    input, grad = torch.randn(2, 16, 37, 70).cuda(), torch.randn(2, 16, 45, 90).cuda()
    grid = torch.rand(2, 45, 90, 2).mul(2.5).sub(1.25).cuda()

    def run(input, grid, grad, sample=lambda *x: kernels.grid_sample(*x, backend="cuda")):
        leaves = [input.detach().requires_grad_(), grid.detach().requires_grad_()]
        out = sample(*leaves, *how)
        found = torch.autograd.grad(out, leaves, grad)
        return dict(
            zip(
                ("result", "gradient of input", "gradient of grid"),
                (out.detach(), *found),
                strict=True,
            )
        )

    def check(found):
        low = run(input.cpu(), grid.cpu(), grad.cpu(), F.grid_sample)
        exact = run(*(x.cpu().double() for x in (input, grid, grad)), F.grid_sample)
        for name in SUMMED & found.keys():
            assert_close(name, found[name], low[name], exact[name], torch.float32)

    return Call(run, [input, grid, grad], check)


CALLS = {
    "warp": lambda: warp_call("warp"),
    "warp_blend": lambda: warp_call("warp_blend"),
    "warp_blend of planes": lambda: warp_call("warp_blend", "contiguous"),
    "temporal_attention": lambda: attention_call(8),
    "temporal_attention of one location": lambda: attention_call(1),
    "correlation": lambda: correlation_call(3, True),
    "correlation without unit length": lambda: correlation_call(2, False),
    "lucas_kanade": lucas_kanade_call,
    "grid_sample": grid_sample_call,
}


def assert_same(call: Call, found: dict, expected: dict, deterministic: bool) -> None:
    """Equal bits, save where atomics sum in any order: there by the rule of `parity`."""
    assert found.keys() == expected.keys()
    summed = set() if deterministic or call.check is None else SUMMED & found.keys()
    for name in found.keys() - summed:
        assert torch.equal(found[name], expected[name]), name
    if summed:
        call.check(found)


# -- one stream ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_a_call_keeps_its_place_among_the_work_of_a_stream(name, deterministic):
    call = CALLS[name]()
    expected = call.run(*call.tensors)
    late = [torch.full_like(x, float("nan")) for x in call.tensors]
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(BUSY)
        for x, y in zip(late, call.tensors, strict=True):
            x.copy_(y)
        found = call.run(*late)
        copies = {name: x.clone() for name, x in found.items()}
        for x in (*late, *found.values()):
            x.fill_(float("nan"))
    torch.cuda.synchronize()
    assert_same(call, copies, expected, deterministic)


# -- two threads -----------------------------------------------------------------------------------


def rounds(calls: list[Call], together: Barrier) -> list[list[dict]]:
    """What the calls give on a stream of this thread, in rounds, while another thread does so."""
    found = []
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(ROUNDS):
            together.wait(timeout=60)
            torch.cuda._sleep(2_000_000)  # both streams have work waiting
            found.append([call.run(*call.tensors) for call in calls])
    return found


def test_two_threads_with_a_stream_each_do_not_disturb_each_other(deterministic):
    names = [name for name in CALLS if name != "grid_sample" or cuda.unsupported_reason() is None]
    calls = [[CALLS[name]() for name in names] for _ in range(2)]  # each with its own values
    expected = [[call.run(*call.tensors) for call in part] for part in calls]
    torch.cuda.synchronize()
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(rounds, calls, itertools.repeat(Barrier(2))))
    torch.cuda.synchronize()
    for part, of_rounds, right in zip(calls, found, expected, strict=True):
        for each in of_rounds:
            for call, ours, theirs in zip(part, each, right, strict=True):
                assert_same(call, ours, theirs, deterministic)
