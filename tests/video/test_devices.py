"""One video on several devices: each makes parts, and the result is that of one device."""

import pickle
import queue
import threading
from functools import partial
from types import SimpleNamespace

import pytest

from lift.errors import LiftError
from lift.video import devices
from lift.video import file as jobs
from lift.video.devices import DeviceWorkers
from lift.video.interpolator import Interpolator
from lift.video.options import FileOptions
from lift.video.progress import Progress
from tests.support.video_samples import moving_frames, write_video

pytest.importorskip("av")
pytestmark = pytest.mark.videos


class InThread(threading.Thread):
    """A process as `DeviceWorkers` starts it, in this process; what it gets is pickled."""

    exitcode = None

    def __init__(self, target, args, daemon):
        *task, events = args
        super().__init__(target=target, args=(*pickle.loads(pickle.dumps(task)), events))
        self.daemon = daemon

    def terminate(self):
        """It ends by itself."""


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    context = SimpleNamespace(Process=InThread, Queue=queue.Queue)
    fake = SimpleNamespace(get_context=lambda _: context)
    monkeypatch.setattr(devices, "multiprocessing", fake)
    monkeypatch.setattr(devices, "_end_with_parent", lambda: None)
    monkeypatch.setattr(jobs, "PART_FRAMES", 8)


def failing(device):
    if device == "b":
        raise LiftError("b has no memory; leave it out")


def test_devices_make_the_parts_of_one_video(model, tmp_path, monkeypatch):
    source = write_video(tmp_path / "in.mp4", moving_frames(14, 32, 48), sound=True)
    smooth, options = Interpolator(model, 2), FileOptions()
    whole = jobs.interpolate_file(smooth, source, tmp_path / "whole.mp4", options)
    made, make_from = [], jobs.Job._make_from

    def noted(self, parts, output, part, stop):
        made.append((threading.current_thread() is threading.main_thread(), part))
        make_from(self, parts, output, part, stop)

    monkeypatch.setattr(jobs.Job, "_make_from", noted)
    workers, progress = DeviceWorkers(("cpu", "cpu"), partial(Interpolator, model, 2)), Progress()
    shared = jobs.interpolate_file(
        smooth, source, tmp_path / "shared.mp4", options, progress, workers=workers
    )
    assert sorted(made) == [(False, 0), (False, 2)]  # of four parts, and none is left
    assert shared.frames == whole.frames == progress.count == 27
    assert (tmp_path / "shared.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_the_sentence_of_a_device_that_fails_is_that_of_the_run():
    workers = DeviceWorkers(("a", "b"), failing)
    with pytest.raises(LiftError, match="b has no memory"):
        workers.make_parts(print, 2, Progress())
