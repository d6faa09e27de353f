"""The samples of a decoded frame as it stores them: planes of native depth and subsampling.

Any of FFmpeg's formats is first repacked to the planar, little-endian format of the same depth and
subsampling (NV12 to yuv420p, P010 to yuv420p10le, UYVY to yuv422p, RGB48 to gbrp16le), which
swscale does without changing a value.
"""

from dataclasses import dataclass, replace

import numpy as np

from lift.io.color import FULL, LIMITED, FrameLayout, YuvCoding, coding_of
from lift.io.optional import require
from lift.io.orientation import UPRIGHT, Orientation

EXACT = 0x10 | 0x40000 | 0x2000 | 0x4000  # swscale: nearest, accurate rounding, full chroma
CHROMA = {  # log2 of luma over chroma, horizontally and vertically
    (1, 1): "420",
    (1, 0): "422",
    (0, 1): "440",
    (0, 0): "444",
    (2, 0): "411",
    (2, 2): "410",
}
FACTORS = {name: (1 << x, 1 << y) for (x, y), name in CHROMA.items()}
TRANSPOSED = {"422": "440", "440": "422"}
DEPTHS = (8, 9, 10, 12, 14, 16)
DEPTHS_OF = {  # where FFmpeg has fewer than DEPTHS
    "440": (8, 10, 12),
    "411": (8,),
    "410": (8,),
}


@dataclass(frozen=True)
class Storage:
    """How a pixel format stores samples.

    Attributes:
        bits: of the planes to read, 8 to 16.
        chroma: as in `FrameLayout`.
        has_alpha: there is an alpha channel.
    """

    bits: int
    chroma: str
    has_alpha: bool

    @property
    def planar(self) -> str:
        """FFmpeg's planar, little-endian format of these samples, alpha included."""
        return planar_format(self.chroma, self.bits, self.has_alpha)


def planar_format(chroma: str, bits: int, has_alpha: bool = False) -> str:
    """FFmpeg's name of a planar format: yuva420p10le, gbrp, gray12le, ya16le."""
    depth = "" if bits == 8 else f"{bits}le"
    if chroma == "gray":
        if has_alpha:
            return "ya8" if bits == 8 else "ya16le"
        return f"gray{depth}"
    alpha = "a" if has_alpha else ""
    return f"gbr{alpha}p{depth}" if chroma == "rgb" else f"yuv{alpha}{chroma}p{depth}"


def storage_of(pixel_format) -> Storage:
    """How a frame of this format (av.VideoFormat) is read."""
    name, components = pixel_format.name, pixel_format.components
    if pixel_format.has_palette or name in ("rgb8", "bgr8", "monow", "monob"):
        return Storage(8, "rgb", pixel_format.has_palette)
    alpha = any(component.is_alpha for component in components)
    if pixel_format.is_bayer or "f16" in name or "f32" in name:  # Bayer pixels have one component
        bits = 8 if name.endswith("8") else 16
    else:
        bits = max(component.bits for component in components)
        bits = next((depth for depth in DEPTHS if depth >= bits), 16)
    if pixel_format.is_rgb or pixel_format.is_bayer or name.startswith("xyz"):
        return Storage(10 if alpha and bits == 9 else bits, "rgb", alpha)
    if len(components) < 3:
        return Storage(16 if alpha and bits > 8 else bits, "gray", alpha)
    shifts = (pixel_format.chroma_width(16), pixel_format.chroma_height(16))
    return Storage(bits, CHROMA[tuple(4 - (size.bit_length() - 1) for size in shifts)], alpha)


