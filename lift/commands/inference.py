"""`python -m lift.inference`: raise the frame rate of folders of frames."""

import sys
from pathlib import Path

from lift.commands.inputs import Job, check_output, find_sequences
from lift.commands.interpolate import file_options, run_jobs
from lift.commands.interpolate_flags import add_flags
from lift.config.flags import Parser
from lift.errors import LiftError, cleanup_on_signals, run
from lift.io.frame_folder import FrameFolder
from lift.io.names import check_distinct


def main(argv: list[str]) -> int:
    """Interpolate each folder and print a summary of it."""
    parser = Parser(prog="python -m lift.inference", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder of numbered frames, or a folder of such folders, at any depth",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the result; folders of folders keep their names",
    )
    add_flags(parser)
    args = parser.parse_args(argv)
    options = file_options(args)
    if not args.input.exists():
        raise LiftError(f"{args.input}: no such file or folder; give a folder of numbered frames")
    check_distinct(args.input, args.output)
    jobs = [Job(*pair) for pair in find_sequences(args.input, args.output)]
    for job in jobs:  # errors come before the first output
        FrameFolder(job.source, gaps=options.gaps)
        check_output(job, options)
    with cleanup_on_signals():
        return run_jobs(jobs, options, args)


DESCRIPTION = """Raise the frame rate of sequences of frames.

--input is one folder of numbered frames, or a folder of such folders. The result of each is a
numbered sequence of PNG files: every original, and N - 1 generated frames between each two
(--multi N), so n frames become (n - 1) * N + 1."""

EXAMPLES = """examples:
  python -m lift.inference --checkpoint runs/a/last.safetensors --input frames/ --output results/
  python -m lift.inference --input sequences/test/ --output results/ --multi 4
"""

if __name__ == "__main__":
    sys.exit(run(main))
