"""The file that TensorBoard reads.

`torch.utils.tensorboard.SummaryWriter` writes in a thread, which a full disk ends with a traceback;
here every event is written at once, through `AppendFile`.
"""

import io
import itertools
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from lift.training.append_file import AppendFile

_numbers = itertools.count()


class EventFile:
    """A new event file in a folder.

    Args:
        folder: that TensorBoard is given.
        step: where the run starts; TensorBoard drops what a killed run logged of later steps.
        warn: called with a sentence where the file cannot be written.
    """

    def __init__(self, folder: Path, step: int, warn: Callable[[str], None]):
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
        path = folder / f"{name}.{os.getpid()}.{next(_numbers)}"
        self._file = AppendFile(path, warn)
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._add(Event(summary=summary.scalar(name, value), step=step))

    def histogram(self, name: str, values: list[float], step: int) -> None:
        counts = summary.histogram(name, np.asarray(values, np.float64), "auto")
        self._add(Event(summary=counts, step=step))

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A picture (H, W, 3) uint8, RGB."""
        png = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
        height, width = pixels.shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        value = Summary.Value(tag=name, image=image)
        self._add(Event(summary=Summary(value=[value]), step=step))

    def settings(self, name: str, values: dict[str, object], text: str) -> None:
        """Settings as text, and as the hyperparameters by which TensorBoard compares runs."""
        self._add(Event(summary=summary.text(name, text), step=0))
        plain = {
            k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()
        }
        for part in summary.hparams(plain, {"validation/psnr": 0.0}):
            self._add(Event(summary=part, step=0))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self._file.append(record.getvalue())

    def close(self) -> None:
        self._file.close()
