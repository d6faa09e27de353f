"""A training in phases: runs one after the other, each from the averaged weights of the one before.

    output/1_warmup/    a run like any other: checkpoint/, last.safetensors, best.safetensors,
    curve.csv output/2_finetune/  the next one

Nothing else is kept: how far the training has come is what the runs' own checkpoints say.
"""

import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lift.config import Config
from lift.errors import LiftError
from lift.model.weights import differing_fields, read_weights
from lift.training import checkpoints
from lift.training.distributed import join
from lift.training.loop import Ending, run
from lift.training.signals import StopRequest


@dataclass(frozen=True)
class Phase:
    """One run of a training.

    Attributes:
        name: of its configuration.
        config: whole, with its own output and the start that the phase before gives.
    """

    name: str
    config: Config

    @property
    def output(self) -> Path:
        return Path(self.config.train.output)

    @property
    def left(self) -> str:
        """What this phase has before it when it is new."""
        settings = self.config.train
        return (
            f"{settings.epochs * settings.epoch_steps} steps"
            if settings.epoch_steps
            else f"{settings.epochs} epochs"
        )


@dataclass(frozen=True)
class Standing:
    """How a training in phases ended.

    Attributes:
        phases: all of them.
        current: number of the phase that ran last, from 0.
        ending: of that phase.
    """

    phases: list[Phase]
    current: int
    ending: Ending

    @property
    def finished(self) -> bool:
        return not self.ending.cause and self.current == len(self.phases) - 1


def chain(configs: list[tuple[str, Config]]) -> list[Phase]:
    """The phases of a training, each in its folder and from the weights of the one before.

    Args:
        configs: name and configuration of each, in their order; `train.output` of all is the folder
            of the training, and the first one's `init_weights` and `pretrained_encoder` its start.

    Raises:
        LiftError: the phases train different models, or the folder holds a run or the phases of
            another training.
    """
    root, phases = Path(configs[0][1].train.output), []
    for number, (name, config) in enumerate(configs, 1):
        difference = differing_fields(asdict(configs[0][1].model), asdict(config.model))
        if difference:
            raise LiftError(
                f"--phases: {configs[0][0]} and {name} train different models ({difference}); give the sizes as flags, for all"
            )
        if config.train.resume != "auto":
            raise LiftError(
                f"--phases go on by themselves where they stopped; leave out --resume {config.train.resume}, or go on with a "
                "single phase: --output and the folder of that phase"
            )
        start = (
            {}
            if not phases
            else {"init_weights": f"{phases[-1].output}/last.safetensors", "pretrained_encoder": ""}
        )
        phases.append(
            Phase(
                name,
                replace(
                    config,
                    train=replace(config.train, output=str(root / f"{number}_{name}"), **start),
                ),
            )
        )
    if checkpoints.newest(root / "checkpoint"):
        raise LiftError(f"{root} holds a single run; give --phases another --output")
    known = [phase.output.name for phase in phases]
    if others := [folder.name for folder in folders(root) if folder.name not in known]:
        raise LiftError(
            f"{root} holds {others[0]}, a phase of another training; give the same --phases as before, or another --output"
        )
    return phases


def folders(root: Path) -> list[Path]:
    """The runs below the folder of a training in phases, in their order."""
    found = [
        path
        for path in root.glob("*_*")
        if re.match(r"[1-9]\d*_", path.name) and (path / "checkpoint").is_dir()
    ]
    return sorted(found, key=lambda path: int(path.name.split("_")[0]))


def train(phases: list[Phase]) -> Standing:
    """Train what is left of the phases; what stopped it, or a time limit, holds for all of them
    together.

    Raises:
        LiftError: as `loop.train`; a phase that has begun has another configuration.
    """
    settings = phases[0].config.train
    with join(settings.device) as processes, StopRequest(settings.max_minutes) as stop:
        for number, phase in enumerate(phases):
            ending = finished(phase)
            if ending is not None:
                continue
            if processes.first:
                rest = "".join(
                    f", then {later.name} ({later.left})" for later in phases[number + 1 :]
                )
                print(
                    f"phase {number + 1} of {len(phases)}: {phase.name} in {phase.output}{rest}",
                    file=sys.stderr,
                    flush=True,
                )
            ending = run(phase.config, processes, stop)
            more = number + 1 < len(phases)
            if (
                more and not ending.cause and processes.any(stop.wanted)
            ):  # each waits here until the first has written its weights
                ending = replace(ending, cause=stop.cause, signal=stop.signal)
            if ending.cause:
                break
    return Standing(phases, number, ending)


def finished(phase: Phase) -> Ending | None:
    """How a phase ended, None where it has something to do.

    Raises:
        LiftError: its run is damaged, or of another configuration.
    """
    found = checkpoints.find(phase.output, "auto")
    if found is None:
        return None
    state = checkpoints.read(found, phase.config).state
    total = state.get("total_steps")
    if not total == state["step"] == state["validated"]:
        return None
    try:
        kept = read_weights(phase.output / "last.safetensors")[2].get("step")
    except LiftError:  # missing or half copied: the run writes them once more
        return None
    return Ending(total, total, "", None, state["best"]) if kept == str(total) else None
