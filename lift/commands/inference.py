"""`python -m lift.inference`: folders of frames in, folders of smoother sequences out."""

import sys
from pathlib import Path

from lift.commands.interpolate import add_flags, check_paths, open_interpolator, told
from lift.config.flags import Parser
from lift.errors import LiftError, run
from lift.io.decode import open_frames
from lift.io.encode import refuse_existing
from lift.io.frame_folder import list_images


def main(argv: list[str]) -> int:
    """Parse, interpolate each folder, tell what was written."""
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
    check_paths(args.input, args.output)
    jobs = find_sequences(args.input, args.output)
    for source, target in jobs:  # all that can be wrong is told before the first is made
        open_frames(source)
        refuse_existing(target, args.overwrite)
    interpolator = open_interpolator(args)
    for source, target in jobs:
        print(
            told(
                interpolator.video(
                    source,
                    target,
                    args.multi,
                    fps=args.fps,
                    source_fps=args.source_fps,
                    overwrite=args.overwrite,
                    progress=not args.quiet,
                )
            )
        )
    return 0


def find_sequences(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """(folder of frames, folder for its result) for `source` itself, or for every folder below it
    that holds frames, by name.

    Raises:
        LiftError: no folder with frames, or one that holds frames beside folders of frames.
    """
    if not source.is_dir():
        raise LiftError(
            f"{source}: --input takes a folder of frames or a folder of such folders; for a video run lift interpolate IN OUT"
        )
    below = sorted(
        d
        for d in source.rglob("*")
        if d.is_dir() and not any(part.startswith(".") for part in d.relative_to(source).parts)
    )
    below = [
        d
        for d in below
        if list_images(d) and target.resolve() not in (d.resolve(), *d.resolve().parents)
    ]
    if not list_images(source):
        if not below:
            raise LiftError(
                f"{source}: no frames in this folder or below it; numbered png, jpg, bmp, tif or webp files are accepted"
            )
        return [(d, target / d.relative_to(source)) for d in below]
    if below:
        raise LiftError(
            f"{source}: holds frames and also folders of frames ({below[0].name}); give one or the other"
        )
    return [(source, target)]


DESCRIPTION = """Make sequences of frames smoother.

--input is one folder of numbered frames, or a folder of such folders. For each, the output folder gets one numbered sequence
of PNG frames: every original, and between each two N - 1 made ones (--multi N), so n frames become (n - 1) * N + 1."""

EXAMPLES = """examples:
  python -m lift.inference --checkpoint runs/lift/last.safetensors --input test_frames/ --output results/
  python -m lift.inference --input sequences/test/ --output results/ --multi 4
"""

if __name__ == "__main__":
    sys.exit(run(main))
