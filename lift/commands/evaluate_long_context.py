"""`lift evaluate` under protocol `long_context`, whose clips are rendered or come from `real16`."""

import json
import time
from argparse import Namespace
from functools import partial

from tqdm import tqdm

from lift import provenance
from lift.errors import LiftError
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import long_context, real16
from lift.evaluation.report import context_table
from lift.files import atomic

DEFAULT_BASELINES = ("average", "dis", "dis_cubic")
# Flags that this protocol does not take.
OTHER_FLAGS = (
    "every",
    "limit",
    "metrics",
    "frames",
    "restart",
    "shard",
    "save_frames",
    "reversal",
    "worst",
)


def evaluate(args: Namespace) -> None:
    """Score the clips, print the table and write the JSON file of --output.

    Raises:
        LiftError: the protocol does not take a flag or a method, or a clip cannot be read.
    """
    _check(args)
    started = time.perf_counter()
    candidates = _candidates(args)
    most = max(args.context_frames)
    lift = candidates.get(f"lift_{most}")
    shuffled = {f"lift_shuffled_{most}": lift} if lift and most > 2 else None
    bar = partial(tqdm, unit="clip", disable=None, leave=False)
    result = long_context.score(
        args.data_root, candidates, args.split, args.clips, bar, shuffled=shuffled
    )
    result |= provenance.of_scores(args.checkpoint)
    result["seconds"] = round(time.perf_counter() - started, 1)
    print(context_table(result))
    if args.output:
        with atomic(args.output) as part:
            part.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {args.output}")


def _check(args: Namespace) -> None:
    for name in OTHER_FLAGS:
        if getattr(args, name):
            raise LiftError(f"protocol {long_context.NAME} takes no --{name}; leave it out")
    args.context_frames = args.context_frames or long_context.CONTEXT_FRAMES
    lift = ["lift"] if args.checkpoint else []
    args.methods = args.methods or [*lift, *DEFAULT_BASELINES]
    for method in args.methods:
        if method not in ("lift", *real16.BASELINES):
            raise LiftError(
                f"protocol {long_context.NAME} has no method {method}; "
                f"it has lift, {', '.join(real16.BASELINES)}"
            )


def _candidates(args: Namespace) -> dict[str, real16.Candidate]:
    """The methods, lift once for each number of input frames."""
    candidates = {}
    for method in args.methods:
        if method == "lift":
            model = load(args.checkpoint, args.kernels, args.device)
            candidates |= {
                f"lift_{n}": real16.model_candidate(model, n) for n in args.context_frames
            }
        else:
            candidates[method] = real16.baseline_candidate(method)
    return candidates
