"""Launches that are remembered: which are alike, what they do, and that the memory is bounded.

Most tests run the real path through Triton's compiler and launcher, for a driver that records
launches instead of a GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lift.kernels import dispatch, selfcheck
from lift.kernels.ops.bias_act import op

if op.triton is None:
    pytest.skip("Triton cannot be imported", allow_module_level=True)

from lift.kernels import launch, launch_memory  # need Triton

ROOT = Path(__file__).resolve().parents[2]
interpreted = pytest.mark.skipif(not launch.INTERPRETED, reason="needs Triton's interpreter")


# -- in the interpreter ----------------------------------------------------------------------------


class Kernel:
    """A kernel that notes what it is launched with."""

    def __init__(self):
        self.launches = []

    @staticmethod
    def fn(out, x, n, scale, unused=7):
        """Only its signature matters."""

    def __getitem__(self, grid):
        return lambda **arguments: self.launches.append((grid, arguments))


calls = []


def arguments_of(out, x, scale):
    calls.append(scale)
    return 3, {"out": out, "x": x, "n": x.numel(), "scale": scale, "num_warps": 4}


@pytest.fixture
def kernel(monkeypatch):
    calls.clear()
    monkeypatch.setattr(launch, "INTERPRETED", False)
    return Kernel()


def again(kernel, x, scale=1.0, out=None, of=arguments_of):
    """Whether the arguments of a launch were remembered."""
    before = len(calls)
    launch_memory.launch_again(kernel, of, torch.empty(4) if out is None else out, x, scale)
    return len(calls) == before


def test_a_launch_like_an_earlier_one_takes_its_arguments_and_its_own_tensors(kernel):
    x, y, out = torch.zeros(4), torch.ones(4), torch.empty(4)
    assert not again(kernel, x) and again(kernel, y, out=out)
    (grid0, first), (grid1, second) = kernel.launches
    assert grid0 == grid1 == (3,)
    assert second["x"] is y and second["out"] is out
    assert {**first, "x": y, "out": out, "unused": 7} == second


base = torch.zeros(64)


@pytest.mark.parametrize(
    ("x", "scale"),
    [
        (torch.zeros(5), 1.0),
        (torch.zeros(4, dtype=torch.int32), 1.0),
        (base[:8:2], 1.0),
        (base[1:5], 1.0),
        (torch.zeros(2, 2), 1.0),
        (torch.zeros(4), 2.0),
        (torch.zeros(4), 1),
        (torch.zeros(4), True),
        (torch.zeros(4), None),
    ],
    ids="shape dtype stride alignment rank value int bool None".split(),
)
def test_what_triton_or_an_op_look_at_makes_another_launch(kernel, x, scale):
    again(kernel, base[:4])
    assert base.data_ptr() % 16 == 0
    assert not again(kernel, x, scale) and again(kernel, x, scale)
    assert again(kernel, base[4:8])


def test_another_kernel_or_another_width_of_offsets_is_another_launch(kernel):
    again(kernel, base)
    assert not again(Kernel(), base)
    with launch.force_int64_offsets(True):
        assert not again(kernel, base) and again(kernel, base)
    assert again(kernel, base)


def test_one_tensor_may_be_two_inputs_once_and_not_another_time(kernel):
    x, y = torch.zeros(4), torch.ones(4)
    assert not again(kernel, x, out=x)
    assert not again(kernel, x, out=y)
    assert again(kernel, x, out=x) and again(kernel, y, out=x)
    assert [a["out"] is x for _, a in kernel.launches] == [True, False, True, True]
    assert [a["x"] is x for _, a in kernel.launches] == [True, True, True, False]


def test_a_launch_with_a_copy_of_an_input_is_not_remembered(kernel):
    def copied(out, x, scale):
        return arguments_of(out, x.clone(), scale)

    assert not again(kernel, base, of=copied) and not again(kernel, base, of=copied)
    assert not launch_memory._memory


def test_memory_for_one_launch_is_made_for_each(kernel):
    def with_scratch(out, x, scale):
        programs, arguments = arguments_of(out, x, scale)
        return programs, arguments | {"unused": launch.empty(2, 3)}

    again(kernel, base, of=with_scratch), again(kernel, base, of=with_scratch)
    first, second = (arguments["unused"] for _, arguments in kernel.launches)
    assert first.shape == second.shape == (2, 3) and first is not second


def test_an_observed_launch_is_seen_whether_remembered_or_not(kernel):
    seen = []
    for _ in range(2):
        with launch.observed_launches(seen.append):
            again(kernel, base)
        again(kernel, base)
    assert len(seen) == len(kernel.launches) == 2 and all(a["x"] is base for a in seen)


def test_the_oldest_launches_are_forgotten(kernel, monkeypatch):
    monkeypatch.setattr(launch_memory, "MOST", 2)
    for n in (1, 2, 3):
        again(kernel, torch.zeros(n))
    assert len(launch_memory._memory) == 2
    assert again(kernel, torch.zeros(3)) and not again(kernel, torch.zeros(1))


def test_no_tensor_is_kept_alive(kernel):
    again(kernel, base)
    (remembered,) = launch_memory._memory.values()
    assert not any(isinstance(x, torch.Tensor) for x in remembered.arguments.values())


QUICK = ("adjacent_frames", "group_norm", "warp")
operations = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in sorted(dispatch.samplers())
]


@interpreted
@pytest.mark.parametrize("operation", operations)
def test_every_op_computes_the_same_when_it_is_remembered(operation):
    """Other values the second time, so that a tensor of the first would be seen."""
    backend = next(b for b in dispatch.operations()[operation] if b.fused)
    if backend.name != "triton":
        pytest.skip("no Triton kernels")
    arguments = selfcheck.samples(operation)
    if backend.unsupported_reason(*arguments):
        pytest.skip("needs other arguments")
    places = selfcheck._differentiable(backend, arguments)
    changed = [a.flip(0).contiguous() if selfcheck._is_floating(a) else a for a in arguments]
    expected = selfcheck._outputs_and_grads(backend, changed, places)
    launch_memory.forget()
    selfcheck._outputs_and_grads(backend, arguments, places)
    size = len(launch_memory._memory)
    found = selfcheck._outputs_and_grads(backend, changed, places)
    assert 0 < size == len(launch_memory._memory)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


# -- compiled --------------------------------------------------------------------------------------

COMPILED = """
import torch
from benchmarks import host_time
from lift.kernels import launch, launch_memory
from lift.kernels.ops.change_map.triton_kernels import change_map_kernel
from lift.kernels.ops.change_map.triton_launch import change_map_arguments

