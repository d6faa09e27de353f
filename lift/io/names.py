"""What the name of an output asks for, and whether it may be written."""

from pathlib import Path

from lift.errors import LiftError
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
    ".avi",
    *ANIMATIONS,
)
# suffixes of files that a user may expect and that are not written; any other one, as in run_v1.5,
# is part of a folder's name
REFUSED_SUFFIXES = (
    *IMAGE_SUFFIXES,
    *".wmv .flv .ogv .mpg .mpeg .vob .y4m .3gp .mxf .asf .rm .nut".split(),
    *".txt .json .mp3 .wav .m4a .zip".split(),
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
        LiftError: `path` exists and `overwrite` is false, or it is a folder with more than images,
            or a device such as /dev/null.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise LiftError(f"{path}: this is a device, which is not replaced; choose another name")
    if path.is_dir():
        entries = [p for p in path.iterdir() if not p.name.startswith(".")]
        others = [p for p in entries if p.suffix.lower() not in IMAGE_SUFFIXES or p.is_dir()]
        if others:
            raise LiftError(
                f"{path}: this folder holds more than frames ({others[0].name}); "
                "choose a new folder"
            )
        if entries and not overwrite:
            raise LiftError(
                f"{path}: this folder is not empty; "
                "choose a new one, or pass --overwrite to replace it"
            )
    elif path.exists() and not overwrite:
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
