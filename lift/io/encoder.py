"""An encoder with the tags of the source: colour, pixel aspect and static HDR metadata."""

import io
import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lift.errors import LiftError
from lift.io.chroma_location import location_option
from lift.io.codecs import Encoding, container_holds
from lift.io.color import BT709, UNSPECIFIED
from lift.io.hdr import HdrMetadata
from lift.io.optional import require
from lift.io.rate_control import HARDWARE
from lift.io.to_yuv import pixel_format, tag, to_frame

PARAMS = {  # encoder: the option that holds its library's own parameters
    "libx264": "x264-params",
    "libx264rgb": "x264-params",
    "libx265": "x265-params",
    "libsvtav1": "svtav1-params",
}
FRAME_THREADS = {"libx264", "libx264rgb"}  # PyAV's default is slices, which cost quality
LARGEST = 1 << 30  # of the parts of a fraction that FFmpeg and SPS store in 32 bits


@dataclass(frozen=True)
class VideoTags:
    """What a video stream states beside its frames.

    Attributes:
        primaries, transfer: by their numbers in ISO/IEC 23091-2.
        aspect: width of a pixel over its height.
        hdr: mastering display and content light level, or None.
        stereo: FFmpeg's name of the packing of two views in a frame, or None.
        chroma_location: FFmpeg's name of where 4:2:0 chroma lies, or None.
    """

    primaries: int = BT709
    transfer: int = BT709
    aspect: Fraction = Fraction(1)
    hdr: HdrMetadata | None = None
    stereo: str | None = None
    chroma_location: str | None = None

    @classmethod
    def of(cls, source, pix_fmt: str = "yuv420p") -> "VideoTags":
        """Those of a source (VideoSource, FrameFolder or None) in an output of a pixel format.

        An untagged video stays untagged; images, and RGB that becomes YUV, have BT.709.
        """
        layout, chosen = getattr(source, "layout", None), pixel_format(pix_fmt)
        to_yuv = layout is None or (layout.is_rgb and chosen is not None and not chosen.is_rgb)
        untagged = BT709 if to_yuv else UNSPECIFIED
        primaries = getattr(source, "primaries", 0)
        transfer = getattr(source, "transfer", 0)
        return cls(
            primaries=untagged if primaries in (0, UNSPECIFIED) else primaries,
            transfer=untagged if transfer in (0, UNSPECIFIED) else transfer,
            aspect=Fraction(getattr(source, "aspect", 1)),
            hdr=getattr(source, "mastering", None),
            stereo=getattr(source, "stereo", None),
            chroma_location=getattr(source, "chroma_location", None),
        )


def add_encoder(
    container,
    encoding: Encoding,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction,
    tags: VideoTags,
):
    """Add a stream with its encoder to a container that is open for writing.

    Args:
        container: av.container.OutputContainer.
        size: width, height.
        rate: nominal frames per second.
        time_base: seconds of one tick of the frames' times.

    Returns:
        av.VideoStream; the encoder opens with the first frame.

    Raises:
        LiftError: this PyAV has no such encoder.
    """
    av = require("av", "encoding a video")
    params = encoding.params | _hdr_params(encoding.encoder, tags.hdr)
    chroma = pixel_format(encoding.pix_fmt).chroma
    options = encoding.options | location_option(encoding.encoder, chroma, tags.chroma_location)
    if params:
        options[PARAMS[encoding.encoder]] = ":".join(f"{k}={v}" for k, v in params.items())
    os.environ.setdefault("SVT_LOG", "1")  # else SVT-AV1 writes a page to stderr
    hardware = {}
    if encoding.encoder.endswith("_vaapi"):
        hardware["hwaccel"] = av.codec.hwaccel.HWAccel("vaapi")
    rate = Fraction(rate).limit_denominator(1001 if time_base == 1 / Fraction(rate) else 1 << 20)
    try:
        stream = container.add_stream(encoding.encoder, rate=rate, options=options, **hardware)
    except (ValueError, LookupError, RuntimeError, av.error.FFmpegError) as error:
        raise LiftError(
            f"{encoding.encoder}: cannot be used by this PyAV ({error}); choose another --codec"
        ) from error
    stream.width, stream.height = size
    stream.pix_fmt = encoding.pix_fmt
    codec = stream.codec_context
    codec.time_base = time_base
    if encoding.encoder in FRAME_THREADS:
        codec.thread_type = "FRAME"
    tag(codec, encoding.pix_fmt, encoding.coding)
    codec.color_primaries, codec.color_trc = tags.primaries, tags.transfer
    if tags.aspect != 1:
        codec.sample_aspect_ratio = tags.aspect
    return stream


