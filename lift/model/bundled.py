"""Weights that ship with the package: their names, where they are, and that they are whole.

lift/weights/tiny.safetensors         preset tiny, set default
lift/weights/tiny_open.safetensors    preset tiny, set open
lift/weights/tiny.2.safetensors       a further part, where one file would be too large
lift/weights/tiny.json                their record, with the SHA-256 of each file
"""

import json
from pathlib import Path

from lift.config import PRESETS
from lift.errors import LiftError
from lift.files import sha256

# Sets of weights by what they are trained on, and what a set adds to the name of the preset:
#   default  all training clips, whatever their licences
#   open     synthetic motion and clips whose footage may be redistributed, nothing else
SETS = {"default": "", "open": "_open"}
NAMES = {
    preset + suffix: (preset, weights_set)
    for preset in PRESETS
    for weights_set, suffix in SETS.items()
}
FOLDER = Path(__file__).resolve().parent.parent / "weights"


def bundled_name(preset: str, weights_set: str = "default") -> str:
    """The name of a set of weights, such as `tiny_open`."""
    return preset + SETS[weights_set]


def pretrained_path(name: str) -> Path:
    """Path of the bundled weights of a name, such as `tiny`; the file need not exist."""
    return FOLDER / f"{name}.safetensors"


def shipped_names() -> list[str]:
    """The names of the weights that ship."""
    return [name for name in NAMES if pretrained_path(name).is_file()]


def loading_call(name: str) -> str:
    """How a program loads the weights of a name."""
    preset, weights_set = NAMES[name]
    choice = "True" if weights_set == "default" else f'"{weights_set}"'
    return f'create_lift_model("{preset}", pretrained={choice})'


def verify(path: Path) -> None:
    """Compare the SHA-256 of a bundled file with its record; other files are not looked at.

    Raises:
        LiftError: a bundled file that is not as it ships, or whose record is missing.
    """
    path = path.resolve()
    name = path.name.partition(".")[0]
    if path.parent != FOLDER or name not in NAMES:
        return
    record = FOLDER / f"{name}.json"
    remedy = "install LIFT again, or run `git checkout lift/weights` in its sources"
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))["files"][path.name]
    except (OSError, ValueError, KeyError, TypeError):
        raise LiftError(f"{record} has no SHA-256 of {path.name}, as it ships; {remedy}") from None
    if sha256(path) != expected:
        raise LiftError(
            f"{path} is damaged or was exchanged (its SHA-256 is not that of {record.name}); "
            + remedy
        )
