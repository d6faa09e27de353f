"""`lift ablate`: train variants of a model under the same conditions and compare their scores."""

import argparse
import json
import sys
from pathlib import Path

from lift.config import Config, TrainConfig, add_flags, load_config
from lift.config.flags import Parser
from lift.errors import LiftError
from lift.files import atomic

# The runs' own validation is not needed: one clip, after the last step.
BASE = Config(
    train=TrainConfig(output="runs/ablation", validate_epochs=1_000_000, validate_clips=1)
)


def main(argv: list[str]) -> int:
    """Train, score, print the table.

    Returns:
        0 if all is finished or the time is over; 1 if a run failed; 128 and the signal's number if
        a signal stopped it.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    for flag, instead in (("seed", "give --seeds"), ("resume", "the same command resumes")):
        if hasattr(args, f"train.{flag}"):
            parser.error(f"--{flag} is of a single run; {instead}")

    from lift.ablation.variants import FRAMES, read_variants, runs_of

    base = load_config(args.config, BASE) if hasattr(args, "config") else BASE
    common, variants = read_variants(args.variants, base, args)
    if not common.data.data_root:
        raise LiftError("no clips to score: give --data_root, a folder with their manifest.json")
    runs = runs_of(variants, args.seeds, common.train.output)

    from lift.ablation import runs as work
    from lift.ablation.scores import ScoringSet
    from lift.training.signals import StopRequest

    output = Path(common.train.output)
    frame_cache = common.data.frame_cache or str(output / FRAMES)
    jobs = [
        work.Job(
            label=run.label if run else "baselines and classes of motion",
            run=run,
            root=common.data.data_root,
            split=args.eval_split,
            targets=args.eval_targets,
            frame_cache=frame_cache,
            context_frames=tuple(args.eval_context_frames),
            device=common.train.device,
            kernels=common.kernels,
        )
        for run in (None, *runs)
    ]
    with StopRequest(common.train.max_minutes) as stop:
        scoring_set = ScoringSet.open(
            common.data.data_root, args.eval_split, args.eval_targets, frame_cache
        )
        unfinished = [job for job in jobs if not work.finished(job, scoring_set)]
        outcome = work.work_all(unfinished, args.jobs, args.threads, stop)
    if jobs[0].label not in outcome.left:
        _write(args, common, variants, runs, scoring_set, output)
    if outcome.left and not outcome.errors:
        left = [job.label for job in jobs if job.label in outcome.left]
        print(f"stopped by {stop.cause}; not finished: {'; '.join(left)}; the same command resumes")
    for sentence in outcome.errors:
        print(f"lift ablate: error: {sentence}", file=sys.stderr)
    return 128 + stop.signal if stop.signal else int(bool(outcome.errors))


def _write(args, common: Config, variants, runs, scoring_set, output: Path) -> None:
    """Print the table of what is finished, and write it with everything it is made from."""
    from lift.ablation import results, table
    from lift.ablation.variants import differences

    about = {
        "split": args.eval_split,
        "variants": {
            variant.name: differences(variant.config, common)
            if variant.config
            else {"checkpoint": str(variant.checkpoint)}
            for variant in variants
        },
    }
    found = results.collect(runs, scoring_set, args.eval_context_frames, about)
    text = table.markdown(found)
    for name, content in (
        ("results.json", json.dumps(found, indent=1) + "\n"),
        ("table.md", text),
        ("table.csv", table.as_csv(found)),
    ):
        with atomic(output / name) as part:
            part.write_text(content, encoding="utf-8")
    print(text)


def _parser() -> Parser:
    parser = Parser(
        prog="lift ablate",
        usage="lift ablate --variants FILE --data_root DIR [--output DIR] [FLAG ...]",
        description="Train variants of a model under the same seeds, data and steps, score them on "
        "real clips by class of motion, and print a table.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--variants",
        required=True,
        metavar="FILE",
        help="TOML file: [model], [data], [train] for all; [variants.NAME.model] and so on for "
        "what differs; checkpoint in [variants.NAME] for weights that are only scored",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=_at_least(0),
        default=[0, 1],
        metavar="N",
        help="train every variant once with each of these (default 0 1)",
    )
    parser.add_argument(
        "--jobs",
        type=_at_least(1),
        default=1,
        metavar="N",
        help="runs at a time, in processes of their own (default 1)",
    )
    parser.add_argument(
        "--threads",
        type=_at_least(1),
        default=1,
        metavar="N",
        help="CPU threads of a run (default 1)",
    )
    parser.add_argument(
        "--eval_context_frames",
        type=_counts,
        default=[15],
        metavar="N,M",
        help="input frames when scoring, 2 or more; several are compared (default 15)",
    )
    parser.add_argument(
        "--eval_targets",
        type=_at_least(1, 20),
        default=20,
        metavar="N",
        help="target frames per clip, 1 to 20; fewer are faster (default 20)",
    )
    parser.add_argument(
        "--eval_split",
        choices=("train", "val", "all"),
        default="val",
        help="clips to score (default val)",
    )
    add_flags(parser)
    return parser


def _at_least(low: int, high: int | None = None):
    limits = f"at least {low}" if high is None else f"from {low} to {high}"

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
            raise argparse.ArgumentTypeError(f"must be a whole number {limits}, got '{text}'")
        return int(text)

    return number


def _counts(text: str) -> list[int]:
    return [_at_least(2)(part) for part in text.split(",")]


EXAMPLES = """examples:
  lift ablate --variants width.toml --data_root D --output runs/width --max_minutes 60
  lift ablate --variants width.toml --data_root D --output runs/width --jobs 2
                                                         resume, two runs at a time
"""
