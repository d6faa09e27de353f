"""Every suite in one place: its operation, its file, its variants, its roofline and its targets.

Suites, roofline, targets, charts, static analysis and `lift bench` read this registry and keep no
lists of their own. A new operation is one entry here or in `frame_suites.py`, one file in `suites/`
and one function in `work.py` or `frame_work.py`. Needs neither torch nor pytest.
"""

from benchmarks.harness import work
from benchmarks.harness.frame_suites import FRAME_SUITES
from benchmarks.harness.suite import Suite
from benchmarks.harness.target import (
    Target,
    backward,
    base_step,
    contiguous,
    forward,
    forward_backward,
    large_forward,
)

DETERMINISTIC = "_deterministic"  # suffix of a variant: torch.use_deterministic_algorithms


WARP_BLEND = Suite(
    name="warp_blend",
    help="two backward warps and their blend",
    module="bench_warp_blend",
    variants=("triton", "cpp", "eager", "compiled"),
    axes="(B, C, H, W)",
    work=work.warp_blend,
    shapes=(
        (4, 3, 256, 256),
        (1, 3, 1080, 1920),
        (1, 3, 2160, 3840),
        (1, 32, 270, 480),
        (1, 64, 270, 480),
        (1, 128, 270, 480),
    ),
    layouts=True,
    targets=(
        Target(
            "cpu",
            "speedup over eager in its faster layout; contiguous",
            "speedup_over_eager",
            at_least=3,
            applies=contiguous,
        ),
        Target(
            "cpu",
            "speedup over eager in its faster layout; channels_last, C = 32",
            "speedup_over_eager",
            at_least=8,
            applies=lambda case: case.layout == "channels_last" and case.shape[1] == 32,
        ),
        Target(
            "cpu",
            "speedup over eager in its faster layout; every case",
            "speedup_over_eager",
            at_least=1,
        ),
        Target(
            "cuda",
            "share of copy bandwidth; forward, 100 MB or more",
            "share_of_copy_bandwidth",
            at_least=0.85,
            unit="%",
            applies=large_forward,
        ),
        Target(
            "cuda",
            "speedup over compiled; forward",
            "speedup_over_compiled",
            at_least=1.3,
            applies=forward,
        ),
        Target(
            "cuda",
            "speedup over compiled; forward + backward",
            "speedup_over_compiled",
            at_least=2,
            applies=forward_backward,
        ),
    ),
)

GRID_SAMPLE = Suite(
    name="grid_sample",
    help="gradients of grid_sample",
    module="bench_grid_sample",
    variants=("cuda", f"cuda{DETERMINISTIC}", "cpp", "aten", "compiled"),
    axes="(B, C, H, W), of the input and of the result",
    work=work.grid_sample,
    shapes=(
        (1, 3, 1080, 1920),
        (1, 32, 270, 480),
        (1, 64, 270, 480),
        (1, 128, 270, 480),
        (1, 256, 270, 480),
    ),
    directions=("backward",),
    layouts=True,
    targets=(
        Target(
            "cpu",
            "speedup over ATen; (2, 32, 256, 448), smooth flow",
            "speedup_over_aten",
            at_least=2,
            applies=lambda case: (
                backward(case) and case.shape == (2, 32, 256, 448) and case.flow == "smooth"
            ),
        ),
        Target(
            "cpu",
            "speedup over ATen; every case",
            "speedup_over_aten",
            at_least=1,
            applies=backward,
        ),
        Target(
            "cuda",
            "speedup over ATen; C of 32 or more",
            "speedup_over_aten",
            at_least=2,
            applies=lambda case: backward(case) and case.shape[1] >= 32,
        ),
        Target(
            "cuda",
            "speedup over ATen; every case",
            "speedup_over_aten",
            at_least=1,
            applies=backward,
        ),
        Target(
            "cuda",
            "time of the deterministic path relative to the fast one",
            "deterministic_cost",
            at_most=2,
        ),
    ),
)

