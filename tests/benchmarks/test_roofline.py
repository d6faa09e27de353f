"""The least work of operations is as counted by hand; projections follow from measured shares."""

import json
import math

import pytest
import torch

from benchmarks.harness.work import Work, window_pairs
from benchmarks.report import gpus, roofline
from benchmarks.report.gpus import GPUS, Gpu, find_gpu
from benchmarks.report.limits import (
    Case,
    Limit,
    Result,
    limit,
    limits,
    measured,
    projected,
    recorded,
)
from benchmarks.report.roofline import across, table
from lift.kernels import temporal_attention as attend

SLOW = Gpu("slow", "Slow", 1e3, 1e6, 4e6, 1e6, "a test", special=0.5)


# -- what must be done -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case, work",
    [
        # 4 pixels: two images 96 bytes, flows 64, visibilities 32, result 48; 38 + 15 x 3
        # operations a pixel
        (Case("warp_blend", "forward", "float32", (1, 3, 2, 2)), Work(192, 48, 332, 24)),
        (Case("warp_blend", "backward", "float32", (1, 3, 2, 2)), Work(240, 192, 656, 32)),
        # half the bytes of images, the same of what is float32
        (Case("warp_blend", "forward", "bfloat16", (1, 3, 2, 2)), Work(48 + 96, 24, 332, 24)),
        # an image of 2 x 2 pixels in two channels: 32 bytes, a grid 32, a result 32; 16 + 7 x 2
        # operations a pixel
        (Case("grid_sample", "forward", "float32", (1, 2, 2, 2)), Work(64, 32, 120)),
        (Case("grid_sample", "backward", "float32", (1, 2, 2, 2)), Work(96, 64, 232)),
        # one pixel of a grid reads four of an image of 100; the gradient is written whole
        (
            Case("grid_sample", "backward", "float32", (1, 1, 10, 10, 1, 1)),
            Work(4 * 4 + 8 + 4, 400 + 8, 42),
        ),
        # two places of a window, two frames of keys, one head of four channels: 8 pairs; queries 32
        # bytes, keys and values 128, time_bias 8, window_bias 36, result 32, share 8
        (
            Case("temporal_attention", "forward", "float32", (1, 1, 2, 1, 2, 1, 4, 2)),
            Work(204, 40, 40, 8, 128),
        ),
        (
            Case("temporal_attention", "backward", "float32", (1, 1, 2, 1, 2, 1, 4, 2)),
            Work(236, 204, 48, 8, 320),
        ),
        # two locations of two maps in three channels of half precision: 24 bytes, nine
        # displacements: 72; 2 x 3 x 9 + 4 x 3 + 18 each
        (Case("correlation", "forward", "bfloat16", (1, 3, 1, 2, 1)), Work(24, 72, 168, 4)),
        (Case("correlation", "backward", "bfloat16", (1, 3, 1, 2, 1)), Work(96, 24, 300, 4)),
        # two pixels of two images in three channels of half precision: 24 bytes, flows 32, a time
        # 4, a step 16; 128 + 3 x 31 operations and a division each
        (Case("lucas_kanade", "forward", "bfloat16", (1, 3, 1, 2)), Work(60, 16, 506, 2)),
        # six elements of half precision twice, three biases; the output and its gradient
        (Case("bias_act", "forward", "bfloat16", (1, 3, 1, 2)), Work(36, 12, 24)),
        (Case("bias_act", "backward", "bfloat16", (1, 3, 1, 2)), Work(24, 24, 18)),
        # two rows of three values of half precision: 12 bytes each time, parameters 12
        (Case("add_layer_norm", "forward", "bfloat16", (2, 3)), Work(48, 24, 48, 2)),
        (Case("add_layer_norm", "backward", "bfloat16", (2, 3)), Work(48, 36, 102, 2)),
        # two pixels of two images in three channels: 48 bytes, the loss 4; 24 pairs for each
        (Case("census", "forward", "float32", (1, 1, 2)), Work(48, 4, 596, 144)),
        (Case("census", "backward", "float32", (1, 1, 2)), Work(52, 24, 1034, 144)),
        # two pixels of two maps in three channels of half precision: 24 bytes, 9 + 1 + 6 + 2
        # float32 maps 144, a time 4; 6 + 9 + 10 channels 100; 32 + 14 x 3 operations each
        (Case("flow_inputs", "forward", "bfloat16", (1, 3, 1, 2, 9)), Work(172, 100, 148)),
        (Case("flow_inputs", "backward", "bfloat16", (1, 3, 1, 2, 9)), Work(172, 152, 272)),
        # six elements of half precision, the input twice and the skip connection, three parameters
        # of three channels; the output and two statistics. Backward three images twice, and two
        (Case("group_norm", "forward", "bfloat16", (1, 3, 1, 2, 1)), Work(72, 20, 78, 1)),
        (Case("group_norm", "backward", "bfloat16", (1, 3, 1, 2, 1)), Work(116, 60, 150)),
        # four pixels: images 96 bytes, state and missing motion 32, a result of 44 channels of half
        # precision; 113 operations a pixel, 4 for the scale
        (Case("refine_inputs", "forward", "bfloat16", (1, 2, 2, 2)), Work(128, 88, 456)),
        (Case("refine_inputs", "backward", "bfloat16", (1, 2, 2, 2)), Work(216, 24, 648)),
        # four pixels: forty residuals of half precision, as many biases, images 96 bytes, state and
        # change 28, a frame 48
        (Case("refine_output", "forward", "bfloat16", (1, 2, 2, 2, 10)), Work(364, 48, 712, 32)),
        (Case("refine_output", "backward", "bfloat16", (1, 2, 2, 2, 10)), Work(412, 268, 1312, 40)),
        # four residuals and biases more, 285 operations a pixel; backward 458
        (Case("refine_output", "forward", "bfloat16", (1, 2, 2, 2, 11)), Work(388, 48, 1852, 32)),
        (Case("refine_output", "backward", "bfloat16", (1, 2, 2, 2, 11)), Work(436, 292, 3144, 40)),
        # three times and one; 14 + 9 parameters, nine results
        (Case("time_mlp", "forward", "float32", (1, 1, 3, 2, 3)), Work(108, 36, 153, 15)),
        (Case("time_mlp", "backward", "float32", (1, 1, 3, 2, 3)), Work(132, 92, 300, 21)),
        # ten frames of 13 bytes, twelve gaps of 21
        (Case("adjacent_frames", "forward", "float32", (2, 5)), Work(130, 252, 240)),
        # two pixels: six features of half precision, four components of flows and eight of motion,
        # four times and as many bytes; thirteen channels of half precision, eight differences
        (Case("path_inputs", "forward", "bfloat16", (1, 3, 1, 2, 4)), Work(128, 116, 312, 56)),
        (Case("path_inputs", "backward", "bfloat16", (1, 3, 1, 2, 4)), Work(232, 60, 504, 56)),
        # two pixels: six channels of half precision and as many biases, a state 48 bytes, eight
        # differences 64, times and validity 24
        (Case("curve_flows", "forward", "bfloat16", (1, 1, 2, 4)), Work(184, 48, 118, 18)),
        (Case("curve_flows", "backward", "bfloat16", (1, 1, 2, 4)), Work(184, 160, 206, 18)),
        # two coarse pixels: six float32 channels 48, 36 logits of half precision 144, 36 priors
        # 144; eight fine pixels of six channels 192; 45 + 108 operations each
        (Case("convex_upsample", "forward", "bfloat16", (1, 1, 2)), Work(336, 192, 1224, 80)),
        (Case("convex_upsample", "backward", "bfloat16", (1, 1, 2)), Work(528, 336, 2448, 80)),
        # two pixels of two maps in three channels of half precision: 24 bytes, nine float32 maps
        # 72, ten parameters 40, a time 4; 9 + 6 + 3 channels 72, six float32 maps 48
        (Case("global_motion", "forward", "bfloat16", (1, 3, 1, 2, 1)), Work(140, 120, 600, 18)),
        (Case("global_motion", "backward", "bfloat16", (1, 3, 1, 2, 1)), Work(184, 136, 996, 18)),
    ],
)
def test_work_is_as_counted_by_hand(case, work):
    assert case.passes == [work]


