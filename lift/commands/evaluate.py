"""`lift evaluate`: score weights, baselines and other methods under a protocol."""

import os
from argparse import Namespace
from collections.abc import Callable

import torch

from lift.commands import evaluate_clips, evaluate_flags, evaluate_methods, evaluate_test_set
from lift.errors import LiftError
from lift.evaluation import worst
from lift.evaluation.checkpoint import load, path_of
from lift.evaluation.protocols.registry import TEST_SETS
from lift.evaluation.target import ScoredFrame, Target

# Flags that only test sets take.
TEST_SET_FLAGS = ("every", "limit", "metrics", "frames", "restart", "shard", "save_frames")


def main(argv: list[str]) -> int | None:
    """Print a table of scores, and write them with --output."""
    parser = evaluate_flags.parser(evaluate_methods.adapter_names())
    for adapter in evaluate_methods.ADAPTERS:
        adapter.add_flags(parser)
    args = parser.parse_args(argv)
    if args.protocol == "list":
        print(evaluate_flags.protocol_list())
        return None
    if args.threads:
        torch.set_num_threads(args.threads)
    _check(args)
    try:
        return _evaluate(args)
    except RuntimeError as error:
        if "no fused backend" not in str(error):
            raise
        raise LiftError(str(error)) from None  # of --kernels fused: the reason and the remedy


def _evaluate(args: Namespace) -> int | None:
    if args.protocol not in TEST_SETS:
        result = evaluate_clips.evaluate(args)
        if args.worst:
            frames = evaluate_clips.scored_frames(args, result)
            _draw_worst(args, frames, lambda frame: evaluate_clips.target(args, frame))
        return None
    test_set = TEST_SETS[args.protocol]
    result, code = evaluate_test_set.evaluate(args, test_set)
    if args.worst and result is not None:
        method = f"lift_{max(args.context_frames)}"
        frames = evaluate_test_set.scored_frames(result, method, "dis")
        _draw_worst(
            args, frames, lambda frame: evaluate_test_set.target(args, test_set, frame.clip)
        )
    return code


def _check(args: Namespace) -> None:
    """Set defaults that all protocols share.

    Raises:
        LiftError: flags contradict each other, or the protocol does not take one.
    """
    if args.checkpoint:
        args.checkpoint = path_of(args.checkpoint)
    if args.protocol not in TEST_SETS:
        for name in TEST_SET_FLAGS:
            if getattr(args, name):
                raise LiftError(f"protocol {args.protocol} takes no --{name}; leave it out")
    elif args.reversal:
        raise LiftError(f"protocol {args.protocol} takes no --reversal; leave it out")
    args.split = args.split or "all"
    methods = args.methods or (["lift", "dis"] if args.checkpoint else [])
    if "lift" in methods and not args.checkpoint:
        raise LiftError(
            "scoring lift needs weights: give --checkpoint FILE, or leave lift out of --methods"
        )
    if args.checkpoint and "lift" not in methods:
        raise LiftError(
            "--checkpoint is given but --methods does not name lift; add it, or leave out "
            "--checkpoint"
        )
    if args.reversal and not args.checkpoint:
        raise LiftError("--reversal compares lift with itself: give --checkpoint FILE")
    if args.worst and not {"lift", "dis"} <= set(methods):
        raise LiftError("--worst compares lift with dis: score both, with --checkpoint FILE")
    if args.worst and "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        raise LiftError(
            "--worst draws in one process; give it to the same command without torchrun"
        )


def _draw_worst(
    args: Namespace, frames: list[ScoredFrame], target: Callable[[ScoredFrame], Target]
) -> None:
    """Write the picture of the worst frames."""
    rows = [
        (frame, target(frame)) for frame in worst.choose(frames, args.worst_count, args.worst_by)
    ]
    if any(each.t != 0.5 for _, each in rows):
        raise LiftError(f"--worst draws frames at t = 0.5, and {args.protocol} has others")
    measure = {"gain": "PSNR gain over DIS", "psnr": "PSNR"}[args.worst_by]
    title = f"protocol {args.protocol}: frames with the lowest {measure}"
    worst.draw(args.worst, rows, load(args.checkpoint, args.kernels, args.device), title)
    print(f"written: {args.worst}")
