"""Suites of the ops that make up a frame, compared with plain PyTorch, eager and compiled."""

from benchmarks.harness import frame_work as work
from benchmarks.harness.suite import Suite

VARIANTS = ("triton", "cpp", "reference", "compiled")

FRAME_INPUTS = Suite(
    name="frame_inputs",
    help="frames padded, normalized, and small",
    module="bench_frame_inputs",
    variants=VARIANTS,
    axes="(N, H, W)",
    work=work.frame_inputs,
    shapes=((1, 1080, 1920), (60, 256, 256)),
    dtype="bfloat16",
    directions=("forward",),
)

BIAS_ACT = Suite(
    name="bias_act",
    help="bias, skip connection and leaky ReLU after a convolution",
    module="bench_bias_act",
    variants=VARIANTS,
    axes="(B, C, H, W)",
    work=work.bias_act,
    shapes=((1, 96, 270, 480), (1, 24, 270, 480), (4, 96, 64, 64)),
    dtype="bfloat16",
)

GROUP_NORM = Suite(
    name="group_norm",
    help="GroupNorm, a skip connection and a leaky ReLU after a convolution",
    module="bench_group_norm",
    variants=VARIANTS,
    axes="(B, C, H, W, groups)",
    work=work.group_norm,
    shapes=((1, 32, 1080, 1920, 8), (1, 24, 540, 960, 8), (4, 32, 256, 256, 8)),
    dtype="bfloat16",
)

ADD_LAYER_NORM = Suite(
    name="add_layer_norm",
    help="the sum of two tensors and its layer normalization",
    module="bench_add_layer_norm",
    variants=VARIANTS,
    axes="(N, C)",
    work=work.add_layer_norm,
    shapes=((8160, 256), (8160, 64), (15360, 256)),
    dtype="bfloat16",
)

CHANGE_MAP = Suite(
    name="change_map",
    help="how much two images differ around each pixel",
    module="bench_change_map",
    variants=VARIANTS,
    axes="(B, H, W)",
    work=work.change_map,
    shapes=((1, 1088, 1920), (4, 256, 256)),
    directions=("forward",),
)

GLOBAL_MOTION = Suite(
    name="global_motion",
    help="motion between two references from their correlation, and the decoder's input",
    module="bench_global_motion",
    variants=VARIANTS,
    axes="(B, C, H, W, radius)",
    work=work.global_motion,
    shapes=((4, 256, 16, 16, 6), (1, 256, 68, 120, 6)),
    dtype="bfloat16",
)

PROPAGATE = Suite(
    name="propagate",
    help="flows replaced by those of pixels at a distance that explain the images better",
    module="bench_propagate",
    variants=VARIANTS,
    axes="(B, h, w)",
    work=work.propagate,
    shapes=((1, 270, 480), (1, 135, 240), (4, 64, 64)),
)

CONVEX_UPSAMPLE = Suite(
    name="convex_upsample",
    help="learned upsampling of flows and visibilities",
    module="bench_convex_upsample",
    variants=VARIANTS,
    axes="(B, h, w)",
    work=work.convex_upsample,
    shapes=((1, 270, 480), (1, 135, 240), (4, 64, 64)),
    dtype="bfloat16",
)

FLOW_INPUTS = Suite(
    name="flow_inputs",
    help="warped features, their correlation and flows: the input of a flow block",
    module="bench_flow_inputs",
    variants=VARIANTS,
    axes="(B, C, H, W, D)",
    work=work.flow_inputs,
    shapes=((4, 96, 64, 64, 49), (1, 96, 270, 480, 49), (1, 192, 135, 240, 49)),
    dtype="bfloat16",
)

PATH_INPUTS = Suite(
    name="path_inputs",
    help="divided differences of curved paths, beside features",
    module="bench_path_inputs",
    variants=("triton", "eager", *VARIANTS[1:]),
    axes="(B, C, H, W, G)",
    work=work.path_inputs,
    shapes=((1, 160, 270, 480, 6), (4, 160, 64, 64, 6)),
    dtype="bfloat16",
)

CURVE_FLOWS = Suite(
    name="curve_flows",
    help="flows along curved paths",
    module="bench_curve_flows",
    variants=VARIANTS,
    axes="(B, H, W, G)",
    work=work.curve_flows,
    shapes=((1, 270, 480, 6), (4, 64, 64, 6)),
    dtype="bfloat16",
)

REFINE_INPUTS = Suite(
    name="refine_inputs",
    help="the input of the refinement: warps, difference, state",
    module="bench_refine_inputs",
    variants=VARIANTS,
    axes="(B, H, W, stride)",
    work=work.refine_inputs,
    shapes=((1, 1080, 1920, 1), (1, 1080, 1920, 2), (4, 256, 256, 1)),
    dtype="bfloat16",
)

REFINE_OUTPUT = Suite(
    name="refine_output",
    help="the frame from the refinement's residuals: gate, warps, blend",
    module="bench_refine_output",
    variants=VARIANTS,
    axes="(B, H, W, stride, residuals)",
    work=work.refine_output,
    shapes=(
        (1, 1080, 1920, 1, 10),
        (1, 1080, 1920, 2, 10),
        (1, 1080, 1920, 2, 11),
        (4, 256, 256, 1, 11),
    ),
    dtype="bfloat16",
)

CENSUS = Suite(
    name="census",
    help="the census loss of two images",
    module="bench_census",
    variants=VARIANTS,
    axes="(B, H, W)",
    work=work.census,
    shapes=((4, 256, 256), (8, 384, 384)),
)

ADJACENT_FRAMES = Suite(
    name="adjacent_frames",
    help="the frames nearest to two references",
    module="bench_adjacent_frames",
    variants=VARIANTS,
    axes="(B, T)",
    work=work.adjacent_frames,
    shapes=((4, 15),),
    directions=("forward",),
)

TIME_MLP = Suite(
    name="time_mlp",
    help="a small MLP of time differences, the bias of attention scores",
    module="bench_time_mlp",
    variants=VARIANTS,
    axes="(B, Tq, Tk, N, C)",
    work=work.time_mlp,
    shapes=((1, 1, 15, 32, 8), (4, 1, 15, 32, 8)),
    dtype="float32",
)

FRAME_SUITES = tuple([x for x in list(globals().values()) if isinstance(x, Suite)])