@pytest.mark.parametrize("size, window", [(4, 2), (5, 2), (7, 4), (3, 8), (6, 1)])
def test_pairs_of_attention_are_those_of_its_windows(size, window):
    where = [place // window for place in range(size)]
    assert window_pairs(size, window) == sum(a == b for a in where for b in where)


def test_bytes_of_attention_are_those_of_its_tensors():
    q, k = torch.rand(2, 3, 5, 6, 2, 4), torch.rand(2, 7, 5, 6, 2, 4)
    time_bias, window_bias = torch.rand(2, 2, 3, 7), torch.rand(2, 5, 5)
    out, share = attend(
        q, k, k, window=3, time_bias=time_bias, window_bias=window_bias, backend="reference"
    )
    [work] = Case("temporal_attention", "forward", "float32", (2, 3, 7, 5, 6, 2, 4, 3)).passes
    assert (
        work.read == sum(x.nbytes for x in (q, k, k, time_bias, window_bias))
        and work.written == out.nbytes + share.nbytes
    )


# -- limits ----------------------------------------------------------------------------------------


def test_the_longest_time_is_the_limit():
    case = Case(
        "temporal_attention", "forward", "float32", (1, 1, 2, 1, 2, 1, 4, 2)
    )  # Work(204, 40, 40, 8, 128)
    bfloat16 = Case("temporal_attention", "forward", "bfloat16", (1, 1, 2, 1, 2, 1, 4, 2))

    def gpu(**limits) -> Gpu:
        return Gpu(
            **{
                "name": "",
                "reported": "",
                "bandwidth": math.inf,
                "fp32": math.inf,
                "tensor": math.inf,
                "tf32": 0.0,
                "source": "",
                "special": math.inf,
            }
            | limits
        )

    assert limit(case, gpu(bandwidth=1e3)) == Limit(0.244, "memory")
    assert limit(case, gpu(fp32=1e3)) == Limit(0.128, "products")
    assert limit(case, gpu(fp32=1e3, tf32=6e3)) == Limit(
        0.064, "products"
    )  # three TF32 products for a float32 one
    assert limit(case, gpu(fp32=1e3, tf32=math.inf)) == Limit(0.04, "float32")
    assert limit(case, gpu(fp32=1e3, tf32=math.inf, special=0.1)) == Limit(0.08, "special")
    assert limit(bfloat16, gpu(tensor=4e3)) == Limit(0.032, "products")


def test_passes_follow_one_another():
    forward, backward, both = (
        Case("warp_blend", d, "float32", (1, 3, 2, 2))
        for d in ("forward", "backward", "forward+backward")
    )
    assert limit(both, SLOW).seconds == limit(forward, SLOW).seconds + limit(backward, SLOW).seconds
    assert both.bytes == forward.bytes + backward.bytes == 240 + 432


def test_a_known_limit_of_a_known_card():
    case = Case(
        "warp_blend", "forward", "float32", (1, 3, 1080, 1920)
    )  # 60 bytes a pixel, 1008 GB/s
    assert limit(case, find_gpu("RTX 4090")) == Limit(
        pytest.approx(1080 * 1920 * 60 / 1008e9), "memory"
    )


# -- gpus -----------------------------------------------------------------------------------------

BUSES = {
    "RTX 3080": (320, 19.0),
    "RTX 3090": (384, 19.5),
    "RTX 4070": (192, 21.0),
    "RTX 4080": (256, 22.4),
    "RTX 4090": (384, 21.0),
    "RTX 5080": (256, 30.0),
    "RTX 5090": (512, 28.0),
    "H100 PCIe": (5120, 3.186),
}  # bits, and gigabits a second of each


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_figures_of_a_card_agree_with_its_parts(gpu):
    assert gpu.fp32 == pytest.approx(2 * 128 * gpu.multiprocessors * gpu.clock, rel=0.01)
    assert gpu.tf32 == pytest.approx(gpu.tensor / 2, rel=0.01)
    assert (gpu.l2 is None) == ("l2" in gpu.unchecked)
    if gpu.name in BUSES:
        bits, rate = BUSES[gpu.name]
        assert gpu.bandwidth == pytest.approx(bits / 8 * rate * 1e9, rel=0.002)
    if "GeForce" in gpu.reported:
        assert gpu.tensor == pytest.approx(
            2 * gpu.fp32, rel=0.01
        )  # summed in float32, at half rate


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_every_card_is_cited(gpu):
    assert all(page.startswith("https://") for page in (gpu.source, *gpu.read)) and gpu.read
    assert all(hasattr(gpu, name) for name in gpu.unchecked)


def test_the_gpus_of_the_roofline():
    promised = (
        "RTX 3080, RTX 3090, RTX 4070, RTX 4080, RTX 4090, RTX 5080, RTX 5090, "
        "H100 PCIe, H100 SXM, H200"
    )
    assert [gpu.name for gpu in GPUS] == promised.split(", ")


def test_a_card_is_known_by_its_exact_name():
    assert find_gpu("NVIDIA GeForce RTX 4070") is find_gpu("RTX 4070")
    assert (
        find_gpu("NVIDIA GeForce RTX 4070 Ti") is None
        and find_gpu("NVIDIA GeForce RTX 4090 Laptop GPU") is None
    )


@pytest.mark.native
def test_the_machine_at_hand_is_measured():
    before = torch.get_float32_matmul_precision()
    gpu = gpus.at_hand(size=1 << 16, side=32)
    assert gpu.source == "measured" and gpu.name.endswith(" (measured)")
    assert 0 < gpu.bandwidth < math.inf and 0 < gpu.fp32 <= gpu.tensor < math.inf
    assert torch.get_float32_matmul_precision() == before


# -- results and projections -----------------------------------------------------------------------

CASE = Case("warp_blend", "forward", "float32", (1, 3, 1080, 1920))


def result(gpu: str, share: float, **changes) -> Result:
    """A result that reached `share` of the limit of a GPU."""
    seconds = limit(CASE, find_gpu(gpu)).seconds / share
    return Result(
        **{
            "case": CASE,
            "variant": "triton",
            "layout": "contiguous",
            "flow": "smooth",
            "device": gpu,
            "seconds": seconds,
            "copy": find_gpu(gpu).bandwidth * 0.9,
            "of_copy": share / 0.9,
            "fused": True,
        }
        | changes
    )


def test_a_projection_is_the_limit_over_the_measured_share():
    found = projected([result("NVIDIA H200", 0.8)], [find_gpu("RTX 4090"), find_gpu("H200")])
    assert [(row.kind, row.gpu, row.basis) for row in found] == [
        ("projected", "RTX 4090", "H200")
    ]  # the H200 was measured
    assert found[0].share == pytest.approx(0.8)
    assert found[0].seconds == pytest.approx(1080 * 1920 * 60 / 1008e9 / 0.8)


def test_the_smallest_share_that_was_measured_counts():
    found = projected(
        [
            result("NVIDIA H200", 0.8),
            result("NVIDIA GeForce RTX 3090", 0.6),
            result("NVIDIA H200", 0.7),
        ],
        [find_gpu("RTX 4090")],
    )
    assert (found[0].basis, found[0].share) == ("RTX 3090", pytest.approx(0.6))
    assert (
        projected([result("NVIDIA H200", 1.3)], [find_gpu("RTX 4090")])[0].share == 1.0
    )  # a cache's doing


def test_nothing_is_projected_from_what_says_nothing_of_a_card():
    unknown = result("NVIDIA H200", 0.8, device="NVIDIA RTX A6000")
    assert (
        projected(
            [
                result("NVIDIA H200", 0.8, fused=False),
                result("NVIDIA H200", 0.8, device="cpu"),
                unknown,
            ],
            list(GPUS),
        )
        == []
    )
    assert [row.gpu for row in measured([unknown])] == ["NVIDIA RTX A6000"]


def test_a_device_without_a_datasheet_is_held_against_its_own_copy():
    (row,) = measured([result("NVIDIA H200", 0.8, device="cpu", seconds=0.02, copy=10e9)])
    assert row.share == pytest.approx(1080 * 1920 * 60 / 10e9 / 0.02)


def written(folder, rows: list[dict], **more):
    """Write a file in the format of the harness."""
    (folder / "gpu").mkdir(exist_ok=True)
    (folder / "gpu" / "results.json").write_text(
        json.dumps(
            {
                "machine_info": {"lift": {"gpus": [{"name": "NVIDIA H200"}]}},
                "benchmarks": [{"extra_info": row} for row in rows],
            }
            | more
        )
    )


ROW = {
    "operation": "warp_blend",
    "variant": "triton",
    "fused": True,
    "device": "cuda",
    "direction": "forward",
    "dtype": "float32",
    "layout": "contiguous",
    "shape": [1, 3, 1080, 1920],
    "flow": "smooth",
    "median": 1e-4,
    "copy_bandwidth": 4000.0,
    "share_of_copy_bandwidth": 0.311,
}


def test_recorded_results_are_read(tmp_path):
    written(
        tmp_path,
        [ROW, ROW | {"device": "cpu"}, ROW | {"operation": "model"}, ROW | {"dtype": "float64"}],
    )
    (tmp_path / "other.json").write_text("[]")
    gpu = Result(CASE, "triton", "contiguous", "smooth", "NVIDIA H200", 1e-4, 4e12, 0.311, True)
    assert recorded(tmp_path) == [gpu, Result(**vars(gpu) | {"device": "cpu"})]
    written(tmp_path, [ROW], toy=True)
    assert recorded(tmp_path) == []


def test_tables_mark_what_is_projected(tmp_path, capsys):
    written(tmp_path, [ROW])
    arguments = [
        "warp_blend",
        "--gpu",
        "RTX 4090",
        "--card",  # its name in earlier versions
        "H200",
        "--results",
        str(tmp_path),
        "--json",
        str(tmp_path / "rows.json"),
    ]
    assert roofline.main(arguments) == 0
    said = capsys.readouterr().out
    before, projections = said.split("Projected, not measured")
    assert (
        "| triton contiguous smooth | H200 | memory | 25.9 | 100 | 26% | 31% |"
        in before.split("Measured:")[1]
        and "~" not in before
    )
    assert "| triton contiguous smooth | H200, 26% | ~476 |" in projections
    kinds = {row["kind"] for row in json.loads((tmp_path / "rows.json").read_text())}
    assert kinds == {"limit", "measured", "projected"}


def test_without_results_nothing_is_projected(tmp_path, capsys):
    assert roofline.main(["grid_sample", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Nothing is projected" in said and "Measured" not in said and "warp_blend" not in said


def test_tables_have_a_column_a_card():
    lines = across(limits([CASE], [find_gpu("RTX 4090"), SLOW])).splitlines()
    assert lines[0] == "| case | MB | RTX 4090 | slow |" and lines[2].endswith(
        "| 124 | 123 | 124416000000 |"
    )
    assert (
        table(measured([result("NVIDIA H200", 0.5)]))
        .splitlines()[2]
        .endswith("| 25.9 | 51.8 | 50% | 56% |")
    )


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["warp"], "unknown operation 'warp'; choose from warp_blend"),
        (["--gpu", "RTX 1"], "unknown GPU 'RTX 1'"),
    ],
)
def test_wrong_calls_are_errors(wrong, said, capsys):
    with pytest.raises(SystemExit):
        roofline.main(wrong)
    assert said in capsys.readouterr().err
