"""Training runs of a few steps on a model of a few channels, and a signal in the middle of one."""

import signal
from pathlib import Path

import pytest

from lift.config import Config, from_dict, to_flags
from lift.training.state import TrainState

MODEL = {
    "preset": "tiny",
    "stem_channels": 4,
    "c4": 8,
    "c8": 8,
    "c16": 16,
    "attn_channels": 16,
    "layers": 1,
    "heads": 1,
    "corr_channels": 8,
    "radius16": 1,
    "radius8": 1,
    "radius4": 1,
    "hidden16": 8,
    "hidden8": 8,
    "hidden4": 8,
    "flow_blocks": 1,
    "refine_channels": 8,
}
DATA = {
    "data_source": "synthetic",
    "crop_height": 64,
    "crop_width": 64,
    "context_frames": 4,
    "num_workers": 0,
}
TRAIN = {
    "batch_size": 2,
    "epochs": 3,
    "epoch_steps": 2,
    "warmup_steps": 2,
    "freeze_epochs": 1,
    "validate_epochs": 1,
    "validate_clips": 1,
    "log_steps": 2,
    "device": "cpu",
}


def run_config(output: Path, workers: int = 0, **settings) -> Config:
    """Configuration of a run of six steps in three epochs."""
    data = {**DATA, "num_workers": workers}
    train = {**TRAIN, **settings, "output": str(output)}
    return from_dict({"model": MODEL, "data": data, "train": train})


def run_flags(**settings) -> list[str]:
    """Flags of a run of one clip per step, for `lift train`."""
    train = {"batch_size": 1, "freeze_epochs": 0, "validate_clips": 1, "device": "cpu", **settings}
    data = {**DATA, "context_frames": 3}
    config = from_dict({"model": MODEL, "data": data, "train": train})
    return " ".join(to_flags(config).values()).split()


def stop_after(patch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """Raise a signal during the given step."""
    original = TrainState.train_step

    def train_step(self, *arguments):
        scalars = original(self, *arguments)
        if self.step == step:
            signal.raise_signal(number)
        return scalars

    patch.setattr(TrainState, "train_step", train_step)
