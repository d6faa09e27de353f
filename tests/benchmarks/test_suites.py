"""The harness of the benchmarks: what is wrong has no time, rows say what they are of, one command
walks through every step.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.harness import measure
from benchmarks.report import roofline, targets
from benchmarks.suites import (
    bench_attention,
    bench_correlation,
    bench_grid_sample,
)
from benchmarks.suites import bench_warp_blend as bench
from lift.kernels.ops.warp_blend.eager import warp_eager
from lift.kernels.ops.warp_blend.reference import warp_reference

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def arguments():
    torch.manual_seed(0)
    return torch.rand(1, 3, 6, 8), (2 * torch.randn(1, 2, 6, 8)).round() + 0.25


# -- measuring -------------------------------------------------------------------------------------


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
    """Of two million numbers float32 errs more than is allowed elsewhere; 1.5 times it is wrong."""
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


def test_what_is_not_begun_in_time_is_left_out(arguments):
    variants = [measure.Variant(name, warp_eager) for name in ("one", "other")]
    found = measure.compare(
        variants, warp_reference, arguments, backward=False, rounds=1, until=0.0
    )
    assert len(found["one"].times) == 1 and found["other"].failure == measure.LATE


class Operations(TorchDispatchMode):
    """Of each operation: its name, bytes of its tensors, and bytes that it writes."""

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
    """Written lines would be written back while the task is timed."""

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
    assert (
        one.__code__ is not other.__code__ is not summed.__code__
    )  # what Dynamo stores its compilations by
    torch.testing.assert_close(one(torch.ones(3)), torch.tensor([3.0]))


def test_compilations_of_many_shapes_do_not_push_each_other_out(monkeypatch):
    """Dynamo refuses the ninth of one function, and torch.compile then runs it as it is."""
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
    measured = measure.Measured(times=[5.0, 1.0, 2.0, 3.0, 4.0])
    assert (measured.median, measured.spread) == (3.0, 2 / 3)


def test_a_copy_has_a_bandwidth():
    assert measure.copy_bandwidth("cpu", 1 << 16, rounds=1) > 0


# -- cases -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", bench.FLOWS)
def test_coordinates_keep_clear_of_whole_pixels(profile):
    flow = bench.flow(profile, 2, 9, 12, torch.Generator().manual_seed(0))
    assert flow.shape == (2, 2, 9, 12) and (flow * 4 % 2 == 1).all()


def test_collapsing_flow_reads_one_place():
    flow = bench.flow("collapse", 1, 6, 9, torch.Generator())
    x, y = flow[0, 0] + torch.arange(9), flow[0, 1] + torch.arange(6)[:, None]
    assert (x == 3.25).all() and (y == 3.25).all()


def test_bytes_that_must_move():
    case = bench.Case("cpu", (1, 3, 2, 2), "float32", "contiguous", "zero", "forward")
    assert bench.moved(case) == 4 * 4 * (2 * 3 + 6 + 3)
    both = bench.Case("cpu", (1, 3, 2, 2), "bfloat16", "contiguous", "zero", "forward+backward")
    assert bench.moved(both) == 4 * (
        2 * 2 * 3 + 24 + 2 * 3 + 2 * 2 * 3 + 24 + 2 * 3 + 2 * 2 * 3 + 24
    )


def test_the_shapes_that_were_promised():
    shapes = {case.shape for case in bench.cases("cuda", quick=False, toy=False)}
    assert {(4, 3, 256, 256), (1, 3, 2160, 3840)} <= shapes and {32, 64, 128} <= {
        C for _, C, _, _ in shapes
    }
    assert {case.flow for case in bench.cases("cuda", quick=False, toy=False)} == {
        "zero",
        "smooth",
        "random",
        "collapse",
    }
    assert {case.shape for case in bench.cases("cpu", quick=False, toy=False)} == {
        (2, 32, 256, 448),
        (1, 3, 1080, 1920),
    }


@pytest.mark.parametrize("suite", [bench, bench_grid_sample])
def test_a_run_that_is_cut_short_has_what_the_targets_speak_of(suite):
    found = suite.cases("cuda", quick=False, toy=False)
    first = found[:64]
    assert {(case.flow, case.dtype) for case in first} == {
        ("smooth", "float32"),
        ("random", "float32"),
    }
    assert {case.shape for case in first[:32]} == set(suite.GPU) and {
        case.flow for case in first[:32]
    } == {"smooth"}
    assert {case.flow for case in found[:128]} == {
        "smooth",
        "random",
    }  # then bfloat16, then what no video has
    assert len(found) == len(set(found)) == 256


def test_large_frames_come_first():
    first = bench.cases("cuda", quick=False, toy=False)[:16]
    assert all(bench.moved(case) >= targets.LARGE for case in first if case.direction == "forward")
    gradients = bench_grid_sample.cases("cuda", quick=False, toy=False)[:16]
    assert {case.direction for case in gradients} == {"backward"}
    attention = bench_attention.cases("cuda", quick=False, toy=False)
    assert {(case.dtype, case.biases) for case in attention[:18]} == {("bfloat16", "biases")}
    assert {case.biases for case in attention[36:]} == {"none"} and {
        case.shape[-1] for case in attention[:4]
    } == {8, 1}
    layouts = [case.layout for case in bench_correlation.cases("cuda", quick=False, toy=False)]
    assert layouts == 24 * ["channels_last"] + 24 * ["contiguous"]


def test_flows_share_a_compilation(monkeypatch):
    """Values change no code: one for each shape, dtype, layout and direction."""
    made = []
    monkeypatch.setattr(measure, "_compiled", {})
    monkeypatch.setattr(torch, "compile", lambda call, **options: made.append(call) or call)
    for suite, each in ((bench, 64), (bench_grid_sample, 32)):
        made.clear()
        for case in suite.cases("cuda", quick=False, toy=False):
            if suite is bench:
                suite._call("compiled", case)
            elif "compiled" in suite.names("cpu", case.direction, False):
                suite._forward("compiled", case)
        assert len(made) == each
    made.clear()
    measure._compiled.clear()
    for case in bench.cases("cuda", quick=True, toy=False):
        bench._call("compiled", case)
        assert (
            case.flow == "smooth" or len(made) == 12
        )  # --quick compiles for the smooth flow alone


@pytest.mark.parametrize(
    "shape",
    [
        (2, 1, 2, 5, 7, 2, 8, 4),
        (1, 2, 3, 4, 8, 2, 8, 4),
        (2, 1, 2, 3, 3, 2, 8, 4),
        (1, 1, 2, 2, 3, 2, 8, 1),
    ],
)
def test_windows_share_a_bias_in_place(shape, monkeypatch):
    """Those that are cut off alike; results and gradients are those of a bias for each window."""
    masks, attend = [], torch.nn.functional.scaled_dot_product_attention
    case = bench_attention.Case("cpu", shape, "float32", "biases", "forward+backward")
    arguments = [x.requires_grad_() for x in bench_attention.make(case)]

    def results(way):
        out = way(case, arguments)
        return [out, *torch.autograd.grad(out.square().sum(), arguments)]

    expected = results(bench_attention._partitioned)
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, attn_mask: masks.append(attn_mask) or attend(*args, attn_mask=attn_mask),
    )
    for a, b in zip(results(bench_attention._shared), expected, strict=True):
        torch.testing.assert_close(a, b)
    assert all(len(mask) == 1 for mask in masks)
    assert len(masks) == (1 + (shape[3] % shape[7] > 0 < shape[3] // shape[7])) * (
        1 + (shape[4] % shape[7] > 0 < shape[4] // shape[7])
    )


def test_a_grid_reads_where_its_flow_points():
    case = bench_grid_sample.Case("cpu", (1, 2, 6, 9), "float32", "channels_last", "collapse")
    grad, input, grid = bench_grid_sample.make(case)
    assert grad.is_contiguous(memory_format=torch.channels_last) and input.is_contiguous(
        memory_format=torch.channels_last
    )
    torch.testing.assert_close((grid + 1) * torch.tensor([8, 5]) / 2, torch.full_like(grid, 3.25))


def test_the_grids_that_were_promised():
    cpu, gpu, quick = (
        bench_grid_sample.cases(device, quick, False)
        for device, quick in (("cpu", False), ("cuda", False), ("cuda", True))
    )
    assert {1, 3, 32, 64, 128, 256} == {case.shape[1] for case in gpu} and (2, 32, 256, 448) in {
        case.shape for case in cpu
    }
    assert all({case.flow for case in found} == set(bench.FLOWS) for found in (cpu, gpu)) and set(
        quick
    ) < set(gpu)
    assert all(
        {case.layout for case in found} == {"contiguous", "channels_last"}
        for found in (cpu, gpu, quick)
    )
    for case in {*gpu, *cpu}:
        assert (
            bench_grid_sample.moved(case)
            == roofline.Case("grid_sample", case.direction, case.dtype, case.shape).bytes
        )


# -- the commands ----------------------------------------------------------------------------------


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **environment}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_rows_say_what_they_are_of(tmp_path):
    file = tmp_path / "rows.json"
    suite = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n0",
        "benchmarks/suites/bench_warp_blend.py",
        "--toy",
        "--threads",
        "1",
    ]
    ran = run(
        *suite, "-k", "channels_last and random and not triton", "--benchmark-json", str(file)
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "figures of a toy" in ran.stdout
    result = json.loads(file.read_text())
    assert (
        result["toy"]
        and result["machine_info"]["lift"]["threads"] == 1
        and "torch" in result["machine_info"]["lift"]["facts"]
    )
    rows = [row["extra_info"] | {"stored": row["stats"]["median"]} for row in result["benchmarks"]]
    assert {row["variant"] for row in rows} >= {"eager"} and {row["direction"] for row in rows} == {
        "forward",
        "forward+backward",
    }
    for row in rows:
        assert row["stored"] == pytest.approx(row["median"]) and row["median"] > 0
        assert row["share_of_copy_bandwidth"] == pytest.approx(
            row["gigabytes_per_second"] / row["copy_bandwidth"]
        )
        assert row["error"] <= row["tolerance"]
        assert (row["saved_for_backward"] is None) == (row["direction"] == "forward")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_rows_so_far_survive_the_end_of_a_run(tmp_path, how):
    """Each row is written as it comes; where the run ends by itself, so is the whole file."""
    file = tmp_path / "rows.json"
    (tmp_path / "stopping.py").write_text(f"""import os
