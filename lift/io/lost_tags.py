"""What a stream of an output does not state of what its source stated."""

from lift.io.optional import require
from lift.io.stream_plan import PlannedStream

HANDLER = "handler_name"  # in which FFmpeg reads the title of a stream of MP4 and MOV
KEPT_FLAGS = ("forced", "hearing_impaired", "visual_impaired", "comment", "dub", "original")


def lost_tags(plan: PlannedStream, stream) -> list[str]:
    """The language, title and flags that were written for a stream and are not read again.

    Args:
        plan: what was written.
        stream: av.Stream of the output.
    """
    flags = require("av", "reading a video").stream.Disposition
    lost = []
    for key in ("language", "title"):
        value = plan.metadata.get(key)
        if value and value not in (stream.metadata.get(key), stream.metadata.get(HANDLER)):
            lost.append(f"{key} {value!r}")
    missing = flags(plan.disposition & ~int(stream.disposition))
    return lost + [f"flag {name!r}" for name in KEPT_FLAGS if missing & getattr(flags, name)]
