"""`lift interpolate`: raise the frame rate of a video or a folder of frames."""

import argparse
import re
import sys
from fractions import Fraction
from pathlib import Path

import torch

from lift.config import InferenceConfig
from lift.config.flags import Parser
from lift.config.old_names import DEPRECATED_FLAGS
from lift.config.schema import BACKENDS
from lift.devices import choose_device
from lift.errors import LiftError, run
from lift.video.interpolator import Interpolator, Summary
from lift.video.malloc import keep_freed_memory

DEFAULTS = InferenceConfig()


def main(argv: list[str]) -> int:
    """Interpolate one video or folder and print a summary."""
    parser = Parser(prog="lift interpolate", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "input",
        metavar="IN",
        type=Path,
        help="a video, or a folder of numbered frames (png, jpg, bmp, tif, webp)",
    )
    parser.add_argument(
        "output",
        metavar="OUT",
        type=Path,
        help="a video (.mp4, .m4v, .mov, .mkv); without a suffix: a folder of PNG frames",
    )
    add_flags(parser)
    parser.add_argument(
        "--crf",
        type=int,
        default=DEFAULTS.crf,
        help="x264's constant rate factor, 0 (lossless) to 51 (default %(default)s)",
    )
    args = parser.parse_args(argv)
    check_paths(args.input, args.output)
    summary = open_interpolator(args).video(
        args.input,
        args.output,
        args.multi,
        fps=args.fps,
        source_fps=args.source_fps,
        crf=args.crf,
        overwrite=args.overwrite,
        progress=not args.quiet,
    )
    print(format_summary(summary))
    return 0


# -- shared with lift.inference --------------------------------------------------------------------


def add_flags(parser: Parser) -> None:
    """Add the flags of commands that interpolate files."""
    parser.add_argument(
        "--multi",
        type=_multi,
        default=DEFAULTS.multi,
        metavar="N",
        help="interpolation factor (2 doubles the frame rate; default %(default)s)",
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
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help=f"weights, a .safetensors file (default: the bundled {DEFAULTS.preset} weights)",
    )
    parser.add_argument(
        "--context_frames",
        type=_context,
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
        "--reverse_average",
        action="store_true",
        help="average predictions forwards and backwards in time; twice the work",
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
        type=_positive,
        default=DEFAULTS.batch,
        metavar="N",
        help="frames of one pair that are generated in one call (default %(default)s)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default %(default)s)"
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
    parser.add_argument("--overwrite", action="store_true", help="overwrite existing output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def check_paths(source: Path, target: Path) -> None:
    """Check both paths before a model is loaded.

    Raises:
        LiftError: there is no input, or output and input are the same.
    """
    if not source.exists():
        raise LiftError(
            f"{source}: no such file or folder; give a video or a folder of numbered frames"
        )
    if source.resolve() == target.resolve():
        raise LiftError(f"{target}: input and output are the same; choose another output")


def open_interpolator(args: argparse.Namespace) -> Interpolator:
    """The interpolator that the flags describe."""
    from lift.model.weights import load_weights, pretrained_path

    device = choose_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    model, _ = load_weights(
        args.checkpoint if args.checkpoint is not None else pretrained_path(DEFAULTS.preset),
        kernels=args.kernels,
    )
    dtype = args.dtype if args.dtype == "auto" else getattr(torch, args.dtype)
    return Interpolator(
        model,
        args.context_frames,
        device,
        dtype=dtype,
        batch=args.batch,
        reverse_average=args.reverse_average,
        detect_scenes=not args.no_scenes,
        compiled=args.compile,
        cuda_graph=args.cuda_graph,
    )


def format_summary(summary: Summary) -> str:
    """One line on the output, and one for each note such as a stream that was not copied."""
    cuts = f", {summary.cuts} scene cut{'s' * (summary.cuts != 1)}" if summary.cuts else ""
    precision = ""
    if summary.dtype != torch.float32:
        precision = f", computed in {str(summary.dtype).removeprefix('torch.')}"
    line = (
        f"{summary.path}: {summary.frames} frames, {summary.generated} of them generated, "
        f"{summary.width}x{summary.height} at {_rate_text(summary.rate)} frames/s{cuts}{precision}"
    )
    return "\n".join([line, *(f"note: {note}" for note in summary.notes)])


def _rate_text(rate: Fraction) -> str:
    return str(rate) if rate.denominator == 1 else f"{float(rate):.3f}"


def _multi(text: str) -> int:
    return _integer(text, 2, 1024)


def _context(text: str) -> int:
    return _integer(text, 2, 15)


def _positive(text: str) -> int:
    return _integer(text, 1, 1024)


def _integer(text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"-?\d+", text) or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}, got {text}")
    return int(text)


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(
            f"must be frames per second up to 1000, such as 60, 59.94 or 60000/1001, got {text}"
        )
    return rate


DESCRIPTION = """Raise the frame rate of a video or a folder of frames.

Every original frame stays, at its exact time, and N - 1 frames are generated between each two, so
n frames become (n - 1) * N + 1. With --fps the output frames are at the times of that rate
instead, and originals appear only where they coincide. Audio and subtitles are
copied. Nothing is interpolated across a scene cut: the frames there repeat the nearer original."""

EXAMPLES = """examples:
  lift interpolate holiday.mp4 holiday_smooth.mp4
  lift interpolate holiday.mp4 holiday_60.mkv --fps 60
  lift interpolate frames/ slow_frames/ --multi 4
"""

if __name__ == "__main__":
    sys.exit(run(main))
