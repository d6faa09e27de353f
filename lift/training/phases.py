"""Training in phases: runs in sequence, each from the averaged weights of the one before.

    output/1_warmup/    a run like any other: checkpoint/, last.safetensors, curve.csv, ...
    output/2_finetune/  the next one

Nothing else is stored: the progress is read from the checkpoints of the runs.
"""

import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lift.config import Config
from lift.errors import LiftError
from lift.model.weights import differing_fields, read_weights
from lift.training import checkpoints
from lift.training.distributed import init_distributed
from lift.training.loop import TrainResult, run
from lift.training.signals import StopRequest


@dataclass(frozen=True)
class Phase:
    """One run of a training in phases.

    Attributes:
        name: of its configuration.
        config: complete, with its own output folder and initial weights.
    """

    name: str
    config: Config

    @property
    def output(self) -> Path:
        return Path(self.config.train.output)

    @property
    def length(self) -> str:
        """Steps or epochs of the phase, in words."""
        settings = self.config.train
        return (
            f"{settings.epochs * settings.epoch_steps} steps"
            if settings.epoch_steps
            else f"{settings.epochs} epochs"
        )


@dataclass(frozen=True)
class PhasesResult:
    """How a training in phases ended.

    Attributes:
        phases: all of them.
        current: number of the phase that ran last, from 0.
        result: of that phase.
    """

    phases: list[Phase]
    current: int
    result: TrainResult


def build_phases(configs: list[tuple[str, Config]]) -> list[Phase]:
    """Phases from configurations, each with its folder and the weights of the one before.

    Args:
        configs: name and configuration of each, in their order; `train.output` of all is the folder
            of the training; only the first uses its `init_weights` and `pretrained_encoder`.

    Raises:
        LiftError: the phases train different models, or the folder holds a run or the phases of
            another training.
    """
    root, phases = Path(configs[0][1].train.output), []
    for number, (name, config) in enumerate(configs, 1):
        difference = differing_fields(asdict(configs[0][1].model), asdict(config.model))
        if difference:
            raise LiftError(
                f"--phases: {configs[0][0]} and {name} train different models ({difference}); "
                "give the sizes as flags, for all"
            )
        if config.train.resume != "auto":
            raise LiftError(
                f"--phases resume by themselves; leave out --resume {config.train.resume}, or "
                "resume a single phase with --output and the folder of that phase"
            )
        settings = replace(config.train, output=str(root / f"{number}_{name}"))
        if phases:
            start = f"{phases[-1].output}/last.safetensors"
            settings = replace(settings, init_weights=start, pretrained_encoder="")
        phases.append(Phase(name, replace(config, train=settings)))
    if checkpoints.latest(root / "checkpoint"):
        raise LiftError(f"{root} has a single run; give --phases another --output")
    known = [phase.output.name for phase in phases]
    if others := [folder.name for folder in phase_folders(root) if folder.name not in known]:
        raise LiftError(
            f"{root} has {others[0]}, a phase of another training; give the same --phases as "
            "before, or another --output"
        )
    return phases


def phase_folders(root: Path) -> list[Path]:
    """Folders of the runs of a training in phases, in order."""
    found = [
        path
        for path in root.glob("*_*")
        if re.match(r"[1-9]\d*_", path.name) and (path / "checkpoint").is_dir()
    ]
    return sorted(found, key=lambda path: int(path.name.split("_")[0]))


def train(phases: list[Phase]) -> PhasesResult:
    """Train the phases that are not finished; a signal or the time limit stops all of them.

    Raises:
        LiftError: as `loop.train`; a phase that has begun has another configuration.
    """
    settings = phases[0].config.train
    with (
        init_distributed(settings.device) as distributed,
        StopRequest(settings.max_minutes) as stop,
    ):
        for number, phase in enumerate(phases):
            result = finished_result(phase)
            if result is not None:
                continue
            if distributed.is_main:
                rest = "".join(
                    f", then {later.name} ({later.length})" for later in phases[number + 1 :]
                )
                print(
                    f"phase {number + 1} of {len(phases)}: {phase.name} in {phase.output}{rest}",
                    file=sys.stderr,
                    flush=True,
                )
            result = run(phase.config, distributed, stop)
            more = number + 1 < len(phases)
            # All processes wait here until the main one has written its weights.
            if more and not result.stopped_by and distributed.any(stop.wanted):
                result = replace(result, stopped_by=stop.cause, signal=stop.signal)
            if result.stopped_by:
                break
    return PhasesResult(phases, number, result)


def finished_result(phase: Phase) -> TrainResult | None:
    """The result of a finished phase; None if it has steps or a validation left.

    Raises:
        LiftError: its checkpoint is corrupt, or has another configuration.
    """
    found = checkpoints.find(phase.output, "auto")
    if found is None:
        return None
    state = checkpoints.read(found, phase.config).state
    total = state.get("total_steps")
    if not total == state["step"] == state["validated"]:
        return None
    try:
        stored = read_weights(phase.output / "last.safetensors")[2].get("step")
    except LiftError:  # missing or incomplete: the run writes them again
        return None
    return TrainResult(total, total, "", None, state["best"]) if stored == str(total) else None
