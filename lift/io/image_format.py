"""How frames are written as image files: the kind of file, its depth, alpha and quality."""

from dataclasses import dataclass

import numpy as np

from lift.errors import LiftError
from lift.io.bit_depth import with_depth
from lift.io.decoded_frame import DecodedFrame
from lift.io.ffmpeg_images import encode_exr, encode_tiff
from lift.io.optional import require

EIGHT, SIXTEEN, LINEAR = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)
DEPTHS = {  # of each kind of file, from shallow to deep
    "png": (EIGHT, SIXTEEN),
    "jpg": (EIGHT,),
    "tif": (EIGHT, SIXTEEN, LINEAR),
    "exr": (LINEAR,),
    "webp": (EIGHT,),
    "bmp": (EIGHT,),
}
FORMATS = tuple(DEPTHS)
WITH_ALPHA = ("png", "tif", "exr", "webp")
WITH_QUALITY = ("jpg", "webp")
SYNONYMS = {"jpeg": "jpg", "tiff": "tif"}
JPEG_QUALITY = 95
LOSSLESS = 101  # WebP's quality, by OpenCV
BITS = {EIGHT: "8 bits", SIXTEEN: "16 bits", LINEAR: "scene-linear floating point"}


@dataclass(frozen=True)
class ImageFormat:
    """A kind of image file.

    Attributes:
        name: one of FORMATS.
        quality: of jpg (95 where None) and webp (lossless where None), 1 to 100.

    Raises:
        LiftError: an unknown name, a quality that is out of range or of a lossless kind.
    """

    name: str = "png"
    quality: int | None = None

    def __post_init__(self):
        name = self.name.lower().removeprefix(".")
        object.__setattr__(self, "name", SYNONYMS.get(name, name))
        if self.name not in FORMATS:
            raise LiftError(
                f"--format {self.name}: images are written as {', '.join(FORMATS)}; "
                "choose one of these"
            )
        if self.quality is not None and self.name not in WITH_QUALITY:
            raise LiftError(f"{self.name} images have no quality; leave --quality out")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise LiftError(f"the quality must be 1 (worst) to 100, got {self.quality}")

    @classmethod
    def choose(
        cls,
        name: str | None = None,
        quality: int | None = None,
        kind: np.dtype | type = np.uint8,
    ) -> "ImageFormat":
        """The kind that was asked for, or png; exr where frames are scene-linear (float32)."""
        default = "exr" if np.dtype(kind) == LINEAR else "png"
        return cls(default if name is None else name, quality)

    @property
    def suffix(self) -> str:
        """Ending of the files' names, such as ".png"."""
        return "." + self.name

    @property
    def has_alpha(self) -> bool:
        """Whether such files hold alpha."""
        return self.name in WITH_ALPHA

    def depth(self, kind: np.dtype | type) -> np.dtype:
        """The dtype in which pixels of dtype `kind` are stored: the same, or the nearest one."""
        depths = DEPTHS[self.name]
        return np.dtype(kind) if np.dtype(kind) in depths else depths[-1]

    def notes(self, kind: np.dtype | type, has_alpha: bool) -> list[str]:
        """Sentences on what files of this kind lose of such frames."""
        kind, notes = np.dtype(kind), []
        stored = self.depth(kind)
        if kind == LINEAR != stored:
            notes.append(
                f"{self.name} holds no linear light: frames are converted to sRGB with "
                f"{BITS[stored]}, and what is brighter than white is clipped; exr or tif keep it"
            )
        elif stored.itemsize < kind.itemsize:
            notes.append(
                f"{self.name} holds {BITS[stored]}: the {BITS[kind]} of the frames are rounded; "
                "png or tif keep them"
            )
        elif kind != LINEAR == stored:
            notes.append(f"{self.name} holds linear light: frames are converted from sRGB")
        if has_alpha and not self.has_alpha:
            notes.append(
                f"{self.name} holds no alpha, which is left out; {', '.join(WITH_ALPHA)} keep it"
            )
        return notes

    def encode(self, frame: DecodedFrame) -> bytes:
        """A frame as a file; only what `notes` states is lost.

        Raises:
            LiftError: the kind does not hold an image of this size.
        """
        cv2 = require("cv2", "writing an image")
        frame = with_depth(frame, self.depth(frame.rgb.dtype))
        alpha = frame.alpha if self.has_alpha else None
        if self.name == "exr":
            return encode_exr(frame.rgb, alpha)
        if self.name == "tif" and alpha is not None and frame.rgb.dtype != LINEAR:
            return encode_tiff(frame.rgb, alpha)
        pixels = frame.rgb[..., ::-1]
        pixels = np.ascontiguousarray(pixels if alpha is None else np.dstack([pixels, alpha]))
        try:
            written, data = cv2.imencode(self.suffix, pixels, self._options(cv2))
        except cv2.error:
            written = False
        if not written:
            height, width = pixels.shape[:2]
            raise LiftError(
                f"an image of {width}x{height} cannot be written as {self.name}; "
                "choose another --format"
            )
        return data.tobytes()

    def _options(self, cv2) -> list[int]:
        if self.name == "jpg":
            quality = JPEG_QUALITY if self.quality is None else self.quality
            full_chroma = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
            return [
                *(cv2.IMWRITE_JPEG_QUALITY, quality),
                *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full_chroma),
            ]
        if self.name == "webp":
            quality = LOSSLESS if self.quality is None else self.quality
            exact = getattr(cv2, "IMWRITE_WEBP_LOSSLESS_MODE", None)  # colours under alpha of 0
            mode = [] if exact is None or quality != LOSSLESS else [exact, 2]
            return [cv2.IMWRITE_WEBP_QUALITY, quality, *mode]
        return []
