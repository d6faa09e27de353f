"""`lift ablate`: train variants of a model under the same conditions and compare their scores."""

import json
import sys
from pathlib import Path

from lift.config import (
    PRESETS,
    Config,
    TrainConfig,
    add_flags,
    apply_flags,
    load_config,
    to_dict,
)
from lift.config.flag_values import names, whole_number, whole_numbers
from lift.config.flags import Parser
from lift.devices import choose_device
from lift.errors import LiftError
from lift.files import atomic, check_folder

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

    from lift.ablation.variants import FRAMES, runs_of

    common, variants, same = _variants(args)
    scored = args.eval_root or common.data.data_root
    if not scored:
        raise LiftError(
            "no clips to score: give --data_root, a folder of videos or of frames, with or without "
            "a manifest.json"
        )
    seeds = list(dict.fromkeys(args.seeds))
    output = Path(common.train.output)
    check_folder(output)
    runs = runs_of(variants, seeds, output, args.eval_context_frames, args.shuffled)

    from lift.ablation import runs as work
    from lift.ablation.clips import choose_split
    from lift.ablation.scoring_set import ScoringSet, Source, announce
    from lift.training.signals import StopRequest

    val_split = common.data.val_split
    trained_on = common.data.data_source != "synthetic" and scored == common.data.data_root
    source = Source(
        root=scored,
        split=args.eval_split or choose_split(scored, val_split, trained_on),
        val_split=val_split,
        targets=args.eval_targets,
        frame_cache=common.data.frame_cache or str(output / FRAMES),
    )
    jobs = [
        work.Job(
            label=run.label if run else "baselines and classes of motion",
            run=run,
            source=source,
            device=common.train.device,
            kernels=common.kernels,
        )
        for run in (None, *runs)
    ]
    with StopRequest(common.train.max_minutes) as stop:
        scoring_set = ScoringSet.open(source)
        announce(scoring_set, source)
        unfinished = [job for job in jobs if not work.finished(job, scoring_set)]
        outcome = work.work_all(unfinished, args.jobs, args.threads, stop)
    if jobs[0].label not in outcome.left:
        about = {"split": source.split, **_about(args.threads, common, variants, same)}
        _write(runs, scoring_set, output, about)
    if outcome.left and not outcome.errors:
        left = [job.label for job in jobs if job.label in outcome.left]
        print(f"stopped by {stop.cause}; not finished: {'; '.join(left)}; the same command resumes")
    for sentence in outcome.errors:
        print(f"lift ablate: error: {sentence}", file=sys.stderr)
    return 128 + stop.signal if stop.signal else int(bool(outcome.errors))


def _variants(args) -> tuple[Config, list, dict[str, str]]:
    """The common configuration, the chosen variants, and those that are others under a name."""
    from lift.ablation.builtin import NAME, builtin_variants, selected
    from lift.ablation.variants import read_variants

    base = load_config(args.config, BASE) if hasattr(args, "config") else BASE
    if args.variants == NAME:
        common = apply_flags(base, args)
        variants, same = builtin_variants(common)
    else:
        common, variants = read_variants(args.variants, base, args)
        same = {}
    wanted = {name: other for name, other in same.items() if not args.only or name in args.only}
    return common, selected(variants, same, args.only), wanted


def _about(threads: int, common: Config, variants: list, same: dict[str, str]) -> dict:
    """What to record of the ablation beside its scores."""
    from lift.ablation.variants import differences
    from lift.provenance import hardware, processor

    data, names = common.data, [variant.name for variant in variants]
    device = choose_device(common.train.device)
    on_cpu = f"{processor()}, {threads} thread" + "s" * (threads > 1)
    is_changed = common.model != PRESETS[common.model.preset]()
    root = f" ({Path(data.data_root).name})" if data.data_source != "synthetic" else ""
    return {
        "variants": {
            variant.name: differences(variant.config, common)
            if variant.config
            else {"checkpoint": str(variant.checkpoint)}
            for variant in variants
        },
        "common": to_dict(common),
        "same": {name: other for name, other in same.items() if other in names},
        "budget": {
            "batch_size": common.train.batch_size * common.train.accumulate,
            "crop": f"{data.crop_width}x{data.crop_height}",
            "data": f"{data.data_source}{root}",
            "preset": common.model.preset + " with other sizes" * is_changed,
        },
        "timed_on": on_cpu if device.type == "cpu" else hardware(device),
    }


def _write(runs, scoring_set, output: Path, about: dict) -> None:
    """Print the table of what is finished, and write it with everything it is made from."""
    from lift.ablation import details, figure, results, table

    found = results.collect(runs, scoring_set, about)
    text, more = table.markdown(found), details.markdown(found)
    for name, content in (
        ("results.json", json.dumps(found, indent=1) + "\n"),
        ("table.md", text),
        ("table.tex", table.latex(found)),
        ("table.csv", table.as_csv(found)),
        ("details.md", more),
    ):
        with atomic(output / name) as part:
            part.write_text(content, encoding="utf-8")
    figure.draw_gains(found, [output / "gains.png", output / "gains.pdf"])
    print(f"{text}\n{more}")


def _parser() -> Parser:
    parser = Parser(
        prog="lift ablate",
        usage="lift ablate --data_root DIR [--variants FILE] [--output DIR] [FLAG ...]",
        description="Train variants of a model under the same seeds, data and steps, score them on "
        "real clips by class of motion, and print a table.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--variants",
        default="builtin",
        metavar="FILE",
        help="builtin: the model without each of its parts, and with less context (default); or a "
        "TOML file: [model], [data], [train] for all; [variants.NAME.model] and so on for "
        "what differs; checkpoint in [variants.NAME] for weights that are only scored",
    )
    parser.add_argument(
        "--only",
        type=names,
        default=[],
        metavar="A,B",
        help="only these variants (default all)",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=whole_number(0),
        default=[0, 1],
        metavar="N",
        help="train every variant once with each of these (default 0 1)",
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="runs at a time, in processes of their own (default 1)",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="CPU threads of a run (default 1)",
    )
    parser.add_argument(
        "--eval_context_frames",
        type=whole_numbers(2),
        default=None,
        metavar="N,M",
        help="input frames when scoring, 2 or more; several are compared (default a variant's own "
        "context_frames)",
    )
    parser.add_argument(
        "--shuffled",
        choices=("first", "all", "none"),
        default="first",
        help="variants that are also scored with another clip's context, as a control "
        "(default first)",
    )
    parser.add_argument(
        "--eval_root",
        default="",
        metavar="DIR",
        help="clips to score: videos, folders of frames, or a manifest.json (default data_root)",
    )
    parser.add_argument(
        "--eval_targets",
        type=whole_number(1, 20),
        default=20,
        metavar="N",
        help="target frames per clip, 1 to 20; fewer are faster (default 20)",
    )
    parser.add_argument(
        "--eval_split",
        choices=("train", "val", "all"),
        help="clips to score (default val, or all where the clips have no splits and training does "
        "not read them)",
    )
    add_flags(parser)
    return parser


EXAMPLES = """examples:
  lift ablate --data_root D --output runs/parts          the built-in variants, two seeds
  lift ablate --config ablate_cpu --data_root D --eval_targets 2 --jobs 2 --output runs/cpu
                                                         the same at the smallest budget
  lift ablate --variants width.toml --data_root D --output runs/width --max_minutes 60
  lift ablate --variants width.toml --data_root D --output runs/width --jobs 2
                                                         resume, two runs at a time
"""
