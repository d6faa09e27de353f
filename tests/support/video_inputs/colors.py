"""What a frame looks like: orientation, fields, depth, HDR, range, matrix, odd sizes, alpha."""

import struct
from fractions import Fraction
from functools import partial

import av
import numpy as np

from tests.support.exact_color import patches, stored_planes
from tests.support.video_inputs.write import TESTSRC, Picture, frame_of_arrays, frames_of, write

BT709, BT470BG, SMPTE170M, SMPTE240M, YCGCO, BT2020 = 1, 5, 6, 7, 8, 9
PQ, HLG, GAMMA28 = 16, 18, 5
LIMITED, FULL = 1, 2
MASTERING = (
    "hdr10=1:repeat-headers=1:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
    "max-cll=1000,400"
)
CIRCLE = "geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(hypot(X-48-4*N,Y-32),24),255,0)'"


def tags(matrix, transfer=None, primaries=None, full=False) -> dict:
    """Attributes of a codec context; transfer and primaries are those of the matrix where None."""
    return {
        "colorspace": matrix,
        "color_trc": matrix if transfer is None else transfer,
        "color_primaries": matrix if primaries is None else primaries,
        "color_range": FULL if full else LIMITED,
    }


# -- orientation, aspect ---------------------------------------------------------------------------


def make_turned(path, inputs, matrix, aspect=None):
    """The display matrix in an MP4's track header: a, b, c, d of (x, y) -> (ax + cy, bx + dy)."""
    settings = {} if aspect is None else {"sample_aspect_ratio": aspect}
    write(path, Picture(count=6, codec_settings=settings))
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4 + 4 + 36  # version 0: flags, then 36 bytes up to the matrix
    a, b, c, d = matrix
    one = 1 << 16
    assert struct.unpack_from(">9i", content, at)[0] == one
    x, y = (96 * (a < 0) + 64 * (c < 0)) * one, (96 * (b < 0) + 64 * (d < 0)) * one
    struct.pack_into(">9i", content, at, a * one, b * one, 0, c * one, d * one, 0, x, y, one << 14)
    path.write_bytes(content)


def make_aspect(path, inputs, aspect):
    write(path, Picture(count=6, codec_settings={"sample_aspect_ratio": aspect}))


# -- fields ----------------------------------------------------------------------------------------


def wave(shift: int) -> np.ndarray:
    """(64, 96, 3) uint8 RGB: smooth upright stripes, moved by `shift` pixels."""
    x = np.arange(96) - shift
    level = 128 + 70 * np.sin(x / 5) + 30 * np.cos(x / 11)
    rows = np.linspace(0.8, 1, 64)[:, None, None]
    return (level[None, :, None] * rows * np.ones(3)).astype(np.uint8)


def make_interlaced(path, inputs, codec="libx264"):
    """Fields of 50 moments a second, the upper one first."""
    weave = (
        "separatefields",
        "select='eq(mod(n,4),0)+eq(mod(n,4),3)'",
        "weave=t",
        "format=yuv420p",
    )
    graph = av.filter.Graph()
    source = graph.add_buffer(width=96, height=64, format="rgb24", time_base=Fraction(1, 50))
    steps = [graph.add(name, text or None) for name, text in (s.partition("=")[::2] for s in weave)]
    graph.link_nodes(source, *steps, graph.add("buffersink")).configure()
    for k in range(20):
        frame = av.VideoFrame.from_ndarray(wave(3 * k), "rgb24")
        frame.pts, frame.time_base = k, Fraction(1, 50)
        graph.push(frame)
    graph.push(None)
    frames = [graph.vpull() for _ in range(10)]
    assert all(frame.interlaced_frame for frame in frames)
    options = {"x264-params": "tff=1"} if codec == "libx264" else {"flags": "+ilme+ildct"}
    write(path, Picture(frames, codec, options=options))


# -- depth and HDR ---------------------------------------------------------------------------------