TEMPORAL_ATTENTION = Suite(
    name="temporal_attention",
    help="windowed attention over frames",
    module="bench_temporal_attention",
    variants=(
        "triton",
        "cpp",
        "eager",
        "reference",
        "sdpa",
        "sdpa_shared",
        "sdpa_flash",
        "sdpa_efficient",
        "sdpa_efficient_shared",
        "sdpa_cudnn",
        "sdpa_cudnn_shared",
        "sdpa_math",
        "flex",
        "compiled",
    ),
    axes="(B, Tq, Tk, H, W, heads, d, window)",
    work=work.temporal_attention,
    shapes=(
        (4, 1, 15, 16, 16, 8, 32, 8),
        (1, 1, 15, 68, 120, 8, 32, 1),
        (1, 1, 15, 68, 120, 8, 32, 4),
        (1, 1, 15, 68, 120, 8, 32, 8),
        (1, 15, 15, 68, 120, 8, 32, 8),
    ),
    dtype="bfloat16",
    targets=(
        Target(
            "cpu",
            "speedup of the `auto` backend over the faster of reference and SDPA",
            "speedup_of_auto",
            at_least=1,
        ),
        Target(
            "cuda",
            "share of copy bandwidth; forward, window 1, one query",
            "share_of_copy_bandwidth",
            at_least=0.8,
            unit="%",
            applies=lambda case: forward(case) and case.shape[1] == 1 and case.shape[7] == 1,
        ),
        Target(
            "cuda",
            "speedup over the fastest other; forward + backward, one query",
            "speedup_over_fastest_other",
            at_least=1.5,
            applies=lambda case: forward_backward(case) and case.shape[1] == 1,
        ),
    ),
)

CORRELATION = Suite(
    name="correlation",
    help="local correlation of two feature maps",
    module="bench_correlation",
    variants=("triton", "cpp", "eager", "unfold", "compiled"),
    axes="(B, C, H, W, radius)",
    work=work.correlation,
    shapes=((4, 64, 64, 64, 3), (4, 64, 16, 16, 6), (1, 64, 270, 480, 3)),
    dtype="bfloat16",
    layouts=True,
)

LUCAS_KANADE = Suite(
    name="lucas_kanade",
    help="one Lucas-Kanade step between two warped images",
    module="bench_lucas_kanade",
    variants=("triton", "cpp", "reference", "compiled"),
    axes="(B, C, H, W)",
    work=work.lucas_kanade,
    shapes=((4, 1, 128, 128), (1, 1, 540, 960)),
    directions=("forward",),
)

TRAINING_STEP = Suite(
    name="training_step",
    help="one step of training",
    module="bench_model",
    variants=(
        "fused",
        "fused+recompute",
        "fused+compile",
        "fused+graph",
        "shared encoding",
        "shared encoding+recompute",
        "reference",
        "separate passes",
    ),
    targets=(
        Target(
            "cpu",
            "speedup of the fastest variant over the reference",
            "speedup_over_reference",
            at_least=1,
        ),
        Target(
            "cuda",
            "samples/s of the fastest variant over the reference's; base, batch 4, 256 x 256",
            "speedup_over_reference",
            at_least=2,
            applies=base_step,
        ),
        Target(
            "cuda",
            "peak memory of the leanest variant over the reference's; base, batch 4, 256 x 256",
            "peak_memory_over_reference",
            at_most=0.5,
            unit="%",
            applies=base_step,
        ),
        Target(
            "cuda",
            "peak memory of the leanest variant; base, batch 4, 256 x 256",
            "peak_memory",
            at_most=0.8e9,
            unit="GB",
            applies=base_step,
        ),
    ),
)

STREAMING = Suite(
    name="streaming",
    help="time from one generated frame to the next",
    module="bench_streaming",
    variants=("fused", "fused+compile", "fused+graph", "fused+compile+graph", "reference"),
    targets=(
        Target(
            "cpu",
            "speedup of the fastest variant over the reference",
            "speedup_over_reference",
            at_least=1,
        ),
        *(
            Target(
                device,
                "time with fifteen frames of context relative to two",
                "context_cost",
                at_most=1.25,
            )
            for device in ("cpu", "cuda")
        ),
    ),
    also=("file",),
)

METHODS = Suite(
    name="methods",
    help="one frame between two: averaging, DIS, LIFT, a net of RIFE's size",
    module="bench_methods",
    variants=("averaging", "DIS", "LIFT, 2 frames", "LIFT, stream of 15", "RIFE-sized"),
)

SUITES = {
    suite.name: suite
    for suite in (
        WARP_BLEND,
        GRID_SAMPLE,
        TEMPORAL_ATTENTION,
        CORRELATION,
        LUCAS_KANADE,
        *FRAME_SUITES,
        TRAINING_STEP,
        STREAMING,
        METHODS,
    )
}
OPERATIONS = {name: suite for name, suite in SUITES.items() if suite.is_operation}
GROUPS = {  # names on the command line that stand for several suites
    "ops": tuple(OPERATIONS),
    "model": tuple(name for name in SUITES if name not in OPERATIONS),
}
