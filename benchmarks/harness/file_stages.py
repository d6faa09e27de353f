"""How long each thread works while a file is interpolated: reader, model and writer.

The three wait for one another at the queues between them. What a thread spends outside of them is
its time at work, by the wall clock: decoders and encoders have further threads of their own, which
count only while one of the three waits for them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from lift.video import file as jobs
from lift.video.threads import WriteBehind, read_ahead
from lift.video.transfers import Download

STAGES = ("reader", "model", "writer", "transfer", "rest")


@contextmanager
def stage_times() -> Iterator[dict[str, float]]:
    """Seconds by stage of the files that are interpolated in the block, complete at its end.

    "reader" decodes, converts to RGB and looks for cuts. "model" is the thread that calls the
    model; on a GPU it only launches. "writer" converts to YUV and encodes, "transfer" is its
    waiting for frames of a GPU. "rest" is all before the first frame and after the last: the
    choice of streams and encoder, and the joining of the parts.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    now = time.perf_counter

    def spent(stage: str, start: float) -> None:
        seconds[stage] += now() - start

    def timed_reader(items: Iterable, depth: int) -> Iterator:
        with closing(read_ahead(_timed(items, lambda start: spent("reader", start)), depth)) as all:
            yield from _timed(all, lambda start: waited(start))

    def waited(start: float) -> None:
        seconds["model"] -= now() - start

    class TimedDownload(Download):
        def wait(self):
            start = now()
            try:
                return super().wait()
            finally:
                spent("transfer", start)

    class TimedWriter(WriteBehind):
        def __init__(self, function: Callable[..., None], depth: int):
            def write(*arguments) -> None:
                start, before = now(), seconds["transfer"]
                function(*arguments)
                seconds["writer"] += now() - start - (seconds["transfer"] - before)

            super().__init__(write, depth)

        def __enter__(self):
            self._start = now()
            return super().__enter__()

        def __call__(self, *arguments) -> None:
            start = now()
            super().__call__(*arguments)
            waited(start)

        def __exit__(self, *failure) -> None:
            spent("model", self._start)
            super().__exit__(*failure)
            seconds["rest"] -= now() - self._start

    kept = jobs.read_ahead, jobs.WriteBehind, jobs.Download
    jobs.read_ahead, jobs.WriteBehind, jobs.Download = timed_reader, TimedWriter, TimedDownload
    start = now()
    try:
        yield seconds
    finally:
        jobs.read_ahead, jobs.WriteBehind, jobs.Download = kept
        spent("rest", start)


def _timed(items: Iterable, spent: Callable[[float], None]) -> Iterator:
    """The items; `spent` is called with the time at which each was asked for."""
    source = iter(items)
    try:
        while True:
            start = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                spent(start)
            yield item
    finally:
        if hasattr(source, "close"):
            source.close()
