"""Timecodes (hh:mm:ss:ff) and the frames that they label.

Drop-frame timecodes, at multiples of 30000/1001 frames per second, leave out the first numbers of
each minute but every tenth, so that they keep up with the clock (SMPTE ST 12-1).
"""


def frame_number(minutes: int, seconds: int, frame: int, nominal: int, drops: bool = False) -> int:
    """Number of the frame that a timecode labels, from 00:00:00:00 on.

    Args:
        minutes, seconds, frame: of the timecode, the hours as minutes.
        nominal: frames that it counts in a second, the next whole rate.
        drops: whether it is drop-frame.
    """
    number = (60 * minutes + seconds) * nominal + frame
    return number - dropped(nominal) * (minutes - minutes // 10) if drops else number


def dropped(nominal: int) -> int:
    """How many numbers a drop-frame timecode leaves out in a minute."""
    return nominal // 15


def fields_of(number: int, nominal: int, drops: bool = False) -> tuple[int, int, int]:
    """(minutes, seconds, frame) of the timecode of a frame; the inverse of `frame_number`."""
    left_out = dropped(nominal) if drops else 0
    minute = 60 * nominal - left_out
    tens, rest = divmod(number, 10 * minute + left_out)
    minutes = 10 * tens
    if rest >= minute + left_out:
        passed, rest = divmod(rest - left_out, minute)
        minutes, rest = minutes + passed, rest + left_out
    return minutes, *divmod(rest, nominal)