def part_format(encoding: Encoding) -> str:
    """FFmpeg's name of the container of parts: Matroska, else the output's own."""
    return "matroska" if container_holds("matroska", encoding.codec) else encoding.container


def encoder_clock(encoding: Encoding, rate: Fraction, time_base: Fraction) -> Fraction | None:
    """Seconds of one tick where the encoder plans bits by the frames' times; None for the rest."""
    is_timed = encoding.encoder.startswith(("libx264", "libvpx"))
    if is_timed and max(time_base.numerator, time_base.denominator) <= LARGEST:
        return Fraction(time_base)
    return None


def probe(
    encoding: Encoding, size: tuple[int, int], rate: Fraction, tags: VideoTags | None = None
) -> io.BytesIO:
    """Encode one frame in memory, so that what cannot work fails before the first real frame.

    Args:
        encoding: from `choose_encoding`, or its `for_parts`.
        size: width, height.
        rate: nominal frames per second.

    Returns:
        A part with one frame, as a file in memory.

    Raises:
        LiftError: the encoder does not open (its hardware is missing, or it lacks this size, rate
            or option).
    """
    av = require("av", "encoding a video")
    file, (width, height) = io.BytesIO(), size
    frame = np.full((height, width, 3), 128, np.uint8)
    try:
        with av.open(file, "w", format=part_format(encoding)) as container:
            time_base = 1 / Fraction(rate).limit_denominator(1001)
            stream = add_encoder(
                container, encoding, size, 1 / time_base, time_base, tags or VideoTags()
            )
            video_frame = to_frame(frame, encoding.pix_fmt, encoding.coding)
            video_frame.pts, video_frame.time_base = 0, time_base
            packets = stream.encode(video_frame) + stream.encode(None)
            container.mux(packets)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise encoder_error(encoding, size, error) from error
    file.seek(0)
    return file


def encoder_error(encoding: Encoding, size: tuple[int, int], error: Exception) -> LiftError:
    """One sentence on an encoder that does not open."""
    name = encoding.encoder
    if name.endswith(HARDWARE):
        if "preset" in encoding.options and getattr(error, "errno", 0) == 22:  # EINVAL
            return LiftError(
                f"{name}: does not open; either it knows no preset "
                f"{encoding.options['preset']!r}, or this machine lacks the hardware or driver: "
                "choose another --preset, or --codec h264, hevc or av1"
            )
        return LiftError(
            f"{name}: this machine lacks the hardware or its driver ({_cause(error)}); "
            "choose --codec h264, hevc or av1, which need none"
        )
    return LiftError(
        f"{name}: does not take {encoding.pix_fmt} at {size[0]}x{size[1]} with these options "
        f"({_cause(error)}); choose another --codec, --pix_fmt, --preset or --crf"
    )


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# -- HDR -------------------------------------------------------------------------------------------


def _hdr_params(encoder: str, hdr: HdrMetadata | None) -> dict[str, str]:
    """Parameters by which an encoder writes HDR metadata into its own stream."""
    if hdr is None or encoder not in PARAMS:
        return {}
    params = {}
    colours = (hdr.green, hdr.blue, hdr.red, hdr.white, hdr.max_luminance, hdr.min_luminance)
    if None not in colours:
        # integers in units of 0.00002 and 0.0001 cd/m^2; SVT-AV1 takes the numbers themselves
        is_av1 = encoder == "libsvtav1"
        values = []
        for chromaticity in colours[:4]:
            values += [_number(value, 1 if is_av1 else 50000) for value in chromaticity]
        luminances = [_number(value, 1 if is_av1 else 10000) for value in colours[4:]]
        points = zip(("G", "B", "R", "WP"), values[::2], values[1::2], strict=True)
        text = "".join(f"{name}({x},{y})" for name, x, y in points)
        display = f"{text}L({','.join(luminances)})"
        params["master-display" if encoder == "libx265" else "mastering-display"] = display
    if hdr.max_cll is not None:
        key = {"libx265": "max-cll", "libsvtav1": "content-light"}.get(encoder, "cll")
        params[key] = f"{hdr.max_cll},{hdr.max_fall or 0}"
    if params and encoder == "libx265":
        params["hdr10"] = "1"
    return params


def _number(value: Fraction, units: int) -> str:
    return f"{float(value):.6f}" if units == 1 else str(round(value * units))