def pytest_runtest_logfinish(nodeid):
    if nodeid.endswith("eager]"):
        os.kill(os.getpid(), {int(how)})
""")
    run(
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "stopping",
        "-n0",
        "benchmarks/suites/bench_warp_blend.py",
        "--toy",
        "-k",
        "1x3x8x12 and not triton",
        "--benchmark-json",
        str(file),
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    rows = [
        json.loads(line) for line in (tmp_path / "rows.json.rows.jsonl").read_text().splitlines()
    ]
    assert rows and rows[-1]["variant"] == "eager" and rows[-1]["median"] > 0 and rows[-1]["toy"]
    assert len({row["direction"] for row in rows}) == 1
    if how == signal.SIGINT:
        recorded = [row["extra_info"] for row in json.loads(file.read_text())["benchmarks"]]
        assert [row | {"toy": True} for row in recorded] == rows
    else:
        assert not file.exists()


def test_an_unknown_form_is_one_sentence():
    ran = run(
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n0",
        "benchmarks/suites/bench_model.py",
        "--toy",
        "--forms",
        "plain,quick",
    )
    assert (
        ran.returncode == 4
        and "--forms: no form 'quick'; there are plain, graph, compiled" in ran.stderr
    )


def test_rows_of_grid_sample_are_read_by_the_roofline(tmp_path):
    file = tmp_path / "rows.json"
    suite = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n0",
        "benchmarks/suites/bench_grid_sample.py",
        "--toy",
        "--threads",
        "1",
    ]
    ran = run(*suite, "-k", "random and 2x9x6x8", "--benchmark-json", str(file))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(file.read_text())
    rows = [row["extra_info"] for row in result["benchmarks"]]
    pixels = 2 * 6 * 8
    assert {row["variant"] for row in rows} >= {"aten"} and {
        row["saved_for_backward"] for row in rows
    } == {pixels * 4 * (9 + 2)}
    file.write_text(json.dumps(result | {"toy": False}))  # a toy's rows are not read
    found = roofline.recorded(tmp_path)
    assert [(one.variant, one.layout, one.flow) for one in found] == [
        (row["variant"], row["layout"], row["flow"]) for row in rows
    ]
    assert {one.case for one in found} == {
        roofline.Case("grid_sample", direction, "float32", (2, 9, 6, 8))
        for direction in ("backward", "forward+backward")
    }
