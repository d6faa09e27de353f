"""Parts are used again only where everything that decides about them is equal."""

import os
from pathlib import Path

import pytest

from lift.io.stdin import STDIN
from lift.video.fingerprint import fingerprint
from lift.video.options import FileOptions
from tests.support.video_samples import moving_frames, write_folder

OPTIONS, TARGET = FileOptions(), Path("out.mp4")


class Model:
    """Takes the place of the Interpolator."""

    def describe(self):
        return {"weights": "1234"}


def of(source, target=TARGET, options=OPTIONS, cuts=None):
    return fingerprint(Model(), source, target, options, cuts)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "in.mp4"
    path.write_text("x")
    return path


def test_equal_jobs_are_equal(video):
    assert of(video) == of(video, Path("other/place.MP4"))
    again = FileOptions(resume=True, overwrite=True, report=True)
    assert of(video) == of(video, options=again)
    assert of(STDIN) == of(STDIN)


def test_another_source_setting_or_list_of_cuts_differs(video):
    whole = of(video)
    assert of(video, Path("out.mkv")) != whole
    assert of(video, options=FileOptions(multi=3)) != whole
    assert of(video, cuts=[]) != whole and of(video, cuts=[5]) != of(video, cuts=[6])
    video.write_text("longer")
    assert of(video) != whole


def test_a_frame_that_changed_differs_and_a_new_file_of_another_kind_does_not(tmp_path):
    folder = write_folder(tmp_path / "in", moving_frames(3, 32, 32))
    whole = of(folder)
    (folder / ".lift-0123").mkdir()  # as a run makes that writes into it
    (folder / "notes.txt").write_text("x")
    assert of(folder) == whole
    os.utime(folder / "im002.png", (1, 1))
    assert of(folder) != whole


def test_the_order_of_images_counts(tmp_path):
    images = sorted(write_folder(tmp_path / "in", moving_frames(3, 32, 32)).iterdir())
    assert of(tuple(images)) != of(tuple(images[::-1]))
