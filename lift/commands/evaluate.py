"""`lift evaluate`: score weights, baselines and other methods under a protocol."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import torch

from lift.commands import (
    evaluate_flags,
    evaluate_long_context,
    evaluate_real16,
    evaluate_samples,
)
from lift.errors import LiftError
from lift.evaluation import peers, worst
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import long_context, real16
from lift.evaluation.protocols.registry import TEST_SETS
from lift.evaluation.run import shard_of_torchrun
from lift.files import check_folder
from lift.model.pretrained import weights_path


def main(argv: list[str]) -> int | None:
    """Print a table of scores, and write them with --output."""
    parser = evaluate_flags.parser(peers.NAMES)
    peers.add_flags(parser)
    args = parser.parse_args(argv)
    if args.protocol == "list":
        print(evaluate_flags.protocol_list())
        return None
    if args.threads:
        torch.set_num_threads(args.threads)
    _check(args)
    if args.protocol == long_context.NAME:
        return evaluate_long_context.evaluate(args)
    if args.protocol == real16.NAME:
        result, code = evaluate_real16.evaluate(args)
    else:
        result, code = evaluate_samples.evaluate(args, TEST_SETS[args.protocol])
    if args.worst and result is not None:
        _draw_worst(args, result)
    return code


def _check(args: Namespace) -> None:
    """Set defaults that all protocols share.

    Raises:
        LiftError: flags contradict each other, the protocol does not take one, or a result could
            not be written.
    """
    for file in filter(None, (args.output, args.worst)):
        check_folder(Path(file).parent)
    if args.checkpoint:
        args.checkpoint = weights_path(args.checkpoint)
    if args.reversal and args.protocol in TEST_SETS:
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
    if shard_of_torchrun().count > 1:
        for name in ("worst", "shard"):
            if getattr(args, name):
                raise LiftError(f"--{name} does not go with torchrun; leave one of the two out")


def _draw_worst(args: Namespace, result: dict) -> None:
    """Write the picture of the worst frames."""
    if args.protocol == real16.NAME:
        frames = evaluate_real16.scored_frames(args, result)
        target = partial(evaluate_real16.target, args)
    else:
        method = f"lift_{max(args.context_frames)}"
        frames = evaluate_samples.scored_frames(result, method, "dis")
        target = partial(evaluate_samples.target, args, TEST_SETS[args.protocol])
    chosen = worst.choose(frames, args.worst_count, args.worst_by)
    rows = [(frame, target(frame)) for frame in chosen]
    measure = {"gain": "PSNR gain over DIS", "psnr": "PSNR"}[args.worst_by]
    title = f"protocol {args.protocol}: frames with the lowest {measure}"
    worst.draw(args.worst, rows, load(args.checkpoint, args.kernels, args.device), title)
    print(f"written: {args.worst}")
