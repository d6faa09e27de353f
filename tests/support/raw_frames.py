"""Decoded frames of known samples in any of FFmpeg's pixel formats, and lossless files of them."""

from fractions import Fraction

import numpy as np


def rows(plane, kind=np.uint8) -> np.ndarray:
    """A plane of an av.VideoFrame with its padding, writable, (h, line) of `kind`."""
    kind = np.dtype(kind)
    return np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)


def random_frame(pix_fmt: str, bits: int, width: int = 32, height: int = 16, seed: int = 0):
    """An av.VideoFrame of random samples in a planar format of this depth."""
    import av

    rng = np.random.default_rng(seed)
    frame = av.VideoFrame(width, height, pix_fmt)
    kind = np.uint8 if bits == 8 else np.uint16
    for plane in frame.planes:
        to = rows(plane, kind)
        to[:] = rng.integers(0, 1 << bits, to.shape, dtype=kind)
    return frame


def planes_of(frame, bits: int = 8) -> list[np.ndarray]:
    """Copies of the planes of a planar frame, without padding."""
    kind = np.uint8 if bits == 8 else np.uint16
    return [rows(p, kind)[: p.height, : p.width].copy() for p in frame.planes]


def write_frames(path, frames, codec: str = "ffv1", options=None, metadata=None, prepare=None):
    """A file of these frames, 25 a second; `prepare(stream)` sets more properties."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        first = frames[0]
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt = first.format.name
        stream.metadata.update(metadata or {})
        if prepare is not None:
            prepare(stream)
        for k, frame in enumerate(frames):
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def filtered(frame, *filters: tuple[str, str]):
    """The frame after FFmpeg's filters, each (name, arguments)."""
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(source, *nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
