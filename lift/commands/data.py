"""`lift data`: check a data set, write it as shards, or benchmark its loader."""

import argparse
import json
from pathlib import Path

from lift.config import Config, add_flags, resolve
from lift.config.flag_values import whole_number, whole_numbers
from lift.config.flags import Parser
from lift.errors import LiftError
from lift.files import atomic

USAGE = """usage: lift data check|shard|bench --data_root D [...]

  check  read every frame; name broken, short, still, repeated and wrongly sized sequences
  shard  write the sequences as tar files, for disks that are slow to open many small files
  bench  samples per second of the loader, and which part of it limits
"""


def main(argv: list[str]) -> int | None:
    """Run the named part."""
    name = argv[0] if argv else ""
    if name in ("-h", "--help"):
        print(USAGE, *(parser().format_help() for _, parser in PARTS.values()), sep="\n")
        raise SystemExit(0)
    if name not in PARTS:
        raise LiftError(f"lift data has no part {name!r}; give one of {', '.join(PARTS)}")
    part, parser = PARTS[name]
    return part(parser().parse_args(argv[1:]))


def _check_parser() -> Parser:
    parser = Parser(prog="lift data check", description="Read every frame of a data set.")
    _add_root(parser)
    parser.add_argument("--json", metavar="FILE", help="write everything that was found")
    parser.add_argument(
        "--num_workers",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="processes that read (default 0)",
    )
    return parser


def check(args: argparse.Namespace) -> int:
    """Print what is wrong with a data set.

    Returns:
        1 where training would stop at something or scores would be wrong, else 0.
    """
    from tqdm import tqdm

    from lift.data import check as checking
    from lift.data.layouts import in_words
    from lift.data.sequences import layout_of

    layout = layout_of(Path(args.data_root))
    if not layout.entries:
        raise LiftError(f"{args.data_root} holds no sequences; docs/data.md lists the layouts")

    def bar(facts):
        return tqdm(facts, "reading", len(layout.entries), unit="sequence", disable=None)

    rule = f" ({layout.rule})" if layout.rule else ""
    print(f"{layout.root}: {layout.name}{rule}, {in_words(len(layout.entries))}")
    for reason, names in layout.left_out.items():
        print(f"left out, {reason}: {len(names)} ({', '.join(names[:3])})")
    findings = []
    for finding in checking.check(layout, args.num_workers, bar):
        findings.append(finding)
        tqdm.write(f"{finding.kind}: {finding.sequence}: {finding.text}")
    serious = sum(finding.is_serious for finding in findings)
    print(f"{len(findings)} findings, {serious} of them serious")
    if args.json:
        found = checking.summary(layout, findings)
        with atomic(args.json) as part:
            part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"written: {args.json}")
    return int(serious > 0)


def _shard_parser() -> Parser:
    parser = Parser(prog="lift data shard", description="Write a data set as tar files.")
    _add_root(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the shards")
    parser.add_argument(
        "--megabytes",
        type=whole_number(0),
        default=500,
        metavar="N",
        help="size of a shard (default 500)",
    )
    return parser


def shard(args: argparse.Namespace) -> None:
    """Write a data set as shards."""
    from tqdm import tqdm

    from lift.data.layouts import in_words
    from lift.data.sequences import layout_of
    from lift.data.shards import write_shards

    layout = layout_of(Path(args.data_root))
    if not layout.entries:
        raise LiftError(f"{args.data_root} holds no sequences; docs/data.md lists the layouts")

    def bar(entries):
        return tqdm(entries, "writing", unit="sequence", disable=None)

    files = write_shards(layout, Path(args.output), args.megabytes, bar)
    print(
        f"written: {in_words(len(layout.entries))} in {len(files)} shards; "
        f"train on them with --data_root {args.output}"
    )


def _bench_parser() -> Parser:
    parser = Parser(
        prog="lift data bench",
        description="Benchmark the loader; takes the flags of lift train that concern data.",
    )
    parser.add_argument(
        "--workers",
        type=whole_numbers(0),
        default=[0, 1, 2],
        metavar="N,M",
        help="numbers of loading processes to compare (default 0,1,2)",
    )
    parser.add_argument(
        "--step_ms", type=float, metavar="MS", help="time of a training step, to compare with"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="of each measurement (default 5)"
    )
    add_flags(parser, ("data", "train"))
    return parser


def bench(args: argparse.Namespace) -> None:
    """Print samples per second by number of loading processes, and what limits them."""
    config: Config = resolve(args)

    from lift.data import loader_benchmark
    from lift.data.dataset import ClipDataset

    dataset = ClipDataset(
        config.data,
        config.data.train_split,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        train=True,
    )
    parts = loader_benchmark.time_parts(config, dataset, args.seconds)
    print(", ".join(f"{name} {value:.1f} ms" for name, value in parts.items()) + " per sample")
    rates = []
    for workers in args.workers:
        rates.append(loader_benchmark.measure(config, dataset, workers, args.seconds))
        print(f"{workers} loading processes: {rates[-1].samples_per_second:.1f} samples/s")
    best = max(rates, key=lambda rate: rate.samples_per_second)
    print(loader_benchmark.verdict(parts, best, config, args.step_ms))


PARTS = {
    "check": (check, _check_parser),
    "shard": (shard, _shard_parser),
    "bench": (bench, _bench_parser),
}


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data_root", required=True, metavar="DIR", help="folder of the data set, as in lift train"
    )
