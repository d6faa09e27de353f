"""Checkpoints of a run: all files of one step together, complete or not there at all.

    output/checkpoint/latest                  name of the newest checkpoint, replaced atomically
    output/checkpoint/checkpoint-00001200/    the newest two remain
        model.safetensors, ema.safetensors    weights with their configuration
        state.pt                              optimiser, scaler, random generators, counters
        manifest.json                         step, configuration, history, checksum of each file

A checkpoint is written under a name ending in .part and renamed when it is complete, so a run that
is killed at any moment can be resumed.
"""

import io
import json
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lift.config import Config, from_dict, old_names, to_dict
from lift.errors import LiftError
from lift.files import atomic
from lift.model.weights import load_into, save_weights
from lift.training import changes

FILES = ("model.safetensors", "ema.safetensors", "state.pt")
# Keys of the state that the manifest repeats: what is known of a run without its tensors.
SUMMARY_KEYS = ("step", "total_steps", "data", "world", "history")


@dataclass(frozen=True)
class Checkpoint:
    """What a run resumes from.

    Attributes:
        path: the checkpoint's folder.
        config: of the run that wrote it.
        state: what `write` was given.
    """

    path: Path
    config: Config
    state: dict[str, Any]

    def restore(self, model: nn.Module, ema: nn.Module) -> None:
        """Give both models their weights."""
        load_into(model, self.path / "model.safetensors")
        load_into(ema, self.path / "ema.safetensors")


# -- write -----------------------------------------------------------------------------------------


