"""How an output video is encoded: the codec, its pixel format and its options.

The default keeps what the source has (depth, chroma, alpha, matrix and range) in the codec that the
container is usually played with. Where an encoder lacks something, the nearest is taken, and a note
says so; what contradicts itself is refused.
"""

import io
from dataclasses import dataclass, field, replace

from lift.errors import LiftError
from lift.io.color import FrameLayout, YuvCoding
from lift.io.optional import require
from lift.io.output_coding import output_coding
from lift.io.rate_control import HARDWARE, LOSSLESS, quality_of
from lift.io.to_yuv import PixelFormat, pixel_format

CONTAINERS = {  # suffix: FFmpeg's name of the format
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
    ".gif": "gif",
    ".webp": "webp",
    ".apng": "apng",
    ".png": "apng",
}
ANIMATIONS = {"gif": "gif", "webp": "libwebp_anim", "apng": "apng"}
ENCODERS = {  # short name: encoders, the first that this PyAV has
    "h264": ("libx264",),
    "avc": ("libx264",),
    "x264": ("libx264",),
    "hevc": ("libx265",),
    "h265": ("libx265",),
    "x265": ("libx265",),
    "av1": ("libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
    "vp8": ("libvpx",),
    "prores": ("prores_ks",),
    "dnxhr": ("dnxhd",),
    "mpeg2": ("mpeg2video",),
    "webp": ("libwebp_anim",),
}
# FFmpeg states no list for MPEG-TS: it would write others as private data, which nothing plays
IN_MPEGTS = {"h264", "hevc", "mpeg1video", "mpeg2video", "vvc"}
NOT_IN_MOV = ("av1", "vp8", "vp9")  # FFmpeg writes them to MP4 alone
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # by their numbers in ISO/IEC 23091-2
ODD_420 = {"libvpx-vp9", "libvpx", "libsvtav1", "libaom-av1", "ffv1", "mjpeg"}
ODD_420 |= {"prores_ks", "mpeg4", "mpeg2video"}
# which an encoder lists and does not open with
REFUSED_FORMATS = {"libvpx-vp9": ("yuva422p", "yuva440p", "yuva444p")}
STORES_GRAY = {"ffv1", "ffvhuff", "apng", "png", "magicyuv", "jpeg2000"}
ALPHA_HINT = "alpha is kept in .mov (ProRes 4444), .webm and .mkv (VP9), .apng, .webp and .gif"


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        pix_fmt: FFmpeg's name of the pixel format that it gets.
        options: of the encoder.
        params: of the library behind it, as in x265-params.
        notes: sentences on what differs from the source.
        is_lossless: frames of the source come out as they went in.
        coding: matrix and range of the output.
        container: FFmpeg's name of the output's format.
        tag: four letters by which MP4 and MOV name the codec; None for FFmpeg's choice.
    """

    encoder: str
    pix_fmt: str
    options: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_lossless: bool = False
    coding: YuvCoding = YuvCoding()
    container: str = "matroska"
    params: dict[str, str] = field(default_factory=dict)
    tag: str | None = None

    @property
    def is_animation(self) -> bool:
        """GIF, WebP and APNG: see lift/io/animation.py; parts are encoded by `for_parts`."""
        return self.container in ANIMATIONS

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, whichever encoder writes it: h264."""
        return _encoder(self.encoder).canonical_name

    @property
    def has_alpha(self) -> bool:
        """The pixel format has alpha (one level of it in GIF)."""
        layout = pixel_format(self.pix_fmt)
        return self.encoder == "gif" or (layout is not None and layout.has_alpha)

    def for_parts(self, layout: FrameLayout) -> "Encoding":
        """The encoding of parts: this one; lossless FFV1 in RGB for an animation."""
        if not self.is_animation:
            return self
        deep = layout.bits > 8 and self.encoder == "apng"
        pix_fmt = ("gbrap16le" if deep else "bgra") if layout.has_alpha else None
        pix_fmt = pix_fmt or ("gbrp16le" if deep else "bgr0")
        quality = quality_of("ffv1", None, None)
        return replace(
            self,
            encoder="ffv1",
            pix_fmt=pix_fmt,
            options=quality.options,
            params={},
            container="matroska",
            notes=(),
            is_lossless=True,
        )


def choose_encoding(
    suffix: str,
    layout: FrameLayout,
    *,
    size: tuple[int, int] | None = None,
    source_codec: str | None = None,
    transfer: int = 2,
    primaries: int = 2,
    codec: str | None = None,
    pix_fmt: str | None = None,
    preset: str | None = None,
    crf: int | None = None,
) -> Encoding:
    """Choose the encoder, the pixel format and the options of an output.

    Args:
        suffix: of the output: .mp4, .m4v, .mov, .mkv, .webm, .avi, .ts, .m2ts, .gif, .webp, .apng.
        layout: of the source's frames.
        size: width and height; odd sides are taken as even where it is None.
        source_codec: FFmpeg's name of the source's codec.
        transfer, primaries: colour tags of the source (ISO/IEC 23091-2); PQ and HLG are written
            as HEVC.
        codec: h264, hevc, av1, vp9, vp8, prores, ffv1, mjpeg ... or any video encoder of FFmpeg
            that this PyAV has, for example hevc_nvenc; None for the container's usual one.
        pix_fmt: FFmpeg's name; None for the nearest to the source's.
        preset: speed, as the encoder names it; VP9 and AV1 number it.
        crf: constant rate factor, 0 is lossless; None for one that is visually near lossless (17
            for x264).

    Raises:
        LiftError: the container cannot hold the codec, the encoder lacks the pixel format, an
            unknown name, or a crf or preset that the encoder does not have.
    """
    container = CONTAINERS.get(suffix.lower())
    if container is None:
        raise LiftError(
            f"{suffix or 'no suffix'}: not a video that can be written; "
            f"choose one of {', '.join(CONTAINERS)}"
        )
    notes: list[str] = []
    name = codec or _default_codec(
        container, layout, transfer=transfer, source_codec=source_codec, crf=crf, notes=notes
    )
    encoder = _encoder_name(name, container)
    _check_container(encoder, container, suffix)
    chosen = _choose_pix_fmt(encoder, layout, size, pix_fmt, notes)
    quality = quality_of(encoder, crf, preset)
    notes += quality.notes
    coding = output_coding(
        layout, _codec(encoder), container, chosen, size, transfer=transfer, primaries=primaries
    )
    if coding != layout.coding and not layout.is_rgb:
        what = "full range" if coding.matrix == layout.coding.matrix else "the matrix"
        notes.append(f"{what} is converted: {_codec(encoder)} in {suffix} cannot state it")
    if layout.bits > 16:
        notes.append(
            "scene-linear frames are written with the sRGB curve, white and above as white"
        )
    is_lossless = quality.is_lossless and _keeps_all(chosen, layout, coding)
    if quality.is_lossless and not is_lossless and crf == 0 and layout.is_rgb:
        notes.append(
            f"RGB is converted to {chosen}, so the output is not lossless; "
            "choose --codec ffv1 in .mkv, which stores RGB"
        )
    elif quality.is_lossless and not is_lossless and crf == 0:
        notes.append(
            f"{layout.pix_fmt} is converted to {chosen}, so the output is not lossless; "
            "--codec ffv1 in .mkv keeps the most formats"
        )
    if transfer in HDR_TRANSFERS and (pixel_format(chosen) or PixelFormat("", 8)).bits < 10:
        notes.append(f"HDR in {chosen}: 8 bits show steps in gradients; HEVC has 10 bits")
    options = quality.options | _special_options(encoder, chosen, container)
    return Encoding(
        encoder=encoder,
        pix_fmt=chosen,
        options=options,
        params=quality.params,
        notes=tuple(notes),
        is_lossless=is_lossless,
        coding=coding,
        container=container,
        tag=_tag(encoder, chosen, container),
    )


# -- codec -----------------------------------------------------------------------------------------


def _default_codec(container, layout, *, transfer, source_codec, crf, notes) -> str:
    is_deep = layout.bits > 8 or transfer in HDR_TRANSFERS
    if container in ANIMATIONS:
        return ANIMATIONS[container]
    if container == "webm":
        if not is_deep or layout.has_alpha or _has_deep(_encoder_name("vp9", container)):
            return "vp9"
        notes.append("AV1 instead of VP9, whose encoder here has 8 bits only")
        return "av1"
    if container == "mov" and (layout.has_alpha or source_codec == "prores"):
        return "prores"
    if container == "matroska" and layout.has_alpha:
        # FFV1 keeps depth and RGB as they are; 8-bit alpha plays in more places as VP9
        return "ffv1" if layout.bits > 8 or (crf == 0 and layout.is_rgb) else "vp9"
    if container == "avi":  # FFmpeg writes no HEVC there
        return "h264"
    return "hevc" if is_deep else "h264"


def _encoder(name: str):
    """av.Codec of an encoder of video; None where this PyAV has none of that name."""
    av = require("av", "encoding a video")
    try:
        codec = av.Codec(name, "w")
    except (ValueError, LookupError, av.error.FFmpegError):
        return None
    return codec if codec.type == "video" else None


def _codec(encoder: str) -> str:
    return _encoder(encoder).canonical_name


def _encoder_name(name: str, container: str) -> str:
    if container == "apng" and name.lower() == "png":
        return "apng"
    candidates = ENCODERS.get(name.lower(), (name.lower(),))
    for candidate in candidates:
        if container == "webp" and candidate == "libwebp":
            candidate = "libwebp_anim"
        if _encoder(candidate) is not None:
            return candidate
    if name.lower() in ENCODERS or name.lower().endswith(HARDWARE):
        raise LiftError(
            f"this PyAV has no encoder {candidates[0]}; install PyAV's own wheel "
            "(pip install av), or choose another --codec"
        )
    known = "h264, hevc, av1, vp9, vp8, prores, ffv1, mjpeg, gif, webp, apng"
    raise LiftError(f"unknown codec {name!r}; choose one of {known}, or a video encoder of FFmpeg")


def container_holds(container: str, codec: str) -> bool:
    """Whether FFmpeg writes a codec into a container.

    Args:
        container: FFmpeg's name of the format (matroska).
        codec: FFmpeg's name of the codec (h264).
    """
    if container == "mpegts":
        return codec in IN_MPEGTS
    if container == "mov" and codec in NOT_IN_MOV:
        return False
    if container == "apng":
        return codec == "apng"
    av = require("av", "encoding a video")
    return codec in av.open(io.BytesIO(), "w", format=container).supported_codecs


def _check_container(encoder: str, container: str, suffix: str) -> None:
    codec = _codec(encoder)
    if container_holds(container, codec):
        return
    others = [s for s, c in CONTAINERS.items() if c != container and container_holds(c, codec)]
    fitting = [
        name
        for name in ("h264", "hevc", "vp9", "av1", "prores", "ffv1", "gif", "webp", "apng")
        if container_holds(container, name)
    ]
    remedy = f"choose --codec {' or '.join(fitting)}" if fitting else "leave --codec out"
    if others:
        remedy += f", or a name that ends in {' or '.join(dict.fromkeys(others))}"
    raise LiftError(f"{suffix} files hold no {codec}; {remedy}")


# -- pixel format ----------------------------------------------------------------------------------


def _supported(encoder: str) -> list[str]:
    """Pixel formats of an encoder that frames can be converted to, in its order."""
    names = [layout.name for layout in _encoder(encoder).video_formats or []]
    refused = REFUSED_FORMATS.get(encoder, ())
    return [
        name
        for name in names
        if pixel_format(name) and not name.startswith("yuvj") and name not in refused
    ]


def _has_deep(encoder: str) -> bool:
    return any(pixel_format(name).bits > 8 for name in _supported(encoder))


def _choose_pix_fmt(encoder, layout, size, wanted: str | None, notes: list[str]) -> str:
    if encoder == "gif":
        if wanted not in (None, "pal8"):
            raise LiftError(f"gif: has no pixel format {wanted}; leave --pix_fmt out")
        if layout.has_alpha:
            notes.append("GIF has no half-transparent pixels: alpha is rounded to on or off")
        return "pal8"
    supported = _supported(encoder)
    if encoder == "libwebp_anim":  # the library converts to YUV itself, better than FFmpeg would
        supported = ["bgra"]
    if not supported:
        raise LiftError(f"{encoder}: states no pixel format that can be written; choose another")
    odd_x, odd_y = (side % 2 == 1 for side in size) if size else (False, False)
    if wanted is not None:
        wanted = wanted.replace("yuvj", "yuv")
        if wanted not in supported:
            raise LiftError(
                f"{encoder}: has no pixel format {wanted}; choose one of {', '.join(supported)}"
            )
        if not _fits_odd(encoder, pixel_format(wanted), odd_x, odd_y):
            raise LiftError(
                f"{encoder}: writes no {wanted} of {size[0]}x{size[1]}, whose chroma would have "
                "half a pixel; choose a pixel format with 444, or leave --pix_fmt out"
            )
        _alpha_note(encoder, layout, pixel_format(wanted), notes)
        if pixel_format(wanted).bits < min(layout.bits, 16):
            notes.append(
                f"{wanted} has {pixel_format(wanted).bits} bits, the source has {layout.bits}"
            )
        return wanted
    goal = _goal(encoder, layout)
    candidates = [pixel_format(name) for name in supported]
    fitting = [c for c in candidates if _fits_odd(encoder, c, odd_x, odd_y)]
    if not fitting:
        raise LiftError(
            f"{encoder}: writes no odd sides ({size[0]}x{size[1]}); choose --codec h264 or ffv1"
        )
    best = min(fitting, key=lambda c: _distance(goal, c))
    free = min(candidates, key=lambda c: _distance(goal, c))
    if best.name != free.name:
        notes.append(
            f"odd sides ({size[0]}x{size[1]}) need full chroma ({best.name}) in {encoder}, "
            "which some hardware players do not support"
        )
    if best.bits < goal.bits and not layout.bits > 16:
        notes.append(f"{encoder} has {best.bits} bits at most here: the source has {layout.bits}")
    has_yuv = not (goal.is_rgb or best.is_rgb)
    if has_yuv and (best.sub_x > goal.sub_x or best.sub_y > goal.sub_y):
        notes.append(
            f"{encoder} has chroma {best.chroma} at most here: the source has {goal.chroma}"
        )
    if best.is_rgb and not layout.is_rgb and encoder not in ("apng", "libwebp_anim"):
        notes.append(f"{encoder} stores RGB: the source's YUV is converted")
    _alpha_note(encoder, layout, best, notes)
    return best.name


def _alpha_note(encoder, layout: FrameLayout, chosen: PixelFormat, notes: list[str]) -> None:
    if layout.has_alpha and not chosen.has_alpha:
        notes.append(f"{encoder} writes no alpha here, it is left out; {ALPHA_HINT}")


def _goal(encoder: str, layout: FrameLayout) -> PixelFormat:
    """The format that would keep all that the encoder is expected to keep."""
    chroma = layout.chroma
    bits = min(layout.bits, 16)
    if layout.is_rgb:
        stores_rgb = encoder in LOSSLESS or encoder.startswith(("libwebp", "libx264rgb"))
        if not stores_rgb:
            chroma = "444" if encoder.startswith("prores") else "420"
    elif chroma == "gray" and encoder not in STORES_GRAY:
        chroma = "420"  # grey H.264 is played by few
    if encoder.startswith(("libx264", "libx265")):
        bits = min(bits, 12)  # 16-bit sources: as deep as HEVC goes, without a note
    sizes = {"420": (2, 2), "422": (2, 1), "440": (1, 2), "411": (4, 1), "410": (4, 4)}
    sub_x, sub_y = sizes.get(chroma, (1, 1))
    return PixelFormat(
        name=layout.pix_fmt,
        bits=bits,
        sub_x=sub_x,
        sub_y=sub_y,
        is_rgb=chroma == "rgb",
        is_gray=chroma == "gray",
        has_alpha=layout.has_alpha and encoder != "libx265",  # few decode its second layer
    )


def _fits_odd(encoder: str, layout: PixelFormat, odd_x: bool, odd_y: bool) -> bool:
    if encoder in ODD_420:
        return True
    return not (odd_x and layout.sub_x > 1 or odd_y and layout.sub_y > 1)


def _distance(goal: PixelFormat, candidate: PixelFormat) -> tuple:
    """Smaller is nearer: first what would be lost, then what would be wasted."""
    colour_lost = candidate.is_gray and not goal.is_gray
    chroma_lost = max(0, candidate.sub_x - goal.sub_x) + max(0, candidate.sub_y - goal.sub_y)
    chroma_waste = max(0, goal.sub_x - candidate.sub_x) + max(0, goal.sub_y - candidate.sub_y)
    return (
        colour_lost,
        goal.has_alpha and not candidate.has_alpha,
        candidate.is_rgb != goal.is_rgb,
        max(0, goal.bits - candidate.bits),
        chroma_lost,
        candidate.has_alpha and not goal.has_alpha,
        candidate.is_gray != goal.is_gray,
        candidate.bits - goal.bits,
        chroma_waste,
        candidate.is_semi_planar,
        candidate.is_big_endian,
    )


# -- the rest --------------------------------------------------------------------------------------


def _keeps_all(pix_fmt: str, layout: FrameLayout, coding: YuvCoding) -> bool:
    """A lossless encoder gets every sample of the source as it is, or with room to spare."""
    chosen = pixel_format(pix_fmt)
    if chosen is None or chosen.is_rgb != layout.is_rgb:
        return False
    if layout.bits > chosen.bits or (layout.has_alpha and not chosen.has_alpha):
        return False
    if not layout.is_rgb and coding != layout.coding:
        return False
    return layout.is_rgb or layout.chroma in (chosen.chroma, "gray")


def _tag(encoder: str, pix_fmt: str, container: str) -> str | None:
    """The codec's name in MP4 and MOV, where players look for another than FFmpeg's first."""
    codec = _codec(encoder)
    if container not in ("mp4", "mov"):
        return None
    if codec == "prores":
        return "ap4h" if pixel_format(pix_fmt).chroma == "444" else "apch"
    return {"hevc": "hvc1", "dnxhd": "AVdh"}.get(codec)


def _special_options(encoder: str, pix_fmt: str, container: str) -> dict[str, str]:
    """Options that a codec needs for a pixel format or a container."""
    layout = pixel_format(pix_fmt)
    if encoder.startswith("prores"):
        full = layout.chroma == "444"
        options = {"profile": "4444" if full else "hq", "vendor": "apl0"}
        if encoder == "prores_ks" and full:
            options["alpha_bits"] = "16" if layout.has_alpha else "0"
        return options
    if encoder == "dnxhd":
        deep = "dnxhr_444" if layout.chroma in ("444", "rgb") else "dnxhr_hqx"
        return {"profile": deep if layout.bits > 8 else "dnxhr_hq"}
    if encoder.startswith("libvpx") and layout.has_alpha:
        return {"auto-alt-ref": "0"}
    if container == "avi" and encoder in ("libx264", "libx265"):
        return {"bf": "0"}  # AVI has no times of display
    return {}
