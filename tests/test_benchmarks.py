"""The harness of the benchmarks: what is wrong has no time, rows say what they are of, one command walks through every step."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lift.kernels.warp_blend.eager import warp_eager
from lift.kernels.warp_blend.reference import warp_reference

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import bench_warp_blend as bench  # noqa: E402
import measure  # noqa: E402


@pytest.fixture(scope="module")
def arguments():
    torch.manual_seed(0)
    return torch.rand(1, 3, 6, 8), (2 * torch.randn(1, 2, 6, 8)).round() + 0.25


# -- measuring ---------------------------------------------------------------------------------------------------------------

def test_right_variants_are_timed_in_turn(arguments):
    turns = []

    def traced(name):
        return measure.Variant(name, lambda *inputs: turns.append(name) or warp_eager(*inputs))

    found = measure.compare([traced("one"), traced("other")], warp_reference, arguments, backward=False, rounds=2)
    assert turns == ["one", "other"] + 3 * ["one", "other"]           # checked, then a round to warm up and two that count
    assert all(len(x.times) == 2 and min(x.times) > 0 and x.error < 1e-6 for x in found.values())


@pytest.mark.parametrize(("wrong", "failure"), [
    (lambda image, flow: warp_eager(image, flow) * 1.01, "wrong: relative error"),
    (lambda image, flow: warp_eager(image, flow) + image.new_tensor(float("nan")), "wrong: relative error inf"),
    (lambda image, flow: warp_eager(image, flow.detach()) + 0 * flow.sum(), "wrong: relative error"),       # only flow's gradient
    (lambda image, flow: warp_eager(image, flow[0]), "RuntimeError|IndexError|ValueError"),
])
def test_a_wrong_variant_has_no_time(arguments, wrong, failure):
    variants = [measure.Variant("wrong", wrong), measure.Variant("right", warp_eager)]
    found = measure.compare(variants, warp_reference, arguments, backward=True, rounds=1)
    assert found["wrong"].times == [] and found["wrong"].failure
    assert any(part in found["wrong"].failure for part in failure.split("|"))
    assert len(found["right"].times) == 1 and found["right"].failure is None


def test_what_is_saved_is_counted_once(arguments):
    image, flow = (x.clone().requires_grad_() for x in arguments)
    assert measure.saved(lambda a, b: (a * b[:, :1]) * a, (image, flow)) == 2 * image.nbytes + flow.nbytes    # a, b, and a * b


def test_median_and_spread():
    measured = measure.Measured(times=[5.0, 1.0, 2.0, 3.0, 4.0])
    assert (measured.median, measured.spread) == (3.0, 2 / 3)


def test_a_copy_has_a_bandwidth():
    assert measure.copy_bandwidth("cpu", 1 << 16, rounds=1) > 0


# -- cases -------------------------------------------------------------------------------------------------------------------

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
    assert bench.moved(both) == 4 * (2 * 2 * 3 + 24 + 2 * 3 + 2 * 2 * 3 + 24 + 2 * 3 + 2 * 2 * 3 + 24)


def test_the_shapes_that_were_promised():
    shapes = {case.shape for case in bench.cases("cuda", quick=False, toy=False)}
    assert {(4, 3, 256, 256), (1, 3, 2160, 3840)} <= shapes and {32, 64, 128} <= {C for _, C, _, _ in shapes}
    assert {case.flow for case in bench.cases("cuda", quick=False, toy=False)} == {"zero", "smooth", "random", "collapse"}
    assert {case.shape for case in bench.cases("cpu", quick=False, toy=False)} == {(2, 32, 256, 448), (1, 3, 1080, 1920)}


# -- the commands ------------------------------------------------------------------------------------------------------------

def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **environment}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_rows_say_what_they_are_of(tmp_path):
    file = tmp_path / "rows.json"
    suite = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", "benchmarks/bench_warp_blend.py", "--toy", "--threads", "1"]
    ran = run(*suite, "-k", "channels_last and random and not triton", "--benchmark-json", str(file))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "figures of a toy" in ran.stdout
    result = json.loads(file.read_text())
    assert result["toy"] and result["machine_info"]["lift"]["threads"] == 1 and "torch" in result["machine_info"]["lift"]["facts"]
    rows = [row["extra_info"] | {"stored": row["stats"]["median"]} for row in result["benchmarks"]]
    assert {row["variant"] for row in rows} >= {"eager"} and {row["direction"] for row in rows} == {"forward", "forward+backward"}
    for row in rows:
        assert row["stored"] == pytest.approx(row["median"]) and row["median"] > 0
        assert row["share_of_copy_bandwidth"] == pytest.approx(row["gigabytes_per_second"] / row["copy_bandwidth"])
        assert row["error"] <= row["tolerance"]
        assert (row["saved_for_backward"] is None) == (row["direction"] == "forward")


def test_a_wrong_kernel_fails_the_run_and_leaves_no_row(tmp_path):
    program = ("import sys, pytest, torch; from lift.kernels.warp_blend import eager; right = eager.warp_blend_eager\n"
               "from lift.kernels import backend; import dataclasses\n"
               "wrong = [dataclasses.replace(i, call=lambda *a: right(*a) * 1.1) if i.name == 'eager' else i"
               " for i in backend.operations()['warp_blend']]\n"
               "backend.register('warp_blend', *wrong); sys.exit(pytest.main(sys.argv[1:]))")
    file = tmp_path / "rows.json"
    ran = run(sys.executable, "-c", program, "-p", "no:cacheprovider", "-n0", "benchmarks/bench_warp_blend.py", "--toy",
              "-k", "contiguous and zero and forward and not triton and not backward", "--benchmark-json", str(file))
    assert ran.returncode == 1 and "eager: wrong: relative error" in ran.stdout
    rows = json.loads(file.read_text())["benchmarks"] if file.stat().st_size else []
    assert "eager" not in {row["extra_info"]["variant"] for row in rows}


def test_the_command_for_a_gpu_says_when_there_is_none(tmp_path):
    ran = run("benchmarks/gpu.sh", str(tmp_path), PYTHON=sys.executable)
    assert ran.returncode == 2 and "gpu.sh: error: torch finds no GPU here; --dry-run walks through the steps without one" in ran.stderr
    assert run("benchmarks/gpu.sh", "--fast").stderr == "gpu.sh: error: unknown flag '--fast' (there are --quick and --dry-run)\n"
