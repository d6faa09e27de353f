"""What the name of an output asks for, and whether it may be written."""

import os
import stat
from pathlib import Path

from lift.errors import LiftError
from lift.files import write_error
from lift.io.images import IMAGE_SUFFIXES

ANIMATIONS = (".gif", ".webp", ".apng")
OUTPUT_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".ts",
    ".m2ts",
    ".mts",
    ".avi",
    *ANIMATIONS,
)
# suffixes of files that a user may expect and that are not written; any other one, as in run_v1.5,
# is part of a folder's name
REFUSED_SUFFIXES = (
    *IMAGE_SUFFIXES,
    *".heic .heif .avif .jxl .jp2 .dpx .tga .gifv .psd".split(),
    *".wmv .flv .ogv .mpg .mpeg .vob .y4m .3gp .mxf .asf .rm .nut".split(),
    *".3g2 .dv .f4v .ivf .m2t .m2v .mj2 .mpe .mpv .ogg .ogm .qt .rmvb .h264 .h265 .hevc".split(),
    *".txt .json .mp3 .wav .m4a .zip .tar .gz".split(),
)


def is_video_name(path: Path) -> bool:
    """Whether `path` asks for a video or an animated image (else a folder of frames).

    Raises:
        LiftError: a suffix that is neither.
    """
    suffix = path.suffix.lower()
    if suffix in OUTPUT_SUFFIXES:
        if path.is_dir():
            raise LiftError(
                f"{path}: is a folder; give a file name, or a folder name without {suffix}"
            )
        return True
    if suffix in REFUSED_SUFFIXES and not path.is_dir():
        raise LiftError(
            f"{path}: videos are written as {', '.join(OUTPUT_SUFFIXES)}; "
            "a name without a suffix gives a folder of frames"
        )
    return False


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Check that writing `path` replaces nothing but an earlier output, and that only on request.

    Raises:
        LiftError: `path` exists and `overwrite` is false, it is a folder with more than images, a
            device, or a file where the name asks for a folder, or it can be no name.
    """
    try:
        if path.is_dir():
            _refuse_folder(path, overwrite)
        elif os.path.lexists(path):
            _refuse_file(path, overwrite)
    except OSError as error:  # a name that is too long
        raise write_error(path, error) from error


def _refuse_folder(path: Path, overwrite: bool) -> None:
    entries = [p for p in path.iterdir() if not p.name.startswith(".")]
    others = [p for p in entries if p.suffix.lower() not in IMAGE_SUFFIXES or p.is_dir()]
    if others:
        raise LiftError(
            f"{path}: this folder holds more than frames ({others[0].name}); choose a new folder"
        )
    if entries and not overwrite:
        raise LiftError(
            f"{path}: this folder is not empty; choose a new one, or pass --overwrite to replace it"
        )


def _refuse_file(path: Path, overwrite: bool) -> None:
    mode = path.stat().st_mode if path.exists() else stat.S_IFREG  # or a link to nowhere
    if not stat.S_ISREG(mode):
        raise LiftError(f"{path}: is no file but a device; choose a new name, or - for a pipe")
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise LiftError(
            f"{path}: is a file, and a name without the suffix of a video asks for a folder of "
            "frames; choose a new name"
        )
    if not overwrite:
        raise LiftError(
            f"{path}: this file exists; choose another name, or pass --overwrite to replace it"
        )


def check_distinct(source: Path, target: Path) -> None:
    """Check that the output is not the input.

    Raises:
        LiftError: it is, by whatever name.
    """
    same = source.resolve() == target.resolve()
    if not same and source.exists() and target.exists():
        same = source.samefile(target)
    if same:
        raise LiftError(f"{target}: input and output are the same; choose another output")


def check_outside(source: Path, target: Path) -> None:
    """Check that the input is not in the folder that the output would replace.

    Raises:
        LiftError: it is.
    """
    if target.is_dir() and target.resolve() in source.resolve().parents:
        raise LiftError(f"{target}: this folder holds the input {source}; choose a new folder")
