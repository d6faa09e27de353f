"""Folders of pictures: their numbers, their kinds, and what else stands in them."""

import shutil
from fractions import Fraction
from functools import partial

import cv2
import numpy as np

from tests.support.video_inputs.colors import circle_frames
from tests.support.video_inputs.write import frames_of


def pictures(count=6) -> list[np.ndarray]:
    """(H, W, 3) uint8 BGR of testsrc2."""
    return [frame.to_ndarray(format="bgr24") for frame in frames_of(count)]


def deep_pictures(count=4) -> list[np.ndarray]:
    """(H, W, 3) uint16 BGR: a gradient of 320 neighbouring levels that slides."""
    return [
        np.repeat((20000 + np.arange(320) + k).astype(np.uint16)[None, :, None], 48, 0).repeat(3, 2)
        for k in range(count)
    ]


def save(path, picture, options=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    done, content = cv2.imencode(path.suffix.lower(), picture, list(options))
    assert done
    path.write_bytes(content.tobytes())  # any letter case of a suffix


def make(path, inputs, pattern="{:04d}.png", first=1, count=6, convert=None, options=()):
    """Numbered pictures; `convert` changes each."""
    for k, picture in enumerate(pictures(count)):
        save(path / pattern.format(first + k), convert(picture) if convert else picture, options)


def make_deep(path, inputs, suffix):
    for k, picture in enumerate(deep_pictures()):
        save(path / f"{k + 1:04d}.{suffix}", picture)


def make_float(path, inputs):
    """OpenEXR, scene-linear, from 0 to 4."""
    import av

    for k, frame in enumerate(frames_of(4)):
        linear = (frame.to_ndarray(format="rgb24").astype(np.float32) / 255) ** 2.2 * 4
        path.mkdir(parents=True, exist_ok=True)
        encoder = av.CodecContext.create("exr", "w")
        encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "gbrpf32le"
        encoder.time_base = Fraction(1, 25)
        picture = av.VideoFrame.from_ndarray(linear, "gbrpf32le")
        picture.pts = 0
        packets = [*encoder.encode(picture), *encoder.encode(None)]
        (path / f"{k + 1:04d}.exr").write_bytes(b"".join(map(bytes, packets)))


def make_alpha(path, inputs):
    for k, frame in enumerate(circle_frames(6)):
        rgba = frame.to_ndarray(format="rgba")
        save(path / f"{k + 1:04d}.png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))


def make_changed(path, inputs, change):
    make(path, inputs)
    change(path)


def rename(*pairs):
    def change(path):
        for old, new in pairs:
            (path / old).rename(path / new)

    return change


def replace(name, picture=None, new=None):
    """Another picture for the one called `name`, under the name `new`."""

    def change(path):
        old = cv2.imread(str(path / name))
        (path / name).unlink()
        save(path / (new or name), old if picture is None else picture(old))

    return change


def junk(path):
    for name in ("Thumbs.db", ".DS_Store", "._0001.png"):
        (path / name).touch()
    (path / "notes.txt").write_text("hi")
    (path / "sub").mkdir()


def truncate(path):
    content = (path / "0004.png").read_bytes()
    (path / "0004.png").write_bytes(content[: len(content) // 2])


def make_dates(path, inputs, times):
    for picture, time in zip(pictures(len(times)), times, strict=True):
        save(path / f"IMG_20240101_{time}.jpg", picture)


def make_names(path, inputs, names):
    for name, picture in zip(names, pictures(len(names)), strict=True):
        save(path / name, picture)


def make_turned(path, inputs):
    """JPEG with EXIF orientation 6: to be turned by 90 degrees clockwise."""
    make(path, inputs, "{:04d}.jpg", count=4)
    tag = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"Exif\0\0" + tag
    segment = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    for file in path.iterdir():
        content = file.read_bytes()
        file.write_bytes(content[:2] + segment + content[2:])


def make_cmyk(path, inputs):
    """JPEG as a printer's program writes it."""
    from PIL import Image

    path.mkdir(parents=True)
    for k, picture in enumerate(pictures(4)):
        image = Image.fromarray(picture[..., ::-1]).convert("CMYK")
        image.save(path / f"{k + 1:04d}.jpg", quality=95)


def make_one_bit(path, inputs):
    def black_or_white(picture):
        return np.where(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) > 127, 255, 0).astype(np.uint8)

    options = (cv2.IMWRITE_PNG_BILEVEL, 1)
    make(path, inputs, count=4, convert=black_or_white, options=options)


def gray(picture):
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)


def half(picture):
    return cv2.resize(picture, (48, 32))


CLOCK = ("115958", "115959", "120000", "120001")

MAKERS = {
    "png8": make,
    "start1001": partial(make, pattern="{}.png", first=1001),
    "nat": partial(make, pattern="{}.png", first=9997),
    "nat2": partial(make, pattern="frame{}.png", first=8),
    "jpeg": partial(make, pattern="{:04d}.JPG"),
    "gray": partial(make, convert=gray),
    "webp": partial(make, pattern="{:04d}.webp", options=(cv2.IMWRITE_WEBP_QUALITY, 101)),
    "tif": partial(make, pattern="{:04d}.tif"),
    "bmp": partial(make, pattern="{:04d}.bmp"),
    "copyname": partial(make, pattern="shot 2 take 3 - {:04d}.png"),
    "comfy": partial(make, pattern="ComfyUI_{:05d}_.png", count=4),
    "blender": partial(make, pattern="scene.{:04d}.png", count=4),
    "two": partial(make, count=2),
    "one": partial(make, count=1),
    "png16": partial(make_deep, suffix="png"),
    "tif16": partial(make_deep, suffix="tiff"),
    "exr": make_float,
    "rgba": make_alpha,
    "gap": partial(make_changed, change=lambda path: (path / "0003.png").unlink()),
    "mixed": partial(
        make_changed, change=rename(("0002.png", "0002.PNG"), ("0004.png", "0004.Png"))
    ),
    "mixext": partial(make_changed, change=replace("0003.png", new="0003.jpg")),
    "mixgray": partial(make_changed, change=replace("0003.png", gray)),
    "size": partial(make_changed, change=replace("0003.png", half)),
    "corrupt": partial(make_changed, change=truncate),
    "zero": partial(make_changed, change=lambda path: (path / "0004.png").write_bytes(b"")),
    "junk": partial(make_changed, change=junk),
    "junkpic": partial(
        make_changed, change=lambda path: shutil.copy(path / "0001.png", path / "thumbnail.png")
    ),
    "dates": partial(make_dates, times=[f"12000{k}" for k in range(1, 5)]),
    "dates2": partial(make_dates, times=CLOCK),
    "sd": partial(make_names, names=[f"2024-frame_{k}.5.png" for k in range(4)]),
    "exif": make_turned,
    "cmyk": make_cmyk,
    "onebit": make_one_bit,
    "empty": lambda path, inputs: path.mkdir(),
}