class PlaneReader:
    """Reads the planes of decoded frames; holds swscale's tables from one frame to the next."""

    def __init__(self):
        self._reformatter = None

    def repacked(self, frame):
        """The frame (av.VideoFrame) in the planar format of its `Storage`; perhaps itself."""
        wanted = storage_of(frame.format).planar
        if frame.format.name.replace("yuvj", "yuv") == wanted:
            return frame
        if self._reformatter is None:
            self._reformatter = require("av.video.reformatter", "decoding").VideoReformatter()
        range_ = FULL if wanted.startswith("gb") or coding_of(frame).full_range else LIMITED
        return self._reformatter.reformat(
            frame,
            format=wanted,
            src_color_range=range_,
            dst_color_range=range_,
            interpolation=EXACT,
        )

    def __call__(self, frame) -> tuple[list[np.ndarray], np.ndarray | None]:
        """The planes of a frame, not yet upright; views of its memory.

        Returns:
            Y, U, V, or Y, or R, G, B, each (h, w) uint8 or uint16; and alpha (H, W) or None.
        """
        storage = storage_of(frame.format)
        frame = self.repacked(frame)
        kind = np.dtype(np.uint8 if storage.bits == 8 else np.uint16)
        planes = []
        for plane in frame.planes:
            rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
            planes.append(rows[: plane.height])
        if storage.chroma == "gray":
            if not storage.has_alpha:
                return [planes[0][:, : frame.width]], None
            pairs = planes[0][:, : 2 * frame.width]
            return [pairs[:, ::2]], pairs[:, 1::2]
        planes = [rows[:, : plane.width] for rows, plane in zip(planes, frame.planes, strict=True)]
        alpha = planes[3] if storage.has_alpha else None
        if storage.chroma == "rgb":
            green, blue, red = planes[:3]
            return [red, green, blue], alpha
        return planes[:3], alpha


@dataclass(frozen=True)
class UprightPlanes:
    """How the stored planes of a source become upright ones.

    Attributes:
        layout: of the upright planes.
        orientation: how a stored image becomes upright.
        full_chroma: chroma is repeated to the size of luma first, where no format of FFmpeg has
            the turned subsampling, or a flip would move a chroma sample that an odd side cuts.
    """

    layout: FrameLayout
    orientation: Orientation = UPRIGHT
    full_chroma: bool = False

    @classmethod
    def of(cls, frame, orientation: Orientation) -> "UprightPlanes":
        """For a source of which this is the first frame (av.VideoFrame)."""
        storage = storage_of(frame.format)
        coding = YuvCoding() if storage.chroma == "rgb" else coding_of(frame)
        if orientation.transpose:  # what players assume depends on the number of lines
            coding = replace(coding, states_matrix=True)
        layout = FrameLayout(
            planar_format(storage.chroma, storage.bits),
            storage.bits,
            storage.chroma,
            storage.has_alpha,
            coding,
        )
        if storage.chroma not in FACTORS:
            return cls(layout, orientation)
        # a flip acts on the transposed image
        flip_x, flip_y = orientation.flip_x, orientation.flip_y
        if orientation.transpose:
            flip_x, flip_y = flip_y, flip_x
        across, down = FACTORS[storage.chroma]
        full = bool(flip_x and frame.width % across or flip_y and frame.height % down)
        chroma = storage.chroma
        if orientation.transpose:
            chroma = TRANSPOSED.get(chroma, "444" if chroma == "411" else chroma)
        full |= chroma == "444" and storage.chroma != "444"
        full |= storage.bits not in DEPTHS_OF.get(chroma, DEPTHS)
        chroma = "444" if full else chroma
        layout = replace(layout, pix_fmt=planar_format(chroma, storage.bits), chroma=chroma)
        return cls(layout, orientation, full)

    def __call__(self, planes: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Y, U, V or Y as stored -> copies that are upright."""
        if self.full_chroma:
            planes = [planes[0], *(repeated(plane, planes[0].shape) for plane in planes[1:])]
        # copies: the decoder reuses its memory
        return tuple(self.orientation.apply(plane).copy() for plane in planes)


def repeated(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A chroma plane at the size (H, W) of luma: every sample is repeated."""
    if plane.shape == size:
        return plane
    cv2 = require("cv2", "decoding a video")
    down, across = (
        1 << (-(-full // part) - 1).bit_length()
        for full, part in zip(size, plane.shape, strict=True)
    )
    whole = (plane.shape[1] * across, plane.shape[0] * down)
    return cv2.resize(plane, whole, interpolation=cv2.INTER_NEAREST)[: size[0], : size[1]]
