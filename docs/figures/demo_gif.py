"""Make docs/figures/demo.gif from the side-by-side video of `lift demo`.

lift demo --output demo_output
python docs/figures/demo_gif.py demo_output/side_by_side.mp4 docs/figures/demo.gif
"""

import sys

from PIL import Image

from lift.io.decode import open_frames

FIRST, COUNT = 24, 24  # frames of the video: the bird raises its wings
WIDTH = 900  # pixels, of all three columns
COLOURS = 200


def main(source: str, target: str) -> None:
    """Write `COUNT` frames of the video `source` as an endless GIF, 8 frames a second."""
    images = []
    for i, frame in enumerate(open_frames(source).frames()):
        if FIRST <= i < FIRST + COUNT:
            image = Image.fromarray(frame)
            height = round(image.height * WIDTH / image.width)
            images.append(image.resize((WIDTH, height), Image.Resampling.LANCZOS))
    palette = images[len(images) // 2].quantize(COLOURS)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(
        target, save_all=True, append_images=images[1:], duration=125, loop=0, optimize=True
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
