"""`python -m lift.release.demo_gif`: make docs/figures/demo.gif with the bundled weights.

Runs `lift demo` and writes a part of its side-by-side video as an endless GIF.
"""

import sys
import tempfile
from pathlib import Path

from lift.commands import demo
from lift.config.flags import Parser
from lift.errors import LiftError, run
from lift.files import atomic
from lift.io.decode import open_frames

# The project's own, which an installed LIFT does not have.
GIF = Path(__file__).resolve().parents[2] / "docs" / "figures" / "demo.gif"
FIRST, COUNT = 24, 24  # frames of the video: the bird raises its wings
WIDTH = 900  # pixels, of all three columns
COLOURS = 200
MILLISECONDS = 125  # a frame


def write(video: str | Path, gif: str | Path) -> None:
    """Write frames FIRST to FIRST + COUNT of a video as an endless GIF.

    Raises:
        LiftError: the video cannot be read, or is shorter.
    """
    from PIL import Image

    images = []
    for i, frame in enumerate(open_frames(video).frames()):
        if FIRST <= i < FIRST + COUNT:
            image = Image.fromarray(frame)
            height = round(image.height * WIDTH / image.width)
            images.append(image.resize((WIDTH, height), Image.Resampling.LANCZOS))
    if len(images) < COUNT:
        raise LiftError(
            f"{video} is shorter than {FIRST + COUNT} frames; make it with lift demo again"
        )
    palette = images[COUNT // 2].quantize(COLOURS)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with atomic(gif) as part:
        images[0].save(
            part,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=MILLISECONDS,
            loop=0,
            optimize=True,
        )


def main(argv: list[str]) -> None:
    """Run the demo in a temporary folder and write the GIF."""
    parser = Parser(prog="python -m lift.release.demo_gif", description=__doc__)
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="weights to use instead of the bundled ones"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=GIF,
        metavar="FILE",
        help="the GIF (default docs/figures/demo.gif)",
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        weights = ["--checkpoint", args.checkpoint] if args.checkpoint else []
        demo.main(["--output", folder, *weights])
        write(Path(folder) / "side_by_side.mp4", args.output)
    print(f"written: {args.output}")


if __name__ == "__main__":
    sys.exit(run(main))