launches, runs = [], []
host_time.NoDriver.launcher_cls = lambda self, source, metadata: (
    lambda *arguments: launches.append((metadata.hash, arguments))
)
host_time.take_cpu_tensors()
plain = type(change_map_kernel).run
type(change_map_kernel).run = lambda *a, **k: runs.append(1) or plain(*a, **k)

def call(offset=0):
    images = [torch.rand(192 + offset)[offset:].view(1, 3, 8, 8) for _ in range(2)]
    inputs = (torch.empty(1, 1, 4, 4), *images)
    launch_memory.launch_again(change_map_kernel, change_map_arguments, *inputs)
    return inputs

def values():
    # the kernel's arguments come last, all of them
    return launches[-1][1][-len(change_map_kernel.arg_names):]

first = call()
by_triton = values()
assert len(launches) == len(runs) == 1
second = call()
assert len(launches) == 2 and len(runs) == 1, "Triton's own launcher ran again"
assert launches[0][0] == launches[1][0]
assert launches[0][1][:5] == launches[1][1][:5]  # grid and stream
for mine, theirs in zip(values(), by_triton, strict=True):
    place = [theirs is x for x in first]
    assert mine is second[place.index(True)] if any(place) else mine == theirs

call(offset=1)  # another alignment, another kernel
assert len(runs) == 2 and launches[2][0] != launches[0][0]
call(offset=1), call()
assert len(runs) == 2
assert launches[3][0] == launches[2][0] and launches[4][0] == launches[0][0]

hooked = []
change_map_kernel.add_pre_run_hook(lambda *a, **k: hooked.append(k))
call()
assert hooked and len(launches) == 6
for name, value in zip(change_map_kernel.arg_names, values()):
    assert isinstance(value, torch.Tensor) or hooked[0][name] == value
assert hooked[0]["num_warps"] == 2
"""


@pytest.mark.slow
def test_what_was_compiled_is_launched_without_triton_looking_again():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
