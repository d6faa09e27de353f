"""Shots, cuts, flashes, fades and duplicates, from the bundled clip and textures that move."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

import lift
from tests.support.video_inputs.write import Picture, frame_of_arrays, write

CLIP = Path(lift.__file__).parent / "assets" / "big_buck_bunny.mp4"
SIZE = (128, 72)


def texture(shot: int, count: int) -> list[np.ndarray]:
    """`count` frames (H, W, 3) uint8 of a shot: smooth colours that move a pixel a frame."""
    rng = np.random.default_rng(100 + shot)
    width, height = SIZE
    small = rng.uniform(0, 255, (height // 12, (width + 64) // 12, 3)).astype(np.float32)
    wide = cv2.resize(small, (width + 64, height), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    tint = np.array([[200, 90, 60], [60, 160, 220], [90, 200, 90], [220, 220, 200]][shot % 4])
    wide = (0.5 * wide + 0.5 * tint).round().astype(np.uint8)
    return [np.ascontiguousarray(wide[:, k : k + width]) for k in range(count)]


def clip(count: int, start: int = 10) -> list[np.ndarray]:
    """Frames of the bundled clip."""
    import av

    frames = []
    with av.open(str(CLIP)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            if k >= start + count:
                break
            if k >= start:
                rgb = frame.to_ndarray(format="rgb24")
                frames.append(cv2.resize(rgb, SIZE, interpolation=cv2.INTER_AREA))
    return frames


def save(path, frames, rate=25):
    import av

    pictures = [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in frames]
    write(path, Picture(pictures, options={"qp": "4"}, rate=rate))


def shots(*lengths):
    return [frame for shot, length in enumerate(lengths) for frame in texture(shot, length)]


def make_shots(path, inputs, lengths):
    save(path, shots(*lengths))


def make_from_clip(path, inputs):
    save(path, clip(7) + texture(0, 7))


def make_insert(path, inputs):
    first = texture(0, 13)
    save(path, first[:7] + texture(1, 1) + first[7:])


def make_dark(path, inputs):
    save(path, [(frame * 0.15).astype(np.uint8) for frame in shots(7, 7)])


def make_cross_fade(path, inputs):
    first, second = texture(0, 14), texture(1, 14)
    weights = np.clip((np.arange(14) - 2) / 10, 0, 1)
    save(
        path,
        [
            (a * (1 - w) + b * w).astype(np.uint8)
            for a, b, w in zip(first, second, weights, strict=True)
        ],
    )


def make_fade(path, inputs):
    """Out to black and in from it, eight frames each."""
    levels = np.concatenate([np.linspace(1, 0, 8), np.linspace(0, 1, 8)])
    frames = texture(0, 8) + texture(1, 8)
    save(path, [(f * level).astype(np.uint8) for f, level in zip(frames, levels, strict=True)])


def make_flash(path, inputs, white):
    """Frames of `white` are white."""
    frames = texture(0, 14)
    save(path, [np.full_like(f, 255) if k in white else f for k, f in enumerate(frames)])


def make_black_frame(path, inputs):
    frames = texture(0, 7)
    save(path, [*frames, np.zeros_like(frames[0]), *texture(1, 7)])


def make_jump(path, inputs):
    """A jump cut inside one scene, from a long shot to a close one."""
    close = [
        cv2.resize(frame[18:54, 48:112], SIZE, interpolation=cv2.INTER_CUBIC)
        for frame in texture(0, 14)[7:]
    ]
    save(path, texture(0, 7) + close)


def boxes(lefts) -> list:
    """Frames of a white square whose left edge is at each of `lefts`."""
    frames = []
    for left in lefts:
        luma = np.full((96, 160), 80, np.uint8)
        luma[40:64, left : left + 24] = 220
        chroma = np.full((48, 80), 128, np.uint8)
        frames.append(frame_of_arrays((luma, chroma + 20, chroma - 20), "yuv420p"))
    return frames


def make_twos(path, inputs):
    """12 pixels every second frame."""
    write(path, Picture(boxes([12 + k // 2 * 12 for k in range(16)]), options={"qp": "12"}))


def make_pulldown(path, inputs):
    """24 frames/s in 30: every fifth frame is a duplicate."""
    moves = [12 + k * 4 // 5 * 8 for k in range(15)]
    write(path, Picture(boxes(moves), options={"qp": "12"}, rate=30))


def make_telecine(path, inputs):
    """Film in 30 frames/s of two fields: its frames are shown for two and three fields in turn."""
    film = [frame.to_ndarray(format="gray") for frame in boxes([12 + k * 8 for k in range(12)])]
    film = [cv2.GaussianBlur(luma, (1, 9), 0) for luma in film]  # as before fields are made
    fields = [luma for k, luma in enumerate(film) for _ in range(2 + k % 2)]
    frames = []
    for upper, lower in zip(fields[::2], fields[1::2], strict=True):
        luma = lower.copy()
        luma[::2] = upper[::2]
        chroma = np.full((48, 80), 128, np.uint8)
        frames.append(frame_of_arrays((luma, chroma, chroma), "yuv420p"))
    options = {"qp": "12", "x264-params": "tff=1"}
    write(path, Picture(frames, options=options, rate=30))


MAKERS = {
    "c1_cut.mp4": partial(make_shots, lengths=(7, 7)),
    "c1_clip.mp4": make_from_clip,
    "c2_first.mp4": partial(make_shots, lengths=(1, 9)),
    "c2_last.mp4": partial(make_shots, lengths=(9, 1)),
    "c3_cuts3.mp4": partial(make_shots, lengths=(3, 3, 3, 3, 3)),
    "c3_cuts2.mp4": partial(make_shots, lengths=(2, 2, 2, 2, 2, 2)),
    "c3_insert.mp4": make_insert,
    "c4_dark.mp4": make_dark,
    "c5_xfade.mp4": make_cross_fade,
    "c6_fade.mp4": make_fade,
    "c7_flash.mp4": partial(make_flash, white=(7,)),
    "c7_strobe.mp4": partial(make_flash, white=(2, 6, 10)),
    "c8_twos_box.mp4": make_twos,
    "c8_pulldown30.mp4": make_pulldown,
    "c8_telecine.mp4": make_telecine,
    "c11_jump.mp4": make_jump,
    "c12_black1.mp4": make_black_frame,
}
