"""`lift train`, `python -m lift.train`: train a model, or go on training it."""
import argparse
import sys
from dataclasses import replace
from pathlib import Path

from . import config as configuration
from .config import Config, TrainConfig
from .errors import run
from .flags import Parser


def main(argv: list[str]) -> int:
    """Read the configuration, train, tell how it ended.

    Returns:
        0 at the end of the run or of its time, or after the report, 128 and the signal's number where one stopped it.
    """
    parser = Parser(prog="lift train", usage="lift train [--config FILE] [--data_root DIR] [FLAG ...]",
                    description="Train a model, or go on training it.", epilog=EXAMPLES)
    parser.add_argument("--memory_report", "--memory-report", action="store_true",
                        help="print what a step keeps for backward and where its time goes, stage by stage, and do not train")
    configuration.add_flags(parser)
    namespace = parser.parse_args(argv)

    from .training.loop import train  # torch and all: a wrong flag is told at once

    config = settle(namespace)
    if namespace.memory_report:
        from .training.memory import report
        for line in report(config):
            print(line, flush=True)
        return 0

    end = train(config)
    best = f", best validation {end.best:.3f} dB" if end.best > float("-inf") else ""
    state = "finished" if not end.cause else f"stopped by {end.cause}; the same command goes on"
    print(f"step {end.step} of {end.total_steps}{best}: {state}. Weights: {config.train.output}/last.safetensors")
    return 128 + end.signal if end.signal else 0


def settle(namespace: argparse.Namespace) -> Config:
    """The configuration of a run: defaults, file, flags; where the run goes on, its checkpoint takes the place of the defaults.

    So `--output runs/a` alone goes on with the run in runs/a. Where and for how long it goes on is asked anew each time.
    """
    from .training import checkpoints

    config = configuration.resolve(namespace)
    found = checkpoints.find(Path(config.train.output), config.train.resume)
    if found is None:
        return config
    stored = checkpoints.read_config(found)
    anew = {name: getattr(TrainConfig(), name) for name in ("device", "max_minutes", "resume", "init", "pretrained_encoder")}
    base = replace(stored, train=replace(stored.train, **anew, output=str(found.parent.parent)))
    return configuration.resolve(namespace, base)


EXAMPLES = """examples:
  lift train --data_root D --batch_size 4 --pretrained_encoder F
  lift train --data synthetic --preset tiny --device cpu --max_minutes 30 --output runs/tiny
  lift train --output runs/tiny                          go on with that run
  torchrun --nproc_per_node 4 -m lift.train --data_root D
"""

if __name__ == "__main__":
    sys.exit(run(main))
