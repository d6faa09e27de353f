"""Recording functions of tensors: tested with a recorder that replays by calling, which keeps the
rules of memory that CUDA graphs have.
"""

from dataclasses import dataclass

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lift.errors import LiftError
from lift.video.cuda_graphs import CudaGraphRecorder, GraphedCall
from tests.support.recorder import Recorder


@dataclass(frozen=True)
class Both:
    size: int
    a: torch.Tensor
    b: torch.Tensor | None = None


def test_replays_give_what_calls_give_and_results_stay():
    recorder = Recorder()
    graphed = GraphedCall(lambda both, x: Both(both.size, both.a * x, both.a + both.size), recorder)
    found = [(k, graphed(Both(3, torch.full((2,), float(k))), torch.tensor(2.0))) for k in range(4)]
    assert (recorder.recorded, recorder.replayed) == (
        1,
        5,
    )  # the first is also compared with a plain call
    for k, both in found:
        assert both.size == 3 and both.a.tolist() == [2 * k] * 2 and both.b.tolist() == [k + 3] * 2


def test_arguments_are_left_alone():
    graphed = GraphedCall(lambda x: x + 1, Recorder())
    first, second = torch.zeros(2), torch.ones(2)
    graphed(first)
    graphed(second)
    assert first.tolist() == [0, 0] and second.tolist() == [1, 1]


@pytest.mark.parametrize(
    "other", [torch.zeros(3), torch.zeros(2, dtype=torch.float64), torch.zeros(4)[::2]]
)
def test_each_form_has_its_own_recording(other):
    recorder = Recorder()
    graphed = GraphedCall(lambda x: x + 1, recorder)
    for x in (torch.zeros(2), other, torch.zeros(2)):
        assert torch.equal(graphed(x), x + 1)
    assert recorder.recorded == 2


def test_what_is_no_tensor_belongs_to_the_form():
    graphed = GraphedCall(lambda both: both.a + both.size, Recorder())
    assert [graphed(Both(size, torch.zeros(1))).item() for size in (1, 2, 1)] == [1, 2, 1]


def test_fixed_arguments_are_read_where_they_lie():
    recorder = Recorder()
    graphed = GraphedCall(lambda kept, x: kept.sum() + x, recorder, fixed=(0,))
    kept, x = torch.zeros(3), torch.tensor(1.0)
    assert graphed(kept, x).item() == 1
    kept[1] = 5
    assert graphed(kept, x).item() == 6 and recorder.recorded == 1
    moved = torch.ones(3)
    assert graphed(moved, x).item() == 4 and recorder.recorded == 2
    assert kept.tolist() == [0, 5, 0]


@pytest.mark.parametrize("spoil", [lambda x: x.mul_(1.1), lambda x: x.fill_(float("nan"))])
def test_a_replay_that_gives_something_else_is_an_error(spoil):
    with pytest.raises(LiftError, match="gives another result when replayed"):
        GraphedCall(lambda x: x + 1, Recorder(spoil))(torch.ones(2))


def test_what_cannot_be_recorded_is_an_error():
    def record(call):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    with pytest.raises(
        LiftError,
        match=r"cannot be recorded as a CUDA graph "
        r"\(operation not permitted when stream is capturing\)",
    ):
        GraphedCall(lambda x: x, record)(torch.ones(2))


class Copies(TorchDispatchMode):
    """Counts the operations that copy."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function._schema.name.split("::")[1]
        if name in ("copy_", "_to_copy", "clone", "_foreach_copy_"):
            self.names.append(name)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(
    "dtypes, calls",
    (((torch.float32, torch.float32), 1), ((torch.float32, torch.float16), 2)),
    ids=str,
)
def test_a_replay_copies_arguments_and_results_of_a_dtype_in_one_call(dtypes, calls):
    class Still(Recorder):  # as a GPU: a replay is no copy of ours
        def __call__(self, call):
            return call(), lambda: None

    a, b = (torch.ones(3, dtype=dtype) for dtype in dtypes)
    graphed = GraphedCall(lambda both, x: (Both(both.size, both.a + x, both.b * 2), x + 1), Still())
    graphed(Both(1, a, b), a)
    with Copies() as copies:
        graphed(Both(1, a, b), a)
    assert copies.names == ["_foreach_copy_"] * 2 * calls


def test_results_that_are_arguments_are_not_copied():
    graphed = GraphedCall(lambda both, x: (x, Both(both.size, both.b, both.a + x)), Recorder())
    for k in range(3):
        both, x = Both(1, torch.full((2,), float(k)), torch.ones(2)), torch.full((2,), 10.0)
        passed, new = graphed(both, x)
        assert passed is x and new.a is both.b and new.b.tolist() == [10.0 + k] * 2


@pytest.mark.gpu
def test_a_pool_survives_its_recordings():
    """Also when none is left but the recorder: another form of arguments replaces the only one."""
    record = CudaGraphRecorder(torch.device("cuda"))
    for _ in range(2):
        for n in (8, 16):
            graphed = GraphedCall(lambda x: (x @ x).relu(), record)
            x = torch.randn(n, n, device="cuda")
            torch.testing.assert_close(graphed(x), (x @ x).relu())
            del graphed


@pytest.mark.gpu
def test_a_cuda_graph_replays_the_function():
    recorder = CudaGraphRecorder(torch.device("cuda"))
    graphed = GraphedCall(lambda kept, x: (kept @ x).relu(), recorder, fixed=(0,))
    kept = torch.randn(8, 8, device="cuda")
    for _ in range(3):
        x = torch.randn(8, 4, device="cuda")
        torch.testing.assert_close(graphed(kept, x), (kept @ x).relu())
