"""`lift train`, `python -m lift.train`: train a model, or go on training it."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from lift.config import Config, TrainConfig
from lift.config import schema as configuration
from lift.config.flags import Parser
from lift.errors import LiftError, run


def main(argv: list[str]) -> int:
    """Read the configuration, train, tell how it ended.

    Returns:
        0 at the end of the run or of its time, or after the report, 128 and the signal's number
        where one stopped it.
    """
    parser = Parser(
        prog="lift train",
        usage="lift train [--config FILE | --phases FILE ...] [--data_root DIR] [FLAG ...]",
        description="Train a model, or go on training it.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--memory_report",
        "--memory-report",
        action="store_true",
        help="print what a step keeps for backward and where its time goes, stage by stage, and do not train",
    )
    parser.add_argument(
        "--phases",
        nargs="+",
        metavar="FILE",
        default=[],
        help="train in phases, each from the averaged weights of the one before: TOML files or ready configurations "
        f"({', '.join(configuration.builtin_configs())}), in their order; flags hold for all of them, and so does --max_minutes",
    )
    configuration.add_flags(parser)
    namespace = parser.parse_args(argv)
    if namespace.phases:
        if namespace.memory_report:
            parser.error(
                "--memory_report reports one configuration: name it with --config instead of --phases"
            )
        return in_phases(namespace)

    from lift.training.loop import train  # torch and all: a wrong flag is told at once

    config = settle(namespace)
    if namespace.memory_report:
        from lift.profiling.memory import report

        for line in report(config):
            print(line, flush=True)
        return 0

    end = train(config)
    best = f", best validation {end.best_psnr:.3f} dB" if end.best_psnr > float("-inf") else ""
    state = (
        "finished"
        if not end.stopped_by
        else f"stopped by {end.stopped_by}; the same command goes on"
    )
    print(
        f"step {end.step} of {end.total_steps}{best}: {state}. Weights: {config.train.output}/last.safetensors"
    )
    return 128 + end.signal if end.signal else 0


def in_phases(namespace: argparse.Namespace) -> int:
    """Train what is left of the phases that `--phases` names, and tell what is left after that."""
    base = configuration.load_config(namespace.config) if hasattr(namespace, "config") else Config()
    configs = [
        (
            Path(name).stem,
            configuration.apply_flags(configuration.load_config(name, base), namespace),
        )
        for name in namespace.phases
    ]

    from lift.training import phases

    end = phases.train(phases.build_phases(configs))
    phase, ending, later = end.phases[end.current], end.result, end.phases[end.current + 1 :]
    best = (
        f", best validation {ending.best_psnr:.3f} dB" if ending.best_psnr > float("-inf") else ""
    )
    print(
        f"phase {end.current + 1} of {len(end.phases)} ({phase.name}): step {ending.step} of {ending.total_steps}{best}. "
        f"Weights: {phase.output}/last.safetensors"
    )
    if not ending.stopped_by:
        print("all phases are finished")
        return 0
    left = (
        [f"{ending.total_steps - ending.step} steps of {phase.name}"]
        if ending.step < ending.total_steps
        else []
    )
    print(
        f"stopped by {ending.stopped_by}; left: {', '.join([*left, *(f'{p.name} ({p.length})' for p in later)])}; the same command goes on"
    )
    return 128 + ending.signal if ending.signal else 0


def settle(namespace: argparse.Namespace) -> Config:
    """The configuration of a run: defaults, file, flags; where the run goes on, its checkpoint
    takes the place of the defaults.

    So `--output runs/a` alone goes on with the run in runs/a. Where and for how long it goes on is
    asked anew each time.
    """
    from lift.training import checkpoints, phases

    config = configuration.resolve(namespace)
    found = checkpoints.find(Path(config.train.output), config.train.resume)
    if found is None:
        if below := phases.phase_folders(Path(config.train.output)):
            raise LiftError(
                f"{config.train.output} holds a training in phases ({', '.join(path.name for path in below)}): give its "
                "--phases, or another --output"
            )
        return config
    stored = checkpoints.read_config(found)
    anew = {
        name: getattr(TrainConfig(), name)
        for name in ("device", "max_minutes", "resume", "init_weights", "pretrained_encoder")
    }
    base = replace(stored, train=replace(stored.train, **anew, output=str(found.parent.parent)))
    return configuration.resolve(namespace, base)


EXAMPLES = """examples:
  lift train --data_root D --batch_size 4 --pretrained_encoder F
  lift train --data_source synthetic --preset tiny --device cpu --max_minutes 30 --output runs/tiny
  lift train --output runs/tiny                          go on with that run
  lift train --phases warmup finetune polish --data_root D --output runs/base
  torchrun --nproc_per_node 4 -m lift.train --data_root D
"""

if __name__ == "__main__":
    sys.exit(run(main))
