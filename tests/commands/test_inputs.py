"""Which files the arguments name, and where the result of each goes."""

from pathlib import Path

import pytest

from lift.commands.inputs import PIPE, Job, find_jobs
from lift.errors import LiftError
from lift.video.options import FileOptions
from tests.support.video_samples import moving_frames, write_folder

PLAIN, RESUME = FileOptions(), FileOptions(resume=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a few inputs, as the current one. Their content is not looked at."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.wmv", "c.MOV"):
        Path(name).write_text("x")
    write_folder(Path("frames"), moving_frames(2, 32, 32))
    Path("videos").mkdir()
    for name in ("2.mp4", "1.avi", "3.gif", ".hidden.mp4", "notes.txt"):
        (Path("videos") / name).write_text("x")
    return tmp_path


def pairs(*sources, target="out", options=PLAIN):
    return [(str(job.source), str(job.target)) for job in find_jobs(sources, target, options)]


def test_one_input_goes_to_the_output(here):
    assert pairs("a.mp4", target="o.mkv") == [("a.mp4", "o.mkv")]
    assert pairs("frames") == [("frames", "out")]
    assert find_jobs(["-"], "-", PLAIN) == [Job(PIPE, PIPE)]


def test_several_inputs_keep_their_names_in_a_folder(here):
    assert pairs("a.mp4", "b.wmv", "c.MOV", "frames") == [
        ("a.mp4", "out/a.mp4"),
        ("b.wmv", "out/b.mkv"),  # a container that is not written
        ("c.MOV", "out/c.MOV"),
        ("frames", "out/frames"),
    ]


def test_a_folder_of_videos_is_several_inputs(here):
    names = ("1.avi", "2.mp4", "3.gif")
    assert pairs("videos") == [(f"videos/{name}", f"out/{name}") for name in names]
    assert len(pairs("videos", "a.mp4")) == 4


def test_folders_of_frames_in_a_folder_are_several_inputs(here):
    for name in ("set/one", "set/deep/two", "set/.hidden", "set/out/one"):
        write_folder(Path(name), moving_frames(2, 32, 32))
    found = [("set/deep/two", "set/out/deep/two"), ("set/one", "set/out/one")]
    assert pairs("set", target="set/out", options=FileOptions(resume=True)) == found
    (here / "set/clip.mp4").write_text("x")  # then the folders may be anything
    assert pairs("set") == [("set/clip.mp4", "out/clip.mp4")]
    (here / "set/clip.mp4").unlink()
    assert ("set/deep/two", "out/set/deep/two") in pairs("a.mp4", "set")


def test_the_current_folder_has_a_name(here, monkeypatch):
    monkeypatch.chdir(here / "frames")
    found = pairs(".", "../a.mp4", target="../out")
    assert found == [(".", "../out/frames"), ("../a.mp4", "../out/a.mp4")]


def test_images_are_frames_of_one_sequence(here):
    images = sorted(map(str, Path("frames").iterdir()))
    (job,) = find_jobs(images, "out", PLAIN)
    assert job.source == tuple(map(Path, images)) and job.name == "im001.png"


@pytest.mark.parametrize(
    "sources, target, message",
    (
        (("nowhere.mp4",), "o.mp4", "no such file or folder"),
        (("a.mp4",), "a.mp4", "input and output are the same"),
        (("videos",), "videos", "input and output are the same"),
        (("a.mp4", "b.wmv"), "o.mp4", "need a folder as output"),
        (("a.mp4", "b.wmv"), "c.MOV", "need a folder as output"),
        (("a.mp4", "b.wmv"), "-", "pipe"),
        (("a.mp4", "-"), "out", "pipe"),
        (("a.mp4", "./a.mp4"), "out", "would both be written"),
        (("a.mp4",), "o.mp4/", "the slash asks for a folder"),
        (("a.mp4",), "o.wmv", "videos are written as"),
        (("frames/im001.png",), "out", "a single image"),
        (("",), "out", "empty name"),
    ),
)
def test_what_cannot_be_is_one_sentence(here, sources, target, message):
    with pytest.raises(LiftError, match=message):
        find_jobs(list(sources), target, PLAIN)


def test_two_results_of_one_name_are_an_error(here):
    Path("b.mkv").write_text("x")
    with pytest.raises(LiftError, match="b.wmv and b.mkv would both be written as out/b.mkv"):
        find_jobs(["b.wmv", "b.mkv"], "out", PLAIN)


def test_the_folder_of_an_input_is_not_replaced(here):
    images = sorted(map(str, Path("frames").iterdir()))
    with pytest.raises(LiftError, match="this folder holds the input"):
        find_jobs(images, "frames", FileOptions(overwrite=True))


def test_a_report_replaces_nothing_unless_asked(here):
    Path("o.mp4.json").write_text("precious")
    with pytest.raises(LiftError, match="o.mp4.json: this file exists"):
        find_jobs(["a.mp4"], "o.mp4", FileOptions(report=True))
    find_jobs(["a.mp4"], "o.mp4", FileOptions(report=True, overwrite=True))
    find_jobs(["a.mp4"], "o.mp4", PLAIN)


def test_outputs_that_are_there_are_finished_where_a_run_is_resumed(here):
    write_folder(Path("out/frames"), moving_frames(2, 32, 32))
    Path("out/a.mp4").write_text("x")
    with pytest.raises(LiftError, match="exists"):
        find_jobs(["a.mp4", "b.wmv"], "out", PLAIN)
    jobs = find_jobs(["a.mp4", "b.wmv", "frames"], "out", RESUME)
    assert [job.is_finished(RESUME) for job in jobs] == [True, False, True]
    assert not any(job.is_finished(PLAIN) for job in jobs)
    again = FileOptions(resume=True, overwrite=True)
    assert not any(job.is_finished(again) for job in jobs)


def test_a_resumed_run_does_not_take_a_folder_of_other_files_for_its_output(here):
    with pytest.raises(LiftError, match="holds more than frames"):
        find_jobs(["a.mp4"], "videos", RESUME)
