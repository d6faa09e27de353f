"""What the user gives for another model: folders, files, and the sentence beside its scores."""

from pathlib import Path

from lift.errors import LiftError
from lift.evaluation.peers.pairs import Preparation
from lift.model.weights import sha256
from lift.provenance import commit_of


def given_path(path: Path | None, flag: str, what: str) -> Path:
    """The path of a flag.

    Raises:
        LiftError: it was not given, or does not exist.
    """
    if path is None:
        raise LiftError(f"{flag} is missing; give {what}")
    path = Path(path).expanduser()
    if not path.exists():
        raise LiftError(f"{flag}: {path} does not exist; give {what}")
    return path.absolute()  # a link stays beside what it lies beside


def given_folder(path: Path | None, flag: str, what: str) -> Path:
    """As `given_path`, for a folder."""
    path = given_path(path, flag, what)
    if not path.is_dir():
        raise LiftError(f"{flag}: {path} is not a folder; give {what}")
    return path


def given_file(path: Path | None, flag: str, what: str) -> Path:
    """As `given_path`, for a file."""
    path = given_path(path, flag, what)
    if not path.is_file():
        raise LiftError(f"{flag}: {path} is not a file; give {what}")
    return path


def takes_any_time(choice: str, named_so: bool) -> bool:
    """Whether a network is given t itself, by `--peer_time` or, with auto, by the weights' name."""
    return named_so if choice == "auto" else choice == "any"


def checkout_about(
    variant: str, code: Path, weights: Path, preparation: Preparation, scale: float
) -> str:
    """What stands beside the scores of a model from a checkout.

    Args:
        code: the folder of the checkout.
    """
    commit = commit_of(code)
    return (
        f"{variant}, code {code.name} at {f'commit {commit}' if commit else 'an unknown commit'}, "
        f"{weights_about(weights)}; {preparation}; flow at scale {scale:g}"
    )


def weights_about(weights: Path) -> str:
    """Name and SHA-256 of a file of weights."""
    return f"weights {weights.name} (SHA-256 {sha256(weights)})"
