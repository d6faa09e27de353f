"""What decoding a whole video shows: its cuts, and frames that are damaged.

The result is kept in a small file, so that the next run does not decode the video again.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from lift.files import atomic
from lift.io.video_index import IndexedVideo
from lift.scenes.detector import CutDetector

VERSION = 2  # of the detector: results of another one do not count


@dataclass(frozen=True)
class Scan:
    """Frame numbers of a video, from 0.

    Attributes:
        cuts: first frames of new shots.
        damaged: frames that cannot be decoded, or only with errors, and those predicted from them.
    """

    cuts: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()

    @property
    def edges(self) -> tuple[int, ...]:
        """The cuts, with every damaged frame as a shot of its own: no clip has it."""
        around = (i for frame in self.damaged for i in (frame, frame + 1))
        return tuple(sorted({*self.cuts, *around} - {0}))


def scan(video: IndexedVideo) -> Scan:
    """Decode all frames of a video."""
    detector, decisions, damaged = CutDetector(), [], []
    last = None
    for i, (frame, is_damaged) in enumerate(video.all_frames()):
        if is_damaged:
            damaged.append(i)
        last = last if frame is None else frame
        if last is None:
            decisions.append(False)  # nothing to compare with yet
        else:
            decisions += detector.feed(last)
    decisions += detector.finish()
    cuts = tuple(i for i, opens_shot in enumerate(decisions) if opens_shot)
    return Scan(cuts, tuple(sorted({j for i in damaged for j in video.predicted_from(i)})))


def scan_all(videos: list[IndexedVideo], cache: str | Path = "", workers: int = 1) -> list[Scan]:
    """The scans of videos, with a progress bar for those that are not known yet.

    Args:
        videos: of any number.
        cache: folder of the results; the user's cache folder when empty.
        workers: videos that are decoded at a time.
    """
    folder = Path(cache) if cache else user_cache()
    known = {video.path: _load(folder, video) for video in videos}
    missing = [video for video in videos if known[video.path] is None]
    if missing:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            found = pool.map(scan, missing)
            bar = tqdm(found, "cuts and damage", len(missing), unit="video", disable=None)
            for video, result in zip(missing, bar, strict=True):
                known[video.path] = result
                with suppress(OSError):  # the next run scans again
                    _save(folder, video, result)
    return [known[video.path] for video in videos]


def user_cache() -> Path:
    """The folder of the results where no other one is given."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "lift" / "scans"


def _file(folder: Path, video: IndexedVideo) -> Path:
    stat = video.path.stat()
    identity = [str(video.path.resolve()), stat.st_size, stat.st_mtime_ns, len(video), VERSION]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    return folder / f"{video.path.stem}-{digest[:16]}.json"


def _load(folder: Path, video: IndexedVideo) -> Scan | None:
    try:
        stored = json.loads(_file(folder, video).read_text(encoding="utf-8"))
        return Scan(tuple(map(int, stored["cuts"])), tuple(map(int, stored["damaged"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(folder: Path, video: IndexedVideo, result: Scan) -> None:
    with atomic(_file(folder, video)) as part:
        part.write_text(json.dumps(asdict(result)) + "\n", encoding="utf-8")
