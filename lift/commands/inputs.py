"""Which files the arguments of `lift interpolate` name, and where the result of each goes."""

from dataclasses import dataclass
from pathlib import Path

from lift.errors import LiftError
from lift.io.animated_images import is_animated
from lift.io.decode import VIDEO_SUFFIXES
from lift.io.frame_folder import list_images
from lift.io.images import is_image
from lift.io.names import (
    OUTPUT_SUFFIXES,
    check_distinct,
    check_outside,
    is_video_name,
    refuse_existing,
)
from lift.video.options import FileOptions
from lift.video.summary import report_path

PIPE = Path("-")


@dataclass(frozen=True)
class Job:
    """One interpolation.

    Attributes:
        source: a video, a folder of frames, a list of images, or `PIPE`.
        target: a video, a folder, or `PIPE`.
    """

    source: Path | tuple[Path, ...]
    target: Path

    @property
    def name(self) -> str:
        """For the progress bar."""
        source = self.source[0] if isinstance(self.source, tuple) else self.source
        return source.name or str(source)

    def is_finished(self, options: FileOptions) -> bool:
        """Whether a run that is continued has nothing to do: its output is there."""
        if not options.resume or options.overwrite or self.target == PIPE:
            return False
        if self.target.is_dir():
            return bool(list_images(self.target))
        return self.target.exists()


def find_jobs(sources: list[str], target: str, options: FileOptions) -> list[Job]:
    """The interpolations that the arguments ask for, all checked before the first begins.

    Several images are the frames of one sequence. Several other inputs, a folder of videos, or a
    folder of folders of frames have a folder as output, where each result gets the input's name.

    Raises:
        LiftError: an input does not exist or is a single image, an output exists, two results have
            one name.
    """
    if not all((*sources, target)):
        raise LiftError("an empty name was given; give the names of IN and OUT")
    paths = [Path(source) for source in sources]
    for path in paths:
        if path != PIPE and not path.exists():
            raise LiftError(
                f"{path}: no such file or folder; give a video or a folder of numbered frames"
            )
    images = [path for path in paths if _is_still(path)]
    if images and (len(paths) == 1 or len(images) < len(paths)):
        raise LiftError(
            f"{images[0]}: a single image has no motion; give two or more images, or a folder"
        )
    if images:
        jobs = [Job(tuple(paths), _target(target))]
    elif len(paths) == 1 and not _holds_inputs(paths[0]):
        jobs = [Job(paths[0], _target(target))]
    else:
        jobs = _into_folder(paths, target, options)
    for job in jobs:
        if job.target != PIPE:
            check_output(job, options)
    return jobs


def check_output(job: Job, options: FileOptions) -> None:
    """Check that the output of a job, and its report, replace nothing without being asked to.

    Raises:
        LiftError: they would, or the input lies in the folder that would be replaced.
    """
    sources = job.source if isinstance(job.source, tuple) else (job.source,)
    for source in sources:
        if source != PIPE:
            check_distinct(source, job.target)
            check_outside(source, job.target)
    is_video_name(job.target)
    refuse_existing(job.target, options.overwrite or job.is_finished(options))
    report = report_path(job.target)
    if options.report and report.exists() and not (options.overwrite or job.is_finished(options)):
        raise LiftError(
            f"{report}: this file exists; choose another output, or pass --overwrite to replace it"
        )


def find_sequences(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Pairs of a folder of frames and the folder of its result.

    They are `source` itself, or every folder below it that has frames, by name.

    Raises:
        LiftError: no folder has frames, or a folder has both frames and folders of frames.
    """
    if not source.is_dir():
        raise LiftError(
            f"{source}: --input must be a folder of frames or a folder of such folders; "
            "for a video use lift interpolate IN OUT"
        )
    below = _sequences(source, target)
    if not list_images(source):
        if not below:
            raise LiftError(
                f"{source}: no frames in this folder or below it; "
                "numbered png, jpg, bmp, tif or webp files are accepted"
            )
        return [(d, target / d.relative_to(source)) for d in below]
    if below:
        raise LiftError(
            f"{source}: has both frames and folders of frames ({below[0].name}); "
            "give one or the other"
        )
    return [(source, target)]


def _target(text: str) -> Path:
    path = Path(text)
    if text.endswith("/") and path.suffix.lower() in OUTPUT_SUFFIXES:
        raise LiftError(
            f"{text}: the slash asks for a folder and {path.suffix} for a video; leave one out"
        )
    return path


def _is_still(path: Path) -> bool:
    return path.is_file() and is_image(path) and not is_animated(path)


def _holds_inputs(path: Path) -> bool:
    """Whether it is a folder of videos or of folders of frames."""
    return path.is_dir() and not list_images(path) and bool(_videos(path) or _sequences(path))


def _sequences(folder: Path, target: Path | None = None) -> list[Path]:
    """Folders of frames below a folder, at any depth; none in `target`, which may lie there."""
    found = sorted(
        each
        for each in folder.rglob("*")
        if each.is_dir()
        and not any(part.startswith(".") for part in each.relative_to(folder).parts)
        and list_images(each)
    )
    inside = None if target is None else target.resolve()
    return [each for each in found if inside not in (each.resolve(), *each.resolve().parents)]


def _videos(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file()
        and file.suffix.lower() in (*VIDEO_SUFFIXES, ".gif", ".apng")
        and not file.name.startswith(".")
    )


def _into_folder(paths: list[Path], target: str, options: FileOptions) -> list[Job]:
    folder = Path(target)
    if PIPE in (*paths, folder):
        raise LiftError("several inputs cannot be read from or written to a pipe; name files")
    if folder.is_file() or (is_video_name(folder) and not folder.is_dir()):
        raise LiftError(
            f"{folder}: several inputs need a folder as output; give a name without a suffix"
        )
    pairs = []
    for path in paths:
        videos = _videos(path) if _holds_inputs(path) else [path]
        pairs += [(source, folder / _result_name(source)) for source in videos]
        if not videos:
            below = folder if len(paths) == 1 else folder / _result_name(path)
            pairs += [(each, below / each.relative_to(path)) for each in _sequences(path, folder)]
    jobs, taken = [], {}
    for source, result in pairs:
        if result in taken:
            raise LiftError(
                f"{taken[result]} and {source} would both be written as {result}; "
                "interpolate them in two runs"
            )
        taken[result] = source
        jobs.append(Job(source, result))
    if not jobs:
        raise LiftError(f"{paths[0]}: all frames below this folder are in the output, {folder}")
    return jobs


def _result_name(source: Path) -> str:
    """The input's name; a video whose container is not written becomes Matroska."""
    if source.is_dir():
        return source.resolve().name  # "." has no name
    if source.suffix.lower() in OUTPUT_SUFFIXES:
        return source.name
    return source.stem + ".mkv"
