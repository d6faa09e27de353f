import os
from pathlib import Path

import pytest

from lift.errors import LiftError
from lift.io.names import check_distinct, is_video_name, refuse_existing


def test_the_suffix_says_what_is_asked_for(tmp_path):
    for name in ("a.mp4", "a.MKV", "a.webm", "a.gif", "a.apng", "b/a.ts", "a.MTS"):
        assert is_video_name(tmp_path / name)
    for name in ("frames", "run_v1.5", "a.b/c", "2024-01-01"):
        assert not is_video_name(tmp_path / name)


@pytest.mark.parametrize("name", ("a.wmv", "a.m2v", "a.png", "a.avif", "a.txt"))
def test_a_suffix_that_is_not_written_is_an_error(tmp_path, name):
    with pytest.raises(LiftError, match=f"{name}: videos are written as .mp4"):
        is_video_name(tmp_path / name)


def test_a_folder_with_the_name_of_a_video_is_an_error(tmp_path):
    (tmp_path / "old.mp4").mkdir()
    with pytest.raises(LiftError, match="is a folder"):
        is_video_name(tmp_path / "old.mp4")


def test_what_exists_is_replaced_on_request_and_only_if_it_is_an_output(tmp_path):
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0001.png").write_text("x")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.pdf").write_text("x")
    for name in ("a.mp4", "frames", "papers"):
        with pytest.raises(LiftError, match=name):
            refuse_existing(tmp_path / name, overwrite=False)
    refuse_existing(tmp_path / "a.mp4", overwrite=True)
    refuse_existing(tmp_path / "frames", overwrite=True)
    with pytest.raises(LiftError, match="thesis.pdf"):
        refuse_existing(tmp_path / "papers", overwrite=True)


def test_a_device_or_a_file_without_the_suffix_of_a_video_is_never_replaced(tmp_path):
    (tmp_path / "notes").write_text("x")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, why in (("notes", "is a file"), ("pipe.mp4", "is no file but a device")):
        with pytest.raises(LiftError, match=why):
            refuse_existing(tmp_path / name, overwrite=True)


def test_a_link_to_nowhere_exists_as_an_output(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "nowhere.mp4")
    with pytest.raises(LiftError, match="this file exists"):
        refuse_existing(tmp_path / "a.mp4", overwrite=False)


def test_a_name_that_is_too_long_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(LiftError, match="too long; choose a shorter one"):
        refuse_existing(tmp_path / ("x" * 300), overwrite=False)


def test_an_output_is_never_its_own_input(tmp_path):
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "b.mp4").hardlink_to(tmp_path / "a.mp4")
    for other in (tmp_path / "a.mp4", tmp_path / "x" / ".." / "a.mp4", tmp_path / "b.mp4"):
        with pytest.raises(LiftError, match="the same"):
            check_distinct(tmp_path / "a.mp4", Path(other))
    check_distinct(tmp_path / "a.mp4", tmp_path / "c.mp4")
