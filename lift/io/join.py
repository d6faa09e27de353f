"""The final file: packets of the encoded picture and the other streams, with exact times."""

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from lift.errors import LiftError
from lift.files import atomic, write_error
from lift.io.optional import require
from lift.io.other_streams import OtherStreams, allows_equal_times, open_output
from lift.io.stream_plan import StreamPlan

REORDER_WINDOW = 32  # packets in which the depth shows, where the codec does not state it
LATEST = 4  # ticks


def join_parts(
    path: str | Path,
    packets: Iterable,
    template,
    plan: StreamPlan,
    *,
    time_base: Fraction,
    name: Path | None = None,
    add_picture: Callable | None = None,
    finish: Callable | None = None,
) -> list[str]:
    """Write a video file; it appears under its name when it is complete.

    Memory does not grow with length.

    Args:
        path: the file; an existing one is replaced.
        packets: (packet, time, duration, is_keyframe) of each frame in decoding order: an
            av.Packet, the seconds (Fraction) at which it is displayed and for how long, bool.
            Times are distinct; the packets' own times are ignored.
        template: an av.VideoStream with the codec parameters of the packets.
        plan: of `lift.io.streams.plan_streams`.
        time_base: seconds of one tick; its denominator is at most 2^31 - 1. Matroska rounds to
            milliseconds, MPEG-TS to 1/90000 s.
        name: of the final file, for messages; `path` where None.
        add_picture: takes the av.container.OutputContainer, adds the picture's stream and returns
            it with the filter that its packets need, or None; by `template` alone where None.
        finish: takes the path of the closed file, before it appears under its name.

    Returns:
        Sentences on what of the source could not be read.

    Raises:
        LiftError: there are no packets, or the file cannot be written.
    """
    path, av = Path(path), require("av", "writing a video")
    packets = iter(packets)
    first = next(packets, None)
    if first is None:
        raise LiftError(f"{name or path}: no frame was written, so there is no video")
    packets = itertools.chain([first], packets)
    try:
        with ExitStack() as stack:
            part = stack.enter_context(atomic(path))
            output = open_output(part, plan, time_base)
            stack.callback(_close_quietly, av, output)
            others = OtherStreams(plan, output, template, time_base, add_picture=add_picture)
            stack.callback(others.close)
            _write(packets, template, output, others, first[1])
            output.close()
            if finish is not None:
                finish(part)
        return others.notes
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise write_error(name or path, error) from error


def _write(packets, template, output, others: OtherStreams, first: Fraction) -> None:
    shift = others.begin(first)
    base = Fraction(others.picture.time_base)  # what the container made of ours
    if output.format.name == "avi":  # which counts frames: all are rounded like the first
        shift = round((first + shift) / base) * base - first
    timed = decoding_times(
        ((packet, time + shift, duration, key) for packet, time, duration, key in packets),
        base,
        template.codec_context.reorder_depth,
        strict=not allows_equal_times(output),
    )
    for packet, is_keyframe in timed:
        packet.is_keyframe = is_keyframe
        time = packet.dts * base
        others.write_picture(packet)
        others.copy_until(time)
    others.copy_until(None)


def decoding_times(
    packets: Iterable, time_base: Fraction, depth: int, *, strict: bool = True
) -> Iterator:
    """Give packets in decoding order their times, with decoding times that rise.

    The n-th decoding time is the (n - depth)-th display time, so it is never later than the
    packet's own. The first ones go on before it at the pace of the first frame.

    Args:
        packets: (packet, seconds, duration in seconds, is_keyframe) in decoding order.
        time_base: seconds of one tick.
        depth: packets by which the encoder reorders at most; looked for in the first packets
            where 0.
        strict: two packets may not have the same decoding time, even where ticks are coarse.

    Returns:
        (packet, is_keyframe), the packets with `pts`, `dts`, `duration` and `time_base`.
    """
    packets = iter(packets)
    if depth == 0:
        window = list(itertools.islice(packets, REORDER_WINDOW))
        depth = _depth([time for _, time, _, _ in window])
        packets = itertools.chain(window, packets)
    shown: list[int] = []  # heap of display times that are no decoding time yet
    waiting: list = []  # the first packets, until the first display time is known
    held = last = None  # the newest packet, until it is known not to be the last one
    step = end = 0
    for packet, time, duration, key in packets:
        pts, stop = _ticks(time, time_base), _ticks(time + duration, time_base)
        packet.time_base, packet.pts, packet.duration = time_base, pts, max(stop - pts, 1)
        step, end = step or packet.duration, max(end, pts + packet.duration)
        heapq.heappush(shown, pts)
        waiting.append((packet, key))
        if len(shown) <= depth:
            continue
        dts = heapq.heappop(shown) - (len(waiting) - 1) * step
        for entry in waiting:
            last = dts if last is None else max(dts, last + (1 if strict else 0))
            entry[0].dts, entry[0].pts = last, max(last, entry[0].pts)
            if held is not None:
                yield held
            held, dts = entry, dts + step
        waiting.clear()
    dts = min(shown, default=0) - depth * step
    for entry in waiting:  # fewer packets than the depth
        entry[0].dts = dts
        if held is not None:
            yield held
        held, dts = entry, dts + step
    if held is not None:
        # decoding times span as long as display times, though the last packet may be shown earlier
        packet = held[0]
        rest = end - depth * step - packet.dts
        packet.duration = max(min(rest, end - packet.pts), packet.duration)
        yield held


def apart(times: Iterable[Fraction], tick: Fraction, after: Fraction | None = None) -> list:
    """Rising times, moved so that no two round to the same tick; all others stay.

    A source may hold frames a few microseconds apart. Where frames come faster than ticks for
    long, times may be equal: none is later than by LATEST ticks.

    Args:
        times: seconds, in the order of display.
        tick: seconds of one tick of the container.
        after: the latest of these times in the call before.
    """
    moved = []
    for time in times:
        if after is not None and _ticks(time, tick) <= _ticks(after, tick):
            time = min(max(time, (_ticks(after, tick) + 1) * tick), time + LATEST * tick)
        moved.append(time)
        after = time
    return moved


def _ticks(time: Fraction, tick: Fraction) -> int:
    return math.floor(time / tick + Fraction(1, 2))


def _depth(times: list[Fraction]) -> int:
    """Most packets by which any of these, in decoding order, is displayed later than decoded."""
    places = {time: place for place, time in enumerate(sorted(times))}
    return max((index - places[time] for index, time in enumerate(times)), default=0)


def _close_quietly(av, output) -> None:
    try:
        output.close()  # does nothing after the first time; after a failure it may fail again
    except (av.error.FFmpegError, OSError):
        pass
