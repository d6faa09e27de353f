"""Progress for people and for programs."""

import io
import json

from lift.video import progress
from lift.video.progress import Progress


def test_lines_of_json_state_the_time_left(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    shown = Progress("json", "in.mp4", stream)
    shown.start(10, finished=2)
    shown.update(4)
    shown.event("note", text="a cover is left out")
    shown.finish()
    first, note, last = map(json.loads, stream.getvalue().splitlines())
    assert note == {"event": "note", "text": "a cover is left out"}
    assert (first["event"], first["frame"], first["total"]) == ("progress", 6, 10)
    left = (first["total"] - first["frame"]) / first["frames_per_second"]
    assert abs(first["seconds_left"] - left) < 0.1
    assert last["frame"] == 6


def test_without_a_total_the_time_left_is_unknown(monkeypatch):
    stream = io.StringIO()
    shown = Progress("json", "-", stream)
    shown.start(None)
    shown.finish()
    assert json.loads(stream.getvalue())["seconds_left"] is None
