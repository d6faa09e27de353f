"""Scene cuts as a text file: read for `--cuts`, written for `--list_cuts`.

One cut a line, the first frame of the new shot: a frame number from 0 (`312`), seconds (`12.48` or
`12s`), a time (`0:00:12.480`), or a timecode that counts frames (`00:00:12:12`, with `;` before the
frames where it drops numbers). What follows a number sign is a comment; further columns repeat the
same cut in other units. Scene lists of PySceneDetect (CSV) are read as well.
"""

import csv
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from lift.errors import LiftError
from lift.io.timecode import frame_number

Cut = int | Fraction  # a frame number from 0, or seconds from the first frame

NUMBER = re.compile(r"\d+")
SECONDS = re.compile(r"(\d+\.\d*|\.\d+|\d+(?=s))s?")
CLOCK_TIME = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:[.,]\d*)?)")
TIMECODE = re.compile(r"(\d+):(\d{1,2}):(\d{1,2})([:;])(\d+)")
FORMS = "a frame number (312), seconds (12.48 or 12s), 0:00:12.480 or a timecode 00:00:12:12"
# PySceneDetect's columns in the order of preference; its frames count from 1
COLUMNS = ("Start Frame", "Start Timecode", "Start Time (seconds)")


def read_cut_list(path: str | Path, fps: Fraction | float | None = None) -> list[Cut]:
    """The cuts of a file, in its order.

    Args:
        path: a text file in UTF-8.
        fps: frames per second of the video, which a timecode hh:mm:ss:ff needs.

    Returns:
        Frame numbers (int) and seconds from the first frame (Fraction).

    Raises:
        LiftError: the file cannot be read, or a line of it is no cut; names the file and the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise LiftError(f"{path} does not exist; give a file with one scene cut a line") from None
    except UnicodeDecodeError:
        raise LiftError(f"{path} is not a text file in UTF-8; write one scene cut a line") from None
    except OSError as error:
        raise LiftError(
            f"{path} cannot be read ({error.strerror}); give a text file with one scene cut a line"
        ) from None
    for number, line in enumerate(lines):
        columns = [name.strip() for name in line.split(",")]
        if any(name in columns for name in COLUMNS):
            return _scenes_of_csv(path, lines, number)
    cuts = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        fields = (
            [text] if CLOCK_TIME.fullmatch(text) else [f for f in re.split(r"[\s,]+", text) if f]
        )
        if fields:
            cuts.append([_cut(field, fps, path, number) for field in fields][0])
    return cuts


def _scenes_of_csv(path: Path, lines: list[str], header: int) -> list[Cut]:
    names = [name.strip() for name in lines[header].split(",")]
    column = next(name for name in COLUMNS if name in names)
    at = names.index(column)
    cuts = []
    for number, row in enumerate(csv.reader(lines[header + 1 :]), header + 2):
        if not "".join(row).strip():
            continue
        field = row[at].strip() if at < len(row) else ""
        cut = _cut(f"{field}s" if "seconds" in column else field, None, path, number)
        cuts.append(cut - 1 if column == "Start Frame" else cut)
    return [cut for cut in cuts if cut > 0]  # the first scene starts with the video


def _cut(field: str, fps: Fraction | float | None, path: Path, line: int) -> Cut:
    if NUMBER.fullmatch(field):
        return int(field)
    if match := SECONDS.fullmatch(field):
        return Fraction(match[1])
    if match := TIMECODE.fullmatch(field):
        if not fps:
            raise LiftError(
                f"{path}, line {line}: the timecode {field} counts frames, but the frame rate of "
                "the video is not known; write seconds (12.48) or a frame number (312)"
            )
        return _frame_of_timecode(field, *match.groups(), fps, path, line)
    match = CLOCK_TIME.fullmatch(field)
    if match and (minutes := int(match[2])) < (60 if match[1] else 10**9):
        seconds = Fraction(match[3].replace(",", "."))
        if seconds < 60:
            return 3600 * int(match[1] or 0) + 60 * minutes + seconds
    raise LiftError(f"{path}, line {line}: {field!r} is no scene cut; write {FORMS}")


def _frame_of_timecode(
    field: str,
    hours: str,
    minutes: str,
    seconds: str,
    separator: str,
    frames: str,
    fps: Fraction | float,
    path: Path,
    line: int,
) -> int:
    """The frame that a timecode labels: it counts with the next whole frame rate."""
    nominal = max(1, round(fps))
    total = 60 * int(hours) + int(minutes)
    if int(minutes) > 59 or int(seconds) > 59 or int(frames) >= nominal:
        raise LiftError(
            f"{path}, line {line}: there is no timecode {field} at {float(fps):.6g} frames per "
            f"second; its frames go from 0 to {nominal - 1}, minutes and seconds to 59"
        )
    return frame_number(total, int(seconds), int(frames), nominal, separator == ";")


def format_cut_list(cuts: Iterable[tuple[int, Fraction]]) -> str:
    """A text of one cut a line, which `read_cut_list` reads.

    Args:
        cuts: the number of the first frame of each new shot, from 0, and its time in seconds.
    """
    lines = ["# first frame of each new shot, from 0, and its time"]
    for number, time in cuts:
        milliseconds = round(Fraction(time) * 1000)
        minutes, rest = divmod(milliseconds, 60_000)
        hours, minutes = divmod(minutes, 60)
        lines.append(f"{number}, {hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}")
    return "\n".join(lines) + "\n"


def note_late_cuts(cuts: Iterable[Cut], last: int, end: Fraction | None) -> str | None:
    """A sentence on cuts that lie behind the end of the source; None where there are none.

    Args:
        cuts: frame numbers (int) and seconds (Fraction).
        last: number of the last frame.
        end: seconds at which it ends, or None.
    """
    late = [
        cut
        for cut in cuts
        if (cut > last if isinstance(cut, int) else end is not None and cut >= end)
    ]
    if not late:
        return None
    ends = f"frame {last}" + ("" if end is None else f", {float(end):.3f} s")
    have = "1 cut of the list lies" if len(late) == 1 else f"{len(late)} cuts of the list lie"
    return f"{have} behind the last frame ({ends}) and had no effect; the list may be another's"


class KnownCuts:
    """Takes the place of a `CutDetector` where the cuts are known: decides without the pictures.

    A cut in seconds lies at the frame nearest to it, of two the later one.

    Args:
        cuts: frame numbers (int) and seconds (Fraction), in any order.
        first: number of the first frame that comes.
    """

    needs_frames = False

    def __init__(self, cuts: Iterable[Cut], first: int = 0):
        cuts = list(cuts)
        self._numbers = {cut for cut in cuts if isinstance(cut, int)}
        self._times = sorted({Fraction(cut) for cut in cuts if not isinstance(cut, int)})
        self._first = self._next = first
        self._before: Fraction | None = None  # half way from the frame before the last one
        self._last: Fraction | None = None

    def feed(self, frame: object = None, time: Fraction | None = None) -> list[bool]:
        """Receive the next frame, which is not looked at, and its time in seconds.

        Returns:
            For each frame decided by it, in order, whether it opens a new shot.

        Raises:
            ValueError: there are cuts in seconds, but the frame has no time.
        """
        if time is None and self._times:
            raise ValueError(
                "KnownCuts.feed: cuts in seconds need the time of each frame, got None"
            )
        time = Fraction(0) if time is None else Fraction(time)
        decided = []
        if self._last is not None:
            middle = (self._last + time) / 2
            decided = [self._opens_shot(middle)]
            self._before = middle
        self._last = time
        return decided

    def finish(self) -> list[bool]:
        """The decision on the last frame, once there are no more."""
        if self._last is None:
            return []
        # the last frame is as long as its time from the middle allows: a later cut is past the end
        end = None if self._before is None else 2 * self._last - self._before
        return [self._opens_shot(end)]

    def _opens_shot(self, end: Fraction | None) -> bool:
        """Whether the last frame does; it is the nearest one to times before `end`."""
        number, self._next = self._next, self._next + 1
        if number == self._first:
            return False
        start = self._before
        timed = any(start <= cut < end for cut in self._times) if self._times else False
        return number in self._numbers or timed
