"""Titles, dates, places and chapters of a source that stay true of its output."""

import re
from fractions import Fraction

from lift.io.timecode import fields_of, frame_number
from lift.io.timing import Timing

# of the source's container, not of its content
CONTAINER_KEYS = frozenset(
    "major_brand minor_version compatible_brands encoder duration software isft".split()
)
# of the source's encoding, not of its content
STREAM_KEYS = frozenset("encoder duration rotate alpha_mode vendor_id".split())
STATISTICS = re.compile(r"(_statistics_|bps|number_of_|duration)", re.IGNORECASE)
LANGUAGE_SUFFIX = re.compile(r"-[a-z]{3}$")
UNDETERMINED = "und"
MOV_FORMATS = ("mp4", "mov")
# languages with two codes of three letters (ISO 639-2), and Swedish: the one that FFmpeg knows to
# have a number in QuickTime
QUICKTIME_LANGUAGES = dict(
    pair.split("/")
    for pair in (
        "fre/fra deu/ger nld/dut swe/sve zho/chi ell/gre isl/ice cze/ces slo/slk rum/ron sqi/alb "
        "hye/arm kat/geo mkd/mac msa/may bod/tib mya/bur cym/wel eus/baq"
    ).split()
)
TIMECODE = re.compile(r"(\d+:\d+:\d+)([:;.])(\d+)")


def container_metadata(metadata: dict) -> dict:
    """Metadata of a container that is also true of the output."""
    kept = {}
    for key, value in metadata.items():
        base = LANGUAGE_SUFFIX.sub("", key)
        repeated = base != key and metadata.get(base) == value
        if key.lower() not in CONTAINER_KEYS and not repeated:
            kept[key] = value
    return kept


def stream_metadata(metadata: dict, format_name: str) -> dict:
    """Metadata of a stream that is also true of its copy in a container of `format_name`."""
    kept = {}
    for key, value in metadata.items():
        lower = key.lower()
        if lower in STREAM_KEYS or STATISTICS.match(key):
            continue
        if lower == "language" and value == UNDETERMINED:
            continue
        if lower == "handler_name" and format_name not in MOV_FORMATS:
            continue  # names a part of QuickTime
        if lower == "language" and format_name == "mov":
            value = QUICKTIME_LANGUAGES.get(value, value)
        kept[key] = value
    if format_name in MOV_FORMATS and kept.get("title"):  # FFmpeg writes titles and reads names
        kept.setdefault("handler_name", kept["title"])
    return kept


def needs_quicktime_keys(metadata: dict) -> bool:
    """Whether MP4 and MOV hold this metadata only as QuickTime keys (phones write them)."""
    return any(key.lower().startswith("com.") for key in metadata)


def moved_timecode(
    timecode: str,
    old_rate: Fraction | None,
    new_rate: Fraction | None,
    start: Fraction = Fraction(0),
) -> str:
    """A timecode (hh:mm:ss:ff) `start` seconds later, whose frames are counted at another rate."""
    if TIMECODE.fullmatch(timecode) is None or not old_rate or not new_rate:
        return timecode
    later = _later(timecode, round(start * old_rate), round(old_rate))
    clock, separator, frame = TIMECODE.fullmatch(later).groups()
    last = max(round(new_rate) - 1, 0)
    return f"{clock}{separator}{min(round(int(frame) * new_rate / old_rate), last):02d}"


def _later(timecode: str, frames: int, nominal: int) -> str:
    """A timecode so many frames later, at `nominal` frames per second of its own counting."""
    clock, separator, frame = TIMECODE.fullmatch(timecode).groups()
    hours, minutes, seconds = map(int, clock.split(":"))
    drops = separator in ";."
    number = frame_number(60 * hours + minutes, seconds, int(frame), nominal, drops) + frames
    minutes, seconds, frame = fields_of(number, nominal, drops)
    hours, minutes = divmod(minutes, 60)
    return f"{hours % 24:02d}:{minutes:02d}:{seconds:02d}{separator}{frame:02d}"


def moved_chapters(chapters: list[dict], origin: Fraction, timing: Timing) -> tuple[dict, ...]:
    """Chapters in the time of the output, without those that are cut away.

    Args:
        chapters: as PyAV gives them.
        origin: seconds on the source's clock at which the source begins.
        timing: cut and speed.
    """
    moved = []
    for chapter in chapters:
        base = Fraction(chapter["time_base"])
        start, end = chapter["start"] * base - origin, chapter["end"] * base - origin
        if end <= start:
            end = start + base
        kept = timing.clip(max(start, Fraction(0)), end)
        if kept is not None:
            ticks = {"start": round(kept[0] / base), "end": round(kept[1] / base)}
            moved.append({**chapter, **ticks})
    return tuple(moved)
