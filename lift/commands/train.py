"""`lift train`, `python -m lift.train`: train a model or resume a run."""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lift.config import (
    Config,
    TrainConfig,
    add_flags,
    apply_flags,
    builtin_configs,
    load_config,
    resolve,
)
from lift.config.flag_values import whole_number
from lift.config.flags import Parser
from lift.config.old_names import DEPRECATED_TRAIN_FLAGS
from lift.errors import LiftError, run

# Settings that a resumed run does not take from its checkpoint: where and how long it runs.
NOT_RESUMED = ("device", "max_minutes", "resume", "init_weights", "pretrained_encoder")


def main(argv: list[str]) -> int:
    """Read the configuration, train, print a summary.

    Returns:
        0 if the run is finished or its time is over, and after a report; 128 and the signal's
        number if a signal stopped it.
    """
    parser = Parser(
        prog="lift train",
        usage="lift train [--config FILE | --phases FILE ...] [--data_root DIR] [FLAG ...]",
        description="Train a model or resume a run.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--memory_report",
        action="store_true",
        help="print activation memory and time of a training step by stage, and do not train",
    )
    parser.add_argument(
        "--phases",
        nargs="+",
        metavar="FILE",
        default=[],
        help="train in phases, each from the averaged weights of the one before: TOML files or "
        f"built-in configurations ({', '.join(builtin_configs())}), in order; flags, and "
        "--max_minutes too, apply to all of them",
    )
    parser.add_argument(
        "--find_lr",
        action="store_true",
        help="raise the learning rate from step to step, print where the loss falls and where it "
        "explodes, write find_lr.png to --output, and do not train",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="CPU threads of a process; 0: PyTorch's default, or OMP_NUM_THREADS",
    )
    add_flags(parser)
    parser.deprecated_flags |= DEPRECATED_TRAIN_FLAGS
    namespace = parser.parse_args(argv)
    reports = [f"--{name}" for name in ("memory_report", "find_lr") if getattr(namespace, name)]
    if namespace.phases and reports:
        parser.error(f"{reports[0]} needs one configuration: use --config, not --phases")
    if namespace.threads:
        import torch

        torch.set_num_threads(namespace.threads)
    if namespace.phases:
        return train_phases(namespace)

    from lift.training.loop import train  # torch and all: a wrong flag should not wait for it

    config = resolve_config(namespace)
    if reports:
        for line in _report(config, reports[0]):
            print(line, flush=True)
        return 0

    result = train(config)
    state = "finished"
    if result.stopped_by:
        state = f"stopped by {result.stopped_by}; the same command resumes"
    if result.signal and not result.step:
        _say(
            f"stopped by {result.stopped_by} before its first step was done; the same command "
            "goes on"
        )
        return 128 + result.signal
    _say(
        f"step {result.step} of {result.total_steps}{_best(result.best_psnr)}: {state}. "
        f"Weights: {config.train.output}/last.safetensors"
    )
    return 128 + result.signal if result.signal else 0


def _say(text: str) -> None:
    """Print, in the main one of several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


def _report(config: Config, flag: str) -> Iterable[str]:
    """Lines of what is printed instead of training."""
    if flag == "--find_lr":
        from lift.training.lr_finder import report
    else:
        from lift.profiling.memory import report
    return report(config)


def _best(psnr: float) -> str:
    return f", best validation {psnr:.3f} dB" if psnr > float("-inf") else ""


def train_phases(namespace: argparse.Namespace) -> int:
    """Train the phases that `--phases` names, and print what remains."""
    base = load_config(namespace.config) if hasattr(namespace, "config") else Config()
    configs = []
    for name in namespace.phases:
        configs.append((Path(name).stem, apply_flags(load_config(name, base), namespace)))

    from lift.training import phases

    end = phases.train(phases.build_phases(configs))
    phase, result, later = end.phases[end.current], end.result, end.phases[end.current + 1 :]
    place = f"phase {end.current + 1} of {len(end.phases)} ({phase.name})"
    if result.step:
        _say(
            f"{place}: step {result.step} of {result.total_steps}{_best(result.best_psnr)}. "
            f"Weights: {phase.output}/last.safetensors"
        )
    else:
        _say(f"{place}: before the first step")
    if not result.stopped_by:
        _say("all phases are finished")
        return 0
    left = result.total_steps - result.step
    remaining = [f"{left} steps of {phase.name}"] if left > 0 else []
    if result.signal and not result.step:
        remaining = [f"{phase.name} ({phase.length})"]
    remaining += [f"{p.name} ({p.length})" for p in later]
    _say(
        f"stopped by {result.stopped_by}; remaining: {', '.join(remaining)}; "
        "the same command resumes"
    )
    return 128 + result.signal if result.signal else 0


def resolve_config(namespace: argparse.Namespace) -> Config:
    """The configuration of a run: defaults, file, flags.

    On resume the checkpoint's configuration takes the place of the defaults, so that
    `--output runs/a` alone resumes the run in runs/a.
    """
    from lift.training import checkpoints, phases

    config = resolve(namespace)
    output = Path(config.train.output)
    found = checkpoints.find(output, config.train.resume)
    if found is None:
        if folders := phases.phase_folders(output):
            names = ", ".join(path.name for path in folders)
            raise LiftError(
                f"{output} has a training in phases ({names}): give its --phases, or another "
                "--output"
            )
        return config
    stored = checkpoints.read_config(found)
    fresh = {name: getattr(TrainConfig(), name) for name in NOT_RESUMED}
    base = replace(stored, train=replace(stored.train, **fresh, output=str(found.parent.parent)))
    return resolve(namespace, base)


EXAMPLES = """examples:
  lift train --data_root D --batch_size 4 --pretrained_encoder F
  lift train --data_source synthetic --preset tiny --max_minutes 30 --output runs/tiny
  lift train --output runs/tiny                          resume that run
  lift train --output runs/tiny --epochs 400 --lr 1e-4   extend or change it on purpose
  lift train --data_root D --preset small --find_lr      suggest a learning rate
  lift train --phases warmup finetune polish --data_root D --output runs/base
  torchrun --nproc_per_node 4 -m lift.train --data_root D
"""

if __name__ == "__main__":
    sys.exit(run(main))
