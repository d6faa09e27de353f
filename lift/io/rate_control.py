"""Quality and speed of an encoder: what `--crf` and `--preset` become in its own options.

crf is the constant rate factor of x264, x265, VP9 and AV1. Encoders in hardware and older ones have
a similar number under another name, which gets the value as it is.
"""

from dataclasses import dataclass, field

import torch

from lift.config import InferenceConfig
from lift.errors import LiftError

X26X_PRESETS = tuple(
    "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo".split()
)
# a part must come out the same on every machine, and the number of threads changes what these write
X264_THREADS, X265_THREADS, SLICE_THREADS = 8, 3, 4
# visually near lossless, as 17 is for x264
CRF = {
    "libx264": InferenceConfig.crf,
    "libx264rgb": InferenceConfig.crf,
    "libx265": 19,
    "libvpx-vp9": 22,
    "libvpx": 10,
    "libsvtav1": 20,
    "libaom-av1": 20,
}
# x264's code for AVX-512 plans bits differently from run to run: a resumed job would not equal an
# unbroken one
WITHOUT_AVX512 = "MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
CRF_MAX = {"libx264": 51, "libx264rgb": 51, "libx265": 51} | dict.fromkeys(
    ("libvpx-vp9", "libvpx", "libsvtav1", "libaom-av1"), 63
)
HARDWARE = ("_nvenc", "_qsv", "_vaapi", "_amf", "_videotoolbox", "_v4l2m2m", "_mf", "_vulkan")
HARDWARE_CRF = 19
QSCALE = ("mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "msmpeg4", "wmv2", "flv", "h263p", "ljpeg")
QSCALE_DEFAULT, LAMBDA = 2, 118  # FFmpeg's units of one step
LOSSLESS = ("ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "apng", "png", "gif", "qtrle")
WEBP_QUALITY = 90


@dataclass
class Quality:
    """Options of an encoder.

    Attributes:
        options: as FFmpeg names them.
        params: of the library behind it (x264-params, x265-params, svtav1-params).
        is_lossless: the frames that go in come out.
        notes: sentences for the user.
    """

    options: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    is_lossless: bool = False
    notes: list[str] = field(default_factory=list)


def quality_of(encoder: str, crf: int | None, preset: str | None) -> Quality:
    """The options that `crf` and `preset` mean.

    Args:
        encoder: FFmpeg's name.
        crf: 0 is lossless where the encoder can; None for a value that is visually near lossless.
        preset: the encoder's own name of a speed; None for its default.

    Raises:
        LiftError: crf out of range, or an encoder without it; an unknown preset.
    """
    result = Quality()
    _check_crf(encoder, crf)
    _set_preset(result.options, encoder, preset)
    if encoder in LOSSLESS:
        result.is_lossless = encoder != "gif"
        if encoder == "ffv1":
            result.options |= {"level": "3", "slicecrc": "1"}
    elif encoder in CRF:
        _set_crf(result, encoder, CRF[encoder] if crf is None else crf)
    elif encoder.endswith(HARDWARE):
        _set_hardware_quality(result, encoder, HARDWARE_CRF if crf is None else crf)
    elif encoder in QSCALE:
        step = max(1, QSCALE_DEFAULT if crf is None else crf)
        result.options |= {"flags": "+qscale", "global_quality": str(step * LAMBDA)}
        result.options["threads"] = str(SLICE_THREADS)
        if crf == 0:
            result.notes.append(_never_lossless(encoder))
    elif encoder.startswith("libwebp"):
        result.is_lossless = crf == 0
        quality = WEBP_QUALITY if crf is None else 100 - crf
        result.options |= {"lossless": "1"} if crf == 0 else {"quality": str(quality)}
    elif crf is not None:
        raise LiftError(
            f"{encoder}: has no constant rate factor; leave --crf out, its quality is fixed by "
            "the pixel format, or choose --codec h264, hevc, vp9 or av1"
        )
    return result


def _check_crf(encoder: str, crf: int | None) -> None:
    if crf is None:
        return
    if encoder in LOSSLESS and crf != 0:
        raise LiftError(
            f"{encoder}: has no quality to choose, so crf {crf} means nothing; leave --crf out, "
            "or choose --codec h264, hevc, vp9 or av1"
        )
    top = CRF_MAX.get(encoder, 31 if encoder in QSCALE else 100 if "webp" in encoder else 51)
    if not 0 <= crf <= top:
        raise LiftError(f"crf must be 0 (lossless) to {top} (worst) for {encoder}, got {crf}")


def _set_preset(options: dict[str, str], encoder: str, preset: str | None) -> None:
    if preset is None:
        if encoder == "libsvtav1":
            options["preset"] = "6"
        elif encoder == "libvpx-vp9":
            options["cpu-used"] = "2"
        return
    choices = None
    if encoder in ("libx264", "libx264rgb", "libx265"):
        choices = X26X_PRESETS
    elif encoder == "libsvtav1":
        choices = tuple(map(str, range(14)))
    elif encoder in ("libvpx-vp9", "libvpx"):
        choices = tuple(map(str, range(9)))
    elif not encoder.endswith(HARDWARE) and "webp" not in encoder:
        raise LiftError(f"{encoder}: has no presets; leave --preset out")
    if choices is not None and preset not in choices:
        raise LiftError(f"{encoder}: unknown preset {preset!r}; choose one of {', '.join(choices)}")
    options["cpu-used" if encoder.startswith("libvpx") else "preset"] = preset


def _set_crf(result: Quality, encoder: str, crf: int) -> None:
    options, params = result.options, result.params
    result.is_lossless = crf == 0 and encoder != "libvpx"
    if encoder.startswith("libx264"):
        # crf 0 is lossless for 8 bits only, qp 0 for all
        options |= {"qp": "0"} if crf == 0 else {"crf": str(crf)}
        options["threads"] = str(X264_THREADS)
        params["open-gop"] = "0"
        if torch.backends.cpu.get_cpu_capability() == "AVX512":
            params["asm"] = WITHOUT_AVX512
    elif encoder == "libx265":
        options |= {} if crf == 0 else {"crf": str(crf)}
        params |= {"open-gop": "0", "frame-threads": str(X265_THREADS), "log-level": "none"}
        params["info"] = "0"  # a text on the machine's threads
        params |= {"lossless": "1"} if crf == 0 else {}
    elif encoder.startswith("libvpx"):
        options |= {"crf": str(crf), "b": "0"}
        if encoder == "libvpx":  # VP8 has no mode without a bit rate
            options |= {"b": "100M", "qmin": "0", "auto-alt-ref": "0"}
            if crf == 0:
                result.notes.append(_never_lossless(encoder))
        else:
            options |= {"row-mt": "1", "lossless": "1" if crf == 0 else "0"}
    elif encoder == "libsvtav1":
        options["crf"] = str(crf)
        params |= {"lossless": "1"} if crf == 0 else {}
    else:
        options |= {"crf": str(crf), "b": "0"}
        if crf == 0:
            options["aom-params"] = "lossless=1"


def _set_hardware_quality(result: Quality, encoder: str, crf: int) -> None:
    options, value = result.options, str(crf)
    if encoder.endswith("_nvenc"):
        if crf == 0 and encoder != "av1_nvenc":
            options["tune"] = "lossless"
            result.is_lossless = True
        else:
            options |= {"rc": "vbr", "cq": str(max(crf, 1)), "b": "0"}
        options["forced-idr"] = "1"
    elif encoder.endswith("_qsv"):
        options["global_quality"] = str(max(crf, 1))
    elif encoder.endswith(("_vaapi", "_vulkan")):
        options |= {"rc_mode": "CQP" if encoder.endswith("_vaapi") else "cqp", "qp": value}
    elif encoder.endswith("_amf"):
        options |= {"rc": "cqp", "qp_i": value, "qp_p": value}
    elif encoder.endswith("_videotoolbox"):  # quality from 1 to 100, the best
        quality = max(1, 100 - round(crf * 99 / 51))
        options |= {"flags": "+qscale", "global_quality": str(quality * LAMBDA)}
    if crf == 0 and not result.is_lossless:
        result.notes.append(_never_lossless(encoder))


def _never_lossless(encoder: str) -> str:
    return (
        f"{encoder} is not lossless at crf 0, but as good as it can be; "
        "--codec h264, hevc, vp9 or ffv1 are lossless"
    )