def write(
    folder: Path, model: nn.Module, ema: nn.Module, state: dict[str, Any], config: Config
) -> Path:
    """Write a checkpoint, point `latest` at it, and delete all but the one before.

    Args:
        folder: of all checkpoints of the run.
        model, ema: the weights being trained, and their average.
        state: tensors, numbers, text, lists and dictionaries; state["step"] names the checkpoint.
        config: of the run.

    Returns:
        The checkpoint's folder.

    Raises:
        LiftError: it cannot be written; existing checkpoints are unchanged.
    """
    step = state["step"]
    final = folder / f"checkpoint-{step:08d}"
    part = final.with_name(final.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.part"):
            shutil.rmtree(leftover)
        part.mkdir()
        save_weights(part / "model.safetensors", model, config, step=str(step))
        save_weights(part / "ema.safetensors", ema, config, step=str(step))
        content = io.BytesIO()
        torch.save(
            state, content
        )  # to memory first: torch turns a full disk into an error of its own
        _put(part / "state.pt", content.getvalue())
        manifest = {
            **{name: state[name] for name in SUMMARY_KEYS if name in state},
            "config": to_dict(config),
            "crc32": {name: zlib.crc32((part / name).read_bytes()) for name in FILES},
        }
        _put(part / "manifest.json", json.dumps(manifest, indent=1).encode())
        if final.exists():  # of the same step: from before a resume at an earlier one
            final.rename(final.with_name(final.name + ".former.part"))
        part.rename(final)
        _put(folder / "latest", final.name.encode())
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        former = latest(folder)
        remaining = f"{former} is unchanged" if former else "no earlier checkpoint exists"
        raise LiftError(
            f"cannot write the checkpoint {final} ({error.strerror or error}): {remaining}; "
            "free some space or repair the disk, then run the same command again"
        ) from None
    shutil.rmtree(final.with_name(final.name + ".former.part"), ignore_errors=True)
    before = [path for path in list_complete(folder) if path.name < final.name]
    for path in list_complete(folder):
        if path not in (final, *before[-1:]):
            shutil.rmtree(path, ignore_errors=True)
    return final


def _put(path: Path, content: bytes) -> None:
    with atomic(path) as part:
        part.write_bytes(content)


# -- find ------------------------------------------------------------------------------------------


def list_complete(folder: Path) -> list[Path]:
    """Checkpoints in a run's checkpoint folder, oldest first."""
    return sorted(
        path for path in folder.glob("checkpoint-*") if path.is_dir() and path.suffix != ".part"
    )


def latest(folder: Path) -> Path | None:
    """The checkpoint that the file `latest` names.

    After a kill between writing a checkpoint and naming it: the one of the highest step.
    """
    paths = list_complete(folder)
    try:
        named = folder / (folder / "latest").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        named = None
    return named if named in paths else paths[-1] if paths else None


def find(output: Path, resume: str) -> Path | None:
    """The checkpoint to resume from.

    Args:
        output: the run's folder.
        resume: auto, never, or a checkpoint's folder (or a folder of checkpoints, or a run's
            folder).

    Returns:
        The checkpoint's folder, or None for a new run.

    Raises:
        LiftError: there is none at the folder named, or a new run would overwrite the
            checkpoints of another.
    """
    own = latest(output / "checkpoint")
    if resume == "auto":
        return own
    if resume == "never":
        if own:
            raise LiftError(
                f"{output} has a checkpoint ({own.name}) that --resume never would overwrite; "
                "give another --output, or delete the folder"
            )
        return None
    path = Path(resume)
    found = (
        path if (path / "manifest.json").is_file() else latest(path / "checkpoint") or latest(path)
    )
    if not found:
        raise LiftError(
            f"--resume {resume}: no checkpoint there; give auto, never, or a folder like "
            f"{output}/checkpoint/checkpoint-..."
        )
    if own and found.resolve().parent != (output / "checkpoint").resolve():
        raise LiftError(
            f"{output} has the checkpoint of another run ({own.name}) than --resume {resume}; "
            "give another --output"
        )
    return found


# -- read ------------------------------------------------------------------------------------------


def read_config(path: Path) -> Config:
    """The configuration of the run that wrote a checkpoint.

    Raises:
        LiftError: the manifest is missing or corrupt.
    """
    return _manifest(path)[0]


def read_summary(path: Path) -> tuple[Config, dict[str, Any]]:
    """Configuration and SUMMARY_KEYS of a checkpoint.

    They are in the manifest; only for a checkpoint of an early version is the state read.

    Raises:
        LiftError: a file is missing or corrupt.
    """
    config, manifest = _manifest(path)
    if "history" not in manifest:
        manifest = read(path).state
    return config, manifest


def read(path: Path, config: Config | None = None, on_purpose: bool = False) -> Checkpoint:
    """Read a checkpoint and verify its checksums.

    Args:
        path: the checkpoint's folder.
        config: of the resuming run, which must compute what the checkpoint's run computed;
            not compared when None.
        on_purpose: accept settings that a run may change; see `changes.changed_settings`.

    Raises:
        LiftError: a file is missing or corrupt, or the configurations differ.
    """
    stored, manifest = _manifest(path)
    if config is not None and (found := changes.difference(stored, config, on_purpose)):
        raise LiftError(
            f"{path} was written with another configuration, {found}; "
            "give the same values, or start a new run with another --output"
        )
    for name in FILES:
        try:
            content = (path / name).read_bytes()
        except OSError as error:
            raise _broken(path, name, error.strerror or str(error)) from None
        if zlib.crc32(content) != manifest["crc32"].get(name):
            raise _broken(path, name, "its checksum differs")
    try:
        state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # pickle and zip raise many kinds
        raise _broken(path, "state.pt", str(error).splitlines()[0]) from None
    return Checkpoint(path, stored, state)


def _manifest(path: Path) -> tuple[Config, dict[str, Any]]:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        manifest["crc32"].items()
        return from_dict(old_names.of_stored_model(manifest["config"])), manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError, LiftError) as error:
        raise _broken(
            path, "manifest.json", getattr(error, "strerror", None) or str(error)
        ) from None


def _broken(path: Path, name: str, cause: str) -> LiftError:
    before = [other for other in list_complete(path.parent) if other.name < path.name]
    remedy = (
        f"resume from the one before with --resume {before[-1]}"
        if before
        else "no earlier one exists: start with another --output"
    )
    return LiftError(
        f"the checkpoint's file {path / name} is corrupt or missing ({cause}); {remedy}"
    )
