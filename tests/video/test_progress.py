"""How far a run is: the bar, lines of JSON, and readers that end early."""

import errno
import io
import json
import sys

import pytest

from lift.video import progress as progress_module
from lift.video.progress import Progress


class BrokenPipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_a_line_for_every_event(monkeypatch):
    monkeypatch.setattr(progress_module, "INTERVAL", 0)
    stream = io.StringIO()
    with Progress("json", "a.mp4", stream) as progress:
        progress.start(10, finished=4)
        progress.event("note", text="sound is left out")
        progress.update()
        progress.update(3)
        progress.finish()
        progress.event("done", frames=8)
    found = lines(stream)
    assert [each["event"] for each in found] == ["note", *["progress"] * 3, "done"]
    assert [each["frame"] for each in found[1:4]] == [5, 8, 8]
    assert [each["total"] for each in found[1:4]] == [10, 10, 8]  # it was an estimate
    for each in found[1:4]:
        assert each["input"] == "a.mp4" and each["frames_per_second"] > 0
        assert each["seconds_left"] >= 0


def test_the_time_left_is_unknown_without_a_total(monkeypatch):
    monkeypatch.setattr(progress_module, "INTERVAL", 0)
    stream = io.StringIO()
    progress = Progress("json", stream=stream)
    progress.start(None)
    progress.update()
    assert lines(stream)[0]["total"] is None and lines(stream)[0]["seconds_left"] is None


def test_lines_are_not_written_for_every_frame():
    stream = io.StringIO()
    progress = Progress("json", stream=stream)
    progress.start(100)
    for _ in range(100):
        progress.update()
    assert len(lines(stream)) < 5


def test_the_bar_shows_total_and_finished_frames():
    stream = io.StringIO()
    with Progress("bar", "a.mkv", stream) as progress:
        progress.start(7, finished=2)
        progress.update(4)
        progress.finish()
    text = stream.getvalue()
    assert "a.mkv" in text and "2/7" in text and "6/6" in text and text.endswith("\n")


def test_frames_that_are_made_again_count_once():
    with Progress("bar", stream=io.StringIO()) as progress:
        progress.start(10)
        progress.update(6)
        progress.go_back(4)
        progress.update(6)
        assert progress.count == progress._bar.n == 10


def test_text_has_a_line_of_its_own():
    stream = io.StringIO()
    with Progress("bar", stream=stream) as progress:
        progress.start(4)
        with progress.set_aside():
            assert stream.getvalue().rsplit("\r", 1)[1] == ""


@pytest.mark.parametrize("form", ("bar", "json"))
def test_a_reader_that_ends_does_not_end_the_run(monkeypatch, form):
    monkeypatch.setattr(progress_module, "INTERVAL", 0)
    with Progress(form, stream=BrokenPipe()) as progress:
        progress.start(4)
        for _ in range(4):
            progress.update()
        progress.event("note", text="x")
        progress.finish()
    assert progress.count == 4


def test_a_closed_stream_gets_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Progress("bar") as progress:
        progress.start(2)
        progress.update()
    assert progress.form == "none"


def test_nothing_is_shown_unless_asked(capsys):
    with Progress() as progress:
        progress.start(2)
        progress.update(2)
        progress.event("note", text="x")
        progress.finish()
    assert capsys.readouterr() == ("", "") and progress.count == 2
