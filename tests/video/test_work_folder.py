"""Where parts are kept: for a resumed run only, and by one run at a time."""

import os
from pathlib import Path
from threading import Thread

import pytest

from lift.errors import LiftError, Terminated
from lift.video import work_folder
from lift.video.work_folder import JOB, WorkFolder, clear_leftovers, folder_of, lock

JOBS = {"source": "a.mp4"}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(target, job=JOBS, resume=False):
    """What a run that was killed leaves."""
    work = WorkFolder(target, job, resume=resume)
    work.__enter__()
    (work.path / "part000000.mkv").write_text("x")
    os.close(work._lock)  # as the system does
    return work.path


@pytest.mark.parametrize("resume", (False, True))
def test_nothing_is_left_at_the_end(tmp_path, resume):
    with WorkFolder(tmp_path / "a.mp4", JOBS, resume=resume) as work:
        assert work.path.name.startswith(".") and len(work.path.name) < 30
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", (KeyboardInterrupt, LiftError, MemoryError))
@pytest.mark.parametrize("resume", (False, True))
def test_parts_of_an_interrupted_run_are_kept_only_for_a_resumed_one(tmp_path, resume, error):
    with pytest.raises(error), WorkFolder(tmp_path / "new" / "a.mp4", JOBS, resume=resume) as work:
        (work.path / "part000000.mkv").write_text("x")
        raise error
    assert work.path.exists() == resume
    if not resume:
        assert names(tmp_path) == []  # nor the folder that was made for the output


def test_a_run_that_fails_before_its_first_part_leaves_nothing(tmp_path):
    with pytest.raises(LiftError), WorkFolder(tmp_path / "a.mp4", JOBS, resume=True):
        raise LiftError("gif: has no presets")
    assert names(tmp_path) == []


def test_parts_are_used_by_an_equal_job_only(tmp_path):
    target = tmp_path / "a.mp4"
    left = killed(target, resume=True)
    with pytest.raises(KeyboardInterrupt), WorkFolder(target, JOBS, resume=True) as work:
        assert work.resumed and (left / "part000000.mkv").exists() and work.notes == []
        raise KeyboardInterrupt
    with WorkFolder(target, {"source": "b.mp4"}, resume=True) as work:
        assert not work.resumed and not (left / "part000000.mkv").exists()
        assert "starts from the beginning" in work.notes[0]


@pytest.mark.parametrize("resume", (False, True))
def test_a_run_that_does_not_resume_removes_what_is_left(tmp_path, resume):
    left = killed(tmp_path / "a.mp4", resume=resume)
    with WorkFolder(tmp_path / "a.mp4", JOBS) as work:
        assert not work.resumed and names(left) == [JOB, "lock"]
    assert names(tmp_path) == []


def test_a_run_removes_what_other_killed_runs_left_but_no_parts_to_resume(tmp_path):
    killed(tmp_path / "a.mp4")
    kept = killed(tmp_path / "b.mp4", resume=True)
    begun = folder_of(tmp_path / "c.mp4")
    begun.mkdir()  # killed at once
    with WorkFolder(tmp_path / "d.mp4", JOBS) as work, WorkFolder(tmp_path / "e.mp4", JOBS):
        assert work.path.exists()  # it still runs
    assert names(tmp_path) == [kept.name]
    clear_leftovers(tmp_path, finished=tmp_path / "b.mp4")
    assert names(tmp_path) == []


def test_folders_of_others_are_left_alone(tmp_path):
    for name in (".lift-notes", ".lift-cache", ".lift-0123456789abcdef0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("x")
    with WorkFolder(tmp_path / "a.mp4", JOBS):
        pass
    assert len(names(tmp_path)) == 3


def test_one_output_has_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr(work_folder, "WAIT", 0)
    with WorkFolder(tmp_path / "a.mp4", JOBS) as work:
        with pytest.raises(LiftError, match="another run is writing"):
            WorkFolder(tmp_path / "a.mp4", JOBS).__enter__()
        assert names(work.path) == [JOB, "lock"]


def test_runs_that_begin_together_do_not_disturb_each_other(tmp_path):
    failures = []

    def work(name):
        try:
            for _ in range(15):
                with WorkFolder(tmp_path / name, JOBS) as folder:
                    assert (folder.path / JOB).exists()
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work, args=(f"{k}.mp4",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and names(tmp_path) == []


def test_a_folder_that_is_deleted_while_it_is_made_is_made_anew(tmp_path, monkeypatch):
    make, calls, target = os.mkdir, [], tmp_path / "a.mp4"

    def too_late(path, *mode):
        if Path(path) == folder_of(target):
            calls.append(path)
            if len(calls) == 1:  # another run's, which deletes it now
                raise FileExistsError
        make(path, *mode)

    monkeypatch.setattr(os, "mkdir", too_late)
    with WorkFolder(target, JOBS) as work:
        assert (work.path / JOB).exists()
    assert len(calls) > 1


def test_a_folder_that_was_deleted_while_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    work, calls = WorkFolder(tmp_path / "a.mp4", JOBS), []

    def after_another_run(folder):
        calls.append(folder)
        if len(calls) == 1:
            folder.rmdir()
        return lock(folder)

    monkeypatch.setattr(work_folder, "lock", after_another_run)
    with work:
        assert names(work.path) == [JOB, "lock"] and len(calls) == 2


@pytest.mark.parametrize("error", (Terminated(15), KeyboardInterrupt(), OSError(28, "full")))
def test_an_interruption_at_the_start_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr(WorkFolder, "_take_over", fail)
    kind = LiftError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind):
        WorkFolder(tmp_path / "new" / "a.mp4", JOBS).__enter__()
    assert names(tmp_path) == []


def test_an_interruption_while_parts_are_deleted_does_not_leave_some(tmp_path, monkeypatch):
    remove, calls = work_folder.shutil.rmtree, []

    def interrupted(folder, **options):
        calls.append(folder)
        if len(calls) == 1:
            raise KeyboardInterrupt
        remove(folder, **options)

    monkeypatch.setattr(work_folder.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), WorkFolder(tmp_path / "a.mp4", JOBS):
        pass
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LiftError, match="could not be written"):
        WorkFolder(tmp_path / "file" / "a.mp4", JOBS).__enter__()
