"""The flags of the commands that interpolate files."""

import argparse
import re
from fractions import Fraction
from pathlib import Path

from lift.config import InferenceConfig
from lift.config.flag_values import whole_number
from lift.config.flags import Parser
from lift.config.old_names import DEPRECATED_FLAGS
from lift.config.schema import BACKENDS
from lift.errors import LiftError
from lift.io.image_format import FORMATS
from lift.io.pipes import PIPE_FORMATS
from lift.video.options import SOUNDS
from lift.video.rates import parse_rate
from lift.video.timeline import parse_trim

DEFAULTS = InferenceConfig()
TIMECODE = re.compile(r"\d+:\d+:\d+[:;]\d+")


def add_flags(parser: Parser) -> None:
    """Add the flags of commands that interpolate frames."""
    parser.add_argument(
        "--multi",
        type=whole_number(2, 1024),
        metavar="N",
        help=f"interpolation factor: 2 doubles the frame rate (default {DEFAULTS.multi})",
    )
    parser.add_argument(
        "--fps",
        type=_rate,
        help="output frame rate, instead of --multi: a number or a fraction such as 60000/1001",
    )
    parser.add_argument(
        "--source_fps",
        type=_rate,
        help=f"frame rate of a folder of frames (default {DEFAULTS.folder_fps})",
    )
    parser.add_argument(
        "--gaps",
        choices=("error", "sort", "time"),
        default="error",
        help="a folder with missing numbers: an error, frames in order, or frames at the time of "
        "their number (default %(default)s)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights, a .safetensors file, or the name of bundled weights "
        f"(default {DEFAULTS.preset})",
    )
    parser.add_argument(
        "--context_frames",
        type=whole_number(2, 15),
        default=DEFAULTS.context_frames,
        metavar="N",
        help="input frames per generated frame, 2 to 15; fewer is faster (default %(default)s)",
    )
    parser.deprecated_flags |= DEPRECATED_FLAGS
    parser.add_argument(
        "--no_scenes",
        action="store_true",
        help="do not detect scene cuts: frames are interpolated across them",
    )
    parser.add_argument(
        "--cut_threshold",
        type=_fraction,
        metavar="X",
        help="how large a change is a scene cut, 0 to 1; higher means fewer cuts",
    )
    parser.add_argument(
        "--reverse_average",
        action="store_true",
        help="average predictions forwards and backwards in time; twice the work",
    )
    parser.add_argument(
        "--scale",
        type=_fraction,
        default=1.0,
        metavar="X",
        help="compute motion at this fraction of the resolution, such as 0.5 for 4K "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        default="auto",
        metavar="auto|N|off",
        help="work in overlapped tiles of N pixels, to need less memory; auto: where the free "
        "memory is too small for the frame (default %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default=DEFAULTS.dtype,
        help="precision of the model; auto: on a GPU bfloat16 if it is supported, else float16; "
        "on a CPU float32, although some are faster in bfloat16 (default %(default)s)",
    )
    parser.add_argument(
        "--batch",
        type=whole_number(1, 1024),
        default=DEFAULTS.batch,
        metavar="N",
        help="frames of one pair that are generated in one call (default %(default)s)",
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--threads",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="CPU threads of the model; 0: as many as there are idle cores, or OMP_NUM_THREADS",
    )
    parser.add_argument(
        "--kernels",
        choices=BACKENDS,
        default="auto",
        help="kernels: auto, fused (an error where unsupported) or reference (default %(default)s)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="run the model through torch.compile: takes minutes at the start, for long videos",
    )
    parser.add_argument(
        "--cuda_graph",
        action="store_true",
        help="run the model as CUDA graphs, without launch overhead; takes seconds and some memory",
    )
    parser.add_argument(
        "--format",
        choices=(*FORMATS, *PIPE_FORMATS),
        help="of a folder of frames (default png; exr where the source is) or of a pipe "
        "(default y4m; nut where the frames have alpha or are RGB)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep finished parts when the run is interrupted, and continue an interrupted run",
    )
    parser.add_argument("--overwrite", action="store_true", help="overwrite existing output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_video_flags(parser: Parser) -> None:
    """Add the flags that concern videos."""
    moments = parser.add_argument_group("moments")
    moments.add_argument(
        "--slow",
        type=_slow,
        metavar="N",
        help="slow motion: the output lasts N times as long, at the rate of the source or --fps",
    )
    moments.add_argument(
        "--sound",
        choices=SOUNDS,
        help="of --slow: stretched, dropped, or kept at its speed (default stretch)",
    )
    moments.add_argument(
        "--loop", action="store_true", help="also generate the frames from the last to the first"
    )
    moments.add_argument(
        "--trim",
        type=_trim,
        metavar="START:END",
        help="only this part of the source: seconds or hh:mm:ss, either may be left out",
    )
    moments.add_argument(
        "--max_gap",
        type=_seconds,
        metavar="SECONDS",
        help="a longer interval is a hold: the picture stands still, and moves in the last frame "
        "time (default: chosen from the rate)",
    )
    moments.add_argument(
        "--duplicates",
        choices=("keep", "fill"),
        default="keep",
        help="fill: generate frames in place of those that repeat the one before, as in animation "
        "on twos or pulldown (default %(default)s)",
    )
    cuts = parser.add_argument_group("scene cuts")
    cuts.add_argument(
        "--cuts",
        type=Path,
        metavar="FILE",
        help="a list of cuts instead of detection: frame numbers, seconds or timecodes, one a line",
    )
    cuts.add_argument(
        "--list_cuts",
        action="store_true",
        help="print the cuts of the inputs and stop; there is no OUT",
    )
    encoder = parser.add_argument_group("encoder")
    encoder.add_argument(
        "--codec",
        metavar="NAME",
        help="h264, hevc, av1, vp9, prores, ffv1, or an encoder of FFmpeg such as hevc_nvenc "
        "(default: chosen from the container and the source)",
    )
    encoder.add_argument(
        "--pix_fmt", metavar="NAME", help="such as yuv420p10le (default: that of the source)"
    )
    encoder.add_argument("--preset", metavar="NAME", help="of the encoder, such as slow")
    encoder.add_argument(
        "--crf",
        type=_crf,
        metavar="N",
        help="constant quality: 0 is lossless, x264 and x265 go to 51, VP9 and AV1 to 63 "
        f"(default {DEFAULTS.crf} for x264)",
    )
    source = parser.add_argument_group("source")
    source.add_argument(
        "--deinterlace",
        choices=("auto", "off"),
        default="auto",
        help="auto: interlaced sources are deinterlaced by FFmpeg (default %(default)s)",
    )
    source.add_argument(
        "--strict",
        action="store_true",
        help="stop at a damaged packet, instead of going on without it",
    )
    result = parser.add_argument_group("result")
    result.add_argument(
        "--compare", action="store_true", help="write the source beside the result, side by side"
    )
    result.add_argument(
        "--report", action="store_true", help="also write OUT.json: cuts, duplicates, notes, rates"
    )
    result.add_argument(
        "--json", action="store_true", help="progress and summary as lines of JSON on stdout"
    )
    result.add_argument(
        "--devices",
        metavar="LIST",
        help="several GPUs, such as cuda:0,cuda:1: each makes parts of the video",
    )


# -- values of flags -------------------------------------------------------------------------------


def _crf(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):  # the range depends on the encoder
        raise argparse.ArgumentTypeError(f"must be a whole number such as 18, got {text}")
    return int(text)


def _tile(text: str) -> int | str:
    return text if text in ("auto", "off") else whole_number(64, 1 << 16)(text)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 1, got {text}")
    return value


def _decimal(text: str, what: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be {what}, got {text}")
    return value


def _slow(text: str) -> Fraction:
    value = _decimal(text, "a number above 1, such as 4 or 2.5")
    if not 1 < value <= 1024:
        raise argparse.ArgumentTypeError(f"must be a number above 1 up to 1024, got {text}")
    return value


def _seconds(text: str) -> Fraction:
    return _decimal(text, "seconds above 0")


def _rate(text: str) -> Fraction:
    try:
        return parse_rate(text)
    except LiftError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _trim(text: str) -> str:
    if TIMECODE.search(text):
        return text  # is checked once the rate of the source is known
    try:
        parse_trim(text)
    except LiftError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
