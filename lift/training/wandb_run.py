"""A run of Weights & Biases, which gets what TensorBoard gets; optional."""

import uuid
from pathlib import Path

import numpy as np

from lift.config import Config, to_dict
from lift.errors import LiftError
from lift.files import atomic
from lift.io.optional import require


class WandbRun:
    """A run, continued when the training is resumed.

    Without an account or a network, set WANDB_MODE=offline; `wandb sync` uploads the run later.

    Args:
        project: its project.
        output: the run's folder; the identifier of the run is kept there.
        config: of the run.

    Raises:
        LiftError: the package is missing, or does not accept the run.
    """

    def __init__(self, project: str, output: Path, config: Config):
        self._wandb = require("wandb", "--wandb")
        identifier = output / "wandb_id"
        if not identifier.is_file():
            with atomic(identifier) as part:
                part.write_text(uuid.uuid4().hex[:12])
        try:
            self._run = self._wandb.init(
                project=project,
                name=output.name,
                id=identifier.read_text().strip(),
                resume="allow",
                dir=str(output),
                config=to_dict(config),
            )
        except Exception as error:  # of the network, the account, the service
            raise LiftError(
                f"--wandb {project}: Weights & Biases does not start ({_first_line(error)}); "
                "log in with `wandb login`, set WANDB_MODE=offline, or leave --wandb out"
            ) from None

    def log(self, scalars: dict[str, float], step: int) -> None:
        self._run.log(scalars, step=step)

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A picture (H, W, 3) uint8, RGB."""
        self._run.log({name: self._wandb.Image(pixels)}, step=step)

    def close(self) -> None:
        self._run.finish()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
