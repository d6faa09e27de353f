"""Cases of the suites: shapes, flows, order, and what their variants share."""

import pytest
import torch

from benchmarks.harness import measure, target
from benchmarks.harness.registry import WARP_BLEND
from benchmarks.suites import bench_correlation, bench_grid_sample, bench_temporal_attention
from benchmarks.suites import bench_warp_blend as bench


def required_bytes(case: bench.Case) -> int:
    return WARP_BLEND.bytes(case.shape, case.dtype, case.direction)


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
    assert required_bytes(case) == 4 * 4 * (2 * 3 + 6 + 3)
    both = bench.Case("cpu", (1, 3, 2, 2), "bfloat16", "contiguous", "zero", "forward+backward")
    assert required_bytes(both) == 4 * (
        2 * 2 * 3 + 24 + 2 * 3 + 2 * 2 * 3 + 24 + 2 * 3 + 2 * 2 * 3 + 24
    )


def test_the_cases_cover_shapes_and_flows():
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
def test_an_interrupted_run_has_the_cases_with_targets(suite):
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
    assert all(
        required_bytes(case) >= target.LARGE for case in first if case.direction == "forward"
    )
    gradients = bench_grid_sample.cases("cuda", quick=False, toy=False)[:16]
    assert {case.direction for case in gradients} == {"backward"}
    attention = bench_temporal_attention.cases("cuda", quick=False, toy=False)
    assert {(case.dtype, case.biases) for case in attention[:18]} == {("bfloat16", "biases")}
    assert {case.biases for case in attention[36:]} == {"none"} and {
        case.shape[-1] for case in attention[:4]
    } == {8, 1}
    layouts = [case.layout for case in bench_correlation.cases("cuda", quick=False, toy=False)]
    assert layouts == 24 * ["channels_last"] + 24 * ["contiguous"]


def test_flows_share_a_compilation(monkeypatch):
    """Values do not change the code: one per shape, dtype, layout and direction."""
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
    """Windows of the same extent; results and gradients equal those with a bias per window."""
    masks, attend = [], torch.nn.functional.scaled_dot_product_attention
    case = bench_temporal_attention.Case("cpu", shape, "float32", "biases", "forward+backward")
    arguments = [x.requires_grad_() for x in bench_temporal_attention.make(case)]

    def results(way):
        out = way(case, arguments)
        return [out, *torch.autograd.grad(out.square().sum(), arguments)]

    expected = results(bench_temporal_attention._partitioned)
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, attn_mask: masks.append(attn_mask) or attend(*args, attn_mask=attn_mask),
    )
    for a, b in zip(results(bench_temporal_attention._shared), expected, strict=True):
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


def test_the_grids_cover_channels_and_flows():
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