def make_hdr(path, inputs, transfer, extra="", **attributes):
    names = {PQ: "smpte2084", HLG: "arib-std-b67"}
    parameters = f"log-level=none:colorprim=bt2020:transfer={names[transfer]}:colormatrix=bt2020nc"
    picture = Picture(
        frames_of(5),
        "libx265",
        "yuv420p10le",
        options={"x265-params": parameters + (f":{extra}" if extra else "")},
        codec_settings=tags(BT2020, transfer) | attributes,
    )
    write(path, picture)


def make_gradient(path, inputs):
    """Ten bits, lossless: 320 levels of luma a step of one apart, moving two pixels a frame."""
    frames = []
    for k in range(5):
        row = (300 + np.arange(320) + 2 * k).astype(np.uint16)
        luma = np.repeat(row[None], 64, 0)
        chroma = np.full((32, 160), 512, np.uint16)
        frames.append(frame_of_arrays((luma, chroma, chroma), "yuv420p10le"))
    write(
        path,
        Picture(frames, pix_fmt="yuv420p10le", options={"qp": "0"}, codec_settings=tags(BT709)),
    )


def make_levels(path, inputs):
    """All 1,024 levels of 10 bits in the full range, side by side, sliding two pixels a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1024, 16, "yuv444p10le"
        stream.codec_context.color_range, stream.codec_context.colorspace = FULL, BT709
        for k in range(4):
            frame = av.VideoFrame(1024, 16, "yuv444p10le")
            frame.color_range, frame.colorspace, frame.pts = FULL, BT709, k
            luma = np.clip(np.arange(1024) - 2 * k, 0, 1023)
            for plane, values in zip(frame.planes, (luma, 512, 512), strict=True):
                rows = np.frombuffer(plane, np.uint16).reshape(16, -1)
                rows[:, :1024] = values
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_depth(path, inputs, codec, pix_fmt, options=None, size="96x64"):
    # in RGB, because testsrc2 itself would make an odd size even
    frames = frames_of(5, f"testsrc2=s={size}:r=25", "format=rgb24")
    write(path, Picture(frames, codec, pix_fmt, options=options or {}))


# -- range and matrix ------------------------------------------------------------------------------


def make_coded(path, inputs, matrix, full=False, transfer=None, primaries=None, pix_fmt="yuv420p"):
    """Patches of colour, coded by an own matrix and range; lossless."""
    frames = []
    for k in range(5):
        rgb = np.roll(patches(64, 96), k, axis=1)
        frames.append(frame_of_arrays(stored_planes(rgb, matrix, full), "yuv420p"))
    settings = tags(matrix, transfer, primaries, full)
    write(path, Picture(frames, pix_fmt=pix_fmt, options={"qp": "0"}, codec_settings=settings))


def make_other_matrix(path, inputs, matrix, name, pix_fmt="yuv420p"):
    frames = frames_of(5, TESTSRC, f"scale=out_color_matrix={name}", f"format={pix_fmt}")
    settings = {"colorspace": matrix, "color_range": LIMITED}
    write(path, Picture(frames, pix_fmt=pix_fmt, codec_settings=settings, options={"qp": "0"}))


def make_mjpeg(path, inputs):
    write(path, Picture(frames_of(5), "mjpeg", "yuvj420p", options={"q": "2"}))


def make_rgb(path, inputs):
    write(path, Picture(frames_of(5), "libx264rgb", "rgb24", options={"qp": "0"}))


# -- alpha -----------------------------------------------------------------------------------------


def circle_frames(count=5, rate=25):
    return frames_of(count, f"testsrc2=s=96x64:r={rate}", "format=rgba", CIRCLE)


def make_alpha(path, inputs, codec, pix_fmt, options=None, settings=None):
    """Opaque in a circle that moves, transparent around it."""
    frames = circle_frames()
    metadata = {"alpha_mode": "1"} if codec == "libvpx-vp9" else {}
    write(
        path,
        Picture(
            frames,
            codec,
            pix_fmt,
            options=options or {},
            metadata=metadata,
            codec_settings=settings or {},
        ),
    )


def make_gif(path, inputs, alpha=True):
    """10 frames/s; the last one is displayed for 1.5 s."""
    frames = list(
        circle_frames(6, 10) if alpha else frames_of(6, "testsrc2=s=96x64:r=10", "format=rgba")
    )
    graph = av.filter.Graph()
    source = graph.add_buffer(width=96, height=64, format="rgba", time_base=Fraction(1, 100))
    split, palette = graph.add("split"), graph.add("palettegen", "reserve_transparent=1")
    use, sink = graph.add("paletteuse"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for k, frame in enumerate(frames):
        frame.pts, frame.time_base = 10 * k, Fraction(1, 100)
        graph.push(frame)
    graph.push(None)
    frames = [graph.vpull() for _ in frames]
    picture = Picture(frames, "gif", "pal8", rate=10, ticks=range(0, 60, 10), tick=Fraction(1, 100))
    write(path, picture, options={"final_delay": "150"} if alpha else {})


MAKERS = {
    "v03_rot90.mp4": partial(make_turned, matrix=(0, -1, 1, 0)),
    "v03_rot180.mp4": partial(make_turned, matrix=(-1, 0, 0, -1)),
    "v03_rot270.mp4": partial(make_turned, matrix=(0, 1, -1, 0)),
    "v03_hflip.mp4": partial(make_turned, matrix=(-1, 0, 0, 1)),
    "v03_vflip.mp4": partial(make_turned, matrix=(1, 0, 0, -1)),
    "v03_transpose.mp4": partial(make_turned, matrix=(0, 1, 1, 0)),
    "v04_sar.mp4": partial(make_aspect, aspect=Fraction(16, 15)),
    "v04_sar.mkv": partial(make_aspect, aspect=Fraction(64, 45)),
    "v04d_sar_rot.mp4": partial(make_turned, matrix=(0, -1, 1, 0), aspect=Fraction(16, 15)),
    "v05_interlaced.mp4": make_interlaced,
    "v05_interlaced.mpg": partial(make_interlaced, codec="mpeg2video"),
    "v06_pq.mp4": partial(make_hdr, transfer=PQ, extra=MASTERING, codec_tag="hvc1"),
    "v06_hlg.mkv": partial(make_hdr, transfer=HLG),
    "v06_10bit_gradient.mkv": make_gradient,
    "v06_1024_levels.mkv": make_levels,
    "f_422p10.mp4": partial(make_depth, codec="libx264", pix_fmt="yuv422p10le"),
    "f_444p12.mkv": partial(
        make_depth,
        codec="libx265",
        pix_fmt="yuv444p12le",
        options={"x265-params": "log-level=none"},
    ),
    "f_gray.mkv": partial(make_depth, codec="libx264", pix_fmt="gray"),
    "v07_full.mp4": partial(make_coded, matrix=BT470BG, full=True),
    "v07_full709.mkv": partial(make_coded, matrix=BT709, full=True),
    "v07_mjpeg.avi": make_mjpeg,
    "v08_709.mp4": partial(make_coded, matrix=BT709),
    "v08_601.mp4": partial(make_coded, matrix=SMPTE170M),
    "v08_pal.mp4": partial(make_coded, matrix=BT470BG, transfer=GAMMA28),
    "v08_rgb.mkv": make_rgb,
    "v08_240m.mp4": partial(make_other_matrix, matrix=SMPTE240M, name="smpte240m"),
    "v09_odd444.mp4": partial(make_depth, codec="libx264", pix_fmt="yuv444p", size="97x65"),
    "v09_odd420.mkv": partial(make_depth, codec="ffv1", pix_fmt="yuv420p", size="97x65"),
    "v09_tiny.mkv": partial(make_depth, codec="ffv1", pix_fmt="yuv420p", size="17x9"),
    "v10_prores4444.mov": partial(
        make_alpha, codec="prores_ks", pix_fmt="yuva444p10le", options={"profile": "4444"}
    ),
    "v10_vp9alpha.webm": partial(make_alpha, codec="libvpx-vp9", pix_fmt="yuva420p"),
    "v10_ffv1alpha.mkv": partial(make_alpha, codec="ffv1", pix_fmt="yuva444p"),
    "v10_alpha.gif": make_gif,
    "f_plain.gif": partial(make_gif, alpha=False),
}
