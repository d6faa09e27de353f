"""Measuring: wrong variants get no time, the others are timed alternately."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.harness import measure
from lift.kernels.ops.warp_blend.eager import warp_eager
from lift.kernels.ops.warp_blend.reference import warp_reference


@pytest.fixture(scope="module")
def arguments():
    torch.manual_seed(0)
    return torch.rand(1, 3, 6, 8), (2 * torch.randn(1, 2, 6, 8)).round() + 0.25


def test_right_variants_are_timed_in_turn(arguments):
    turns = []

    def traced(name):
        return measure.Variant(name, lambda *inputs: turns.append(name) or warp_eager(*inputs))

    found = measure.compare(
        [traced("one"), traced("other")], warp_reference, arguments, backward=False, rounds=2
    )
    assert turns == ["one", "other"] + 3 * [
        "one",
        "other",
    ]  # checked, then a round to warm up and two that count
    assert all(len(x.times) == 2 and min(x.times) > 0 and x.error < 1e-6 for x in found.values())


@pytest.mark.parametrize(
    ("wrong", "failure"),
    [
        (lambda image, flow: warp_eager(image, flow) * 1.01, "wrong: relative error"),
        (
            lambda image, flow: warp_eager(image, flow) + image.new_tensor(float("nan")),
            "wrong: relative error inf",
        ),
        (
            lambda image, flow: warp_eager(image, flow.detach()) + 0 * flow.sum(),
            "wrong: relative error",
        ),  # only flow's gradient
        (lambda image, flow: warp_eager(image, flow[0]), "RuntimeError|IndexError|ValueError"),
    ],
)
def test_a_wrong_variant_has_no_time(arguments, wrong, failure):
    variants = [measure.Variant("wrong", wrong), measure.Variant("right", warp_eager)]
    found = measure.compare(variants, warp_reference, arguments, backward=True, rounds=1)
    assert found["wrong"].times == [] and found["wrong"].failure
    assert any(part in found["wrong"].failure for part in failure.split("|"))
    assert len(found["right"].times) == 1 and found["right"].failure is None


def test_each_of_several_results_must_be_right(arguments):
    variants = [
        measure.Variant("right", lambda image, flow: (image + 1, flow * 2)),
        measure.Variant("wrong", lambda image, flow: (image + 1, flow * 2.01)),
    ]
    found = measure.compare(variants, variants[0].call, arguments, backward=False, rounds=1)
    assert (
        found["right"].failure is None and "wrong: relative error 0.005" in found["wrong"].failure
    )


def summed(x: torch.Tensor) -> torch.Tensor:
    """The sum, one number after another, in the dtype of x."""
    return torch.zeros(1, dtype=x.dtype).index_add(0, torch.zeros(len(x), dtype=torch.long), x)


def test_a_long_sum_may_err_as_the_definition_does_in_its_dtype():
    """A float32 sum of two million numbers exceeds the usual tolerance; 1.5 times it is wrong."""
    numbers = torch.full((1 << 21,), 0.1)
    variants = [
        measure.Variant("right", summed),
        measure.Variant("wrong", lambda x: summed(x) * 1.5),
    ]
    found = measure.compare(variants, summed, (numbers,), backward=False, rounds=1)
    usual = 5 * measure.selfcheck.TOLERANCES[torch.float32]
    assert (
        found["right"].error > usual
        and found["right"].failure is None
        and len(found["right"].times) == 1
    )
    assert found["right"].tolerance == measure.OWN_ERROR * found["right"].error
    assert found["wrong"].failure.startswith("wrong: ")
    short = measure.compare(variants, summed, (numbers[:100],), backward=False, rounds=1)
    assert short["right"].tolerance == usual and short["wrong"].tolerance == usual


def test_variants_that_start_too_late_are_skipped(arguments):
    variants = [measure.Variant(name, warp_eager) for name in ("one", "other")]
    found = measure.compare(
        variants, warp_reference, arguments, backward=False, rounds=1, until=0.0
    )
    assert len(found["one"].times) == 1 and found["other"].failure == measure.LATE


class Operations(TorchDispatchMode):
    """Records each operation: its name, bytes of its arguments, and bytes that it writes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen.append(
            (func.name(), sum(x.nbytes for x in args if isinstance(x, torch.Tensor)), out.nbytes)
        )
        return out


def test_the_cache_is_emptied_by_reading(monkeypatch):
    """Modified cache lines would be written back while the task is timed."""

    class Event:
        def __init__(self, enable_timing):
            pass

        def record(self):
            order.append("event")

    order = []
    monkeypatch.setattr(measure, "COLD", 1 << 20)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: order.append("sleep"))
    clock = measure._gpu_timer(torch.device("cpu"))
    with Operations() as operations:
        clock(lambda: order.append("task"))
    name, read, written = operations.seen[-1]
    assert read == 1 << 20 and written <= 8, f"{name} reads {read} bytes and writes {written}"
    assert order == ["sleep", "event", "task", "event"]


def test_a_key_is_compiled_once(monkeypatch):
    made = []
    monkeypatch.setattr(measure, "_compiled", {})
    monkeypatch.setattr(torch, "compile", lambda call, **options: made.append(call) or call)
    one, again, other = (measure.compiled(summed, key) for key in ("a", "a", "b"))
    assert one is again and other is not one and len(made) == 2
    assert one.__code__ is not other.__code__ is not summed.__code__  # Dynamo's key
    torch.testing.assert_close(one(torch.ones(3)), torch.tensor([3.0]))


def test_compilations_of_many_shapes_do_not_push_each_other_out(monkeypatch):
    """Dynamo gives up at the ninth of one function, which then runs uncompiled."""
    monkeypatch.setattr(measure, "_compiled", {})
    for n in range(1, 11):
        call = measure.compiled(summed, n, backend="eager", fullgraph=True)
        assert call(torch.ones(n)).item() == n
    assert len(measure._compiled) == 10


def test_what_is_saved_is_counted_once(arguments):
    image, flow = (x.clone().requires_grad_() for x in arguments)
    assert (
        measure.saved(lambda a, b: (a * b[:, :1]) * a, (image, flow))
        == 2 * image.nbytes + flow.nbytes
    )  # a, b, and a * b


def test_median_and_spread():
    measured = measure.VariantResult(times=[5.0, 1.0, 2.0, 3.0, 4.0])
    assert (measured.median, measured.spread) == (3.0, 2 / 3)


def test_a_copy_has_a_bandwidth():
    assert measure.copy_bandwidth("cpu", 1 << 16, rounds=1) > 0
