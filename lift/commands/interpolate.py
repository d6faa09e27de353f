"""`lift interpolate`: raise the frame rate of videos and folders of frames."""

import argparse
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch

from lift.commands.inputs import PIPE, Job, find_jobs
from lift.commands.interpolate_flags import add_flags, add_video_flags
from lift.config import InferenceConfig
from lift.config.flags import Parser
from lift.devices import choose_device
from lift.errors import LiftError, cleanup_on_signals, report_error, run, say
from lift.video.cpu_threads import leave_cores_to_others
from lift.video.devices import DeviceWorkers
from lift.video.file import interpolate_file
from lift.video.interpolator import Interpolator
from lift.video.malloc import keep_freed_memory
from lift.video.options import FileOptions
from lift.video.progress import Progress
from lift.video.summary import Summary
from lift.video.work_folder import clear_leftovers

DEFAULTS = InferenceConfig()


def main(argv: list[str]) -> int:
    """Interpolate the inputs and print a summary of each."""
    parser = Parser(prog="lift interpolate", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "paths",
        metavar="IN OUT",
        nargs="+",
        help="one or more videos or folders of numbered frames, then the output: a video "
        "(.mp4 .m4v .mov .mkv .webm .ts .m2ts .mts .avi .gif .webp .apng); without a suffix a "
        "folder of frames; for several inputs a folder. Several images are frames in the order "
        "given. - is a pipe",
    )
    parser.gathers = "paths"
    add_flags(parser)
    add_video_flags(parser)
    args = parser.parse_args(argv)
    with cleanup_on_signals():
        return interpolate(args)


def interpolate(args: argparse.Namespace) -> int:
    """Run what the flags describe; the exit code."""
    options = file_options(args)
    if args.list_cuts:
        return list_cuts(args, options)
    if len(args.paths) < 2:
        raise LiftError("the output is missing; give IN and OUT")
    jobs = find_jobs(args.paths[:-1], args.paths[-1], options)
    return run_jobs(jobs, options, args)


def run_jobs(jobs: list[Job], options: FileOptions, args: argparse.Namespace) -> int:
    """Interpolate each input; one that fails does not stop the others. The exit code."""
    interpolator = open_interpolator(args)
    failed = False
    for job in jobs:
        try:
            run_job(interpolator, job, options, args)
        except (LiftError, OSError) as error:
            if getattr(args, "json", False):
                Progress("json", job.name, _stream_of(job)).event(
                    "error", input=job.name, text=str(error)
                )
            if len(jobs) == 1:
                raise
            failed = True
            report_error(error)
    return int(failed)


def run_job(
    interpolator: Interpolator, job: Job, options: FileOptions, args: argparse.Namespace
) -> Summary | None:
    """Interpolate one input; print notes as they come, and a summary.

    Returns:
        What was written; None where a run that is continued had written it.
    """
    out = _stream_of(job)
    form = "none" if args.quiet else "bar"
    is_json = getattr(args, "json", False)
    progress = Progress("json" if is_json else form, job.name, out if is_json else None)

    def note(text: str) -> None:
        if is_json:
            progress.event("note", text=text)
            return
        with progress.set_aside():
            say(f"note: {text}", stream=out)

    if job.is_finished(options):
        note(f"{job.target} exists, so there is nothing to resume")
        clear_leftovers(job.target.parent, finished=job.target)
        return None
    with progress:
        summary = interpolate_file(
            interpolator, job.source, job.target, options, progress, note, device_workers(args)
        )
    if is_json:
        progress.event("done", **summary.as_json())
    elif job.target != PIPE:
        say(format_summary(summary))
    return summary


def _stream_of(job: Job):
    """Where what is said of a job goes."""
    return sys.stderr if job.target == PIPE else sys.stdout


def list_cuts(args: argparse.Namespace, options: FileOptions) -> int:
    """Print the scene cuts of each input, as --cuts reads them."""
    from lift.video.cut_list import format_cut_list
    from lift.video.file import find_cuts

    for path in map(Path, args.paths):
        cuts = find_cuts(path, options, args.cut_threshold)
        if len(args.paths) > 1:
            say(f"# {path}")
        text = format_cut_list(cuts)
        if text:
            say(text.rstrip("\n"))
    return 0


# -- what the flags mean --------------------------------------------------------------------------


def file_options(args: argparse.Namespace) -> FileOptions:
    """The flags as options; those that a command does not have stay at their defaults.

    Raises:
        LiftError: flags that contradict each other.
    """
    if args.no_scenes and getattr(args, "cuts", None):
        raise LiftError("--no_scenes and --cuts contradict each other; give one of them")
    if args.no_scenes and args.cut_threshold is not None:
        raise LiftError("--no_scenes and --cut_threshold contradict each other; give one of them")
    if getattr(args, "cuts", None) and args.cut_threshold is not None:
        raise LiftError("--cuts replaces detection, so --cut_threshold has no effect; give one")
    if args.device is not None and getattr(args, "devices", None):
        raise LiftError("--device and --devices contradict each other; give one of them")
    if getattr(args, "json", False) and args.quiet:
        raise LiftError("--json shows progress and --quiet hides it; give one of them")
    values = vars(args) | {"image_format": args.format}
    names = set(FileOptions.__dataclass_fields__)
    given = {k: v for k, v in values.items() if k in names and v is not None}
    return FileOptions(**given)


def devices(args: argparse.Namespace) -> list[str]:
    """The devices of --devices; empty where the flag is not given."""
    text = getattr(args, "devices", None)
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise LiftError(f"--devices {text!r} has an empty name; give a list such as cuda:0,cuda:1")
    return names


def device_workers(args: argparse.Namespace) -> DeviceWorkers | None:
    """The processes of --devices; None for one device."""
    names = devices(args)
    if len(names) < 2:
        return None
    for name in names:
        choose_device(name)
    return DeviceWorkers(names, partial(open_interpolator, args))


def open_interpolator(args: argparse.Namespace, device: str | None = None) -> Interpolator:
    """The interpolator that the flags describe.

    Args:
        args: the flags.
        device: where it runs; where None, what --device says, or the first of --devices.
    """
    from lift.model.pretrained import weights_path
    from lift.model.weights import load_weights

    name = device or (devices(args) or [args.device or "auto"])[0]
    device = choose_device(name)
    if device.type == "cpu":
        keep_freed_memory()
        if args.threads > 0:
            torch.set_num_threads(args.threads)
        else:
            leave_cores_to_others()
    weights = DEFAULTS.preset if args.checkpoint is None else args.checkpoint
    model, _ = load_weights(weights_path(weights), kernels=args.kernels)
    dtype = args.dtype if args.dtype == "auto" else getattr(torch, args.dtype)
    return Interpolator(
        model,
        args.context_frames,
        device,
        dtype=dtype,
        batch=args.batch,
        reverse_average=args.reverse_average,
        detect_scenes=not args.no_scenes,
        cut_threshold=args.cut_threshold,
        compiled=args.compile,
        cuda_graph=args.cuda_graph,
        tile=args.tile,
        scale=args.scale,
    )


def format_summary(summary: Summary) -> str:
    """One line on the output."""
    cuts = f", {summary.cuts} scene cut{'s' * (summary.cuts != 1)}" if summary.cuts else ""
    precision = ""
    if summary.dtype != torch.float32:
        precision = f", computed in {str(summary.dtype).removeprefix('torch.')}"
    frames = f"{summary.frames} frame{'s' * (summary.frames != 1)}"
    return (
        f"{summary.path}: {frames}, {summary.generated} of them generated, "
        f"{summary.width}x{summary.height} at {_rate_text(summary.rate)} frames/s{cuts}{precision}"
    )


def _rate_text(rate: Fraction) -> str:
    return str(rate) if rate.denominator == 1 else f"{float(rate):.3f}"


DESCRIPTION = """Raise the frame rate of a video or a folder of frames.

Every original frame stays, at its exact time, and N - 1 frames are generated between each two, so
n frames become (n - 1) * N + 1. With --fps the output frames are at the times of that rate
instead, and originals appear only where they coincide. Sound, subtitles, chapters, fonts and all
other streams are kept where the container can hold them. Nothing is interpolated across a scene
cut: the frames there repeat the nearer original."""

EXAMPLES = """examples:
  lift interpolate holiday.mp4 holiday_smooth.mp4
  lift interpolate holiday.mp4 holiday_60.mkv --fps 60
  lift interpolate goal.mp4 goal_slow.mp4 --slow 4 --trim 72:75
  lift interpolate first.png second.png between.mp4 --multi 8
  lift interpolate *.mp4 smooth/ --resume
  lift interpolate frames/ slow_frames/ --multi 4
"""

if __name__ == "__main__":
    sys.exit(run(main))
