"""`lift evaluate` under the protocol of a test set."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from tqdm import tqdm

from lift import provenance
from lift.commands.evaluate_methods import default_methods, methods_of
from lift.errors import LiftError, Terminated, cleanup_on_signals, say
from lift.evaluation.frames import FrameReader
from lift.evaluation.run import Evaluation, shard_of_torchrun
from lift.evaluation.samples import Sample, TestSet
from lift.evaluation.scoring import choose_metrics
from lift.evaluation.summary import table
from lift.evaluation.target import ScoredFrame, Target

Complete = Callable[[Evaluation, dict], dict]  # adds what a protocol states beside the means


def evaluate(
    args: Namespace,
    test_set: TestSet,
    complete: Complete = lambda evaluation, result: result,
    text: Callable[[dict], str] = table,
) -> tuple[dict | None, int]:
    """Score a test set, print the table and write the files of --output.

    Args:
        args: the flags.
        test_set: the protocol.
        complete: adds to the result of an evaluation before it is written.
        text: the table of a result.

    Returns:
        The result, or None where other processes still score, and the exit code.

    Raises:
        LiftError: flags do not fit the protocol, or as `Evaluation`.
    """
    with cleanup_on_signals():
        evaluation = _prepare(args, test_set)
        if evaluation.output is not None:
            if args.restart:
                evaluation.restart()
            elif result := evaluation.finished():
                say(text(result))
                say(f"scored before: {evaluation.output}; --restart scores anew")
                return result, 0
        try:
            return _run(args, evaluation, complete, text), 0
        except (KeyboardInterrupt, Terminated) as stop:
            _say_stopped(evaluation, stop)
            return None, 128 + stop.number if isinstance(stop, Terminated) else 130


def _run(
    args: Namespace, evaluation: Evaluation, complete: Complete, text: Callable[[dict], str]
) -> dict | None:
    result = evaluation.run(_bar)
    if result is None:
        done = sum(sample.name in evaluation.rows for sample in evaluation.samples)
        say(f"{done} of {len(evaluation.samples)} samples are scored; other parts are missing")
        return None
    result = complete(evaluation, result) | provenance.of_scores(args.checkpoint)
    if evaluation.output is not None:  # before printing: the reader of stdout may have ended
        evaluation.write(result)
    say(text(result))
    if evaluation.output is not None:
        say(f"written: {evaluation.output}, {evaluation.csv_path}")
    return result


def _prepare(args: Namespace, test_set: TestSet) -> Evaluation:
    if args.data_root is None:
        raise LiftError(f"protocol {test_set.name} needs --data_root: {test_set.layout}")
    shard = args.shard or shard_of_torchrun()
    if shard.count > 1 and not args.output:
        raise LiftError("several processes need --output FILE, beside which they share their rows")
    if args.restart and not args.output:
        raise LiftError("--restart replaces what is at --output; give --output FILE")
    if args.restart and shard.count > 1:
        raise LiftError(
            "--restart would remove the rows of the other processes; delete "
            f"{args.output} and {Path(args.output).with_suffix('.rows')} first, then start all"
        )
    if args.output and Path(args.output).suffix != ".json":
        raise LiftError(f"--output must be a .json file, got {args.output}")
    if args.device == "auto" and shard.count > 1 and "LOCAL_RANK" in os.environ:
        args.device = _device_of_torchrun()
    args.methods = args.methods or default_methods(args, test_set)
    args.context_frames = _context_frames(args, test_set)
    metrics = choose_metrics((*test_set.metrics, *(args.metrics or ())))
    methods = methods_of(args, test_set)
    samples = choose_samples(args, test_set, max(m.context_frames for m in methods))
    if args.worst and any(sample.t != 0.5 for sample in samples):
        raise LiftError(f"--worst draws frames at t = 0.5, and {test_set.name} has others")
    return Evaluation(test_set, samples, methods, metrics, args.output, shard, args.save_frames)


def choose_samples(args: Namespace, test_set: TestSet, count: int) -> list[Sample]:
    """The samples, of `count` input frames at most, that --split ... --limit leave.

    Raises:
        LiftError: the folder is not the test set, or no sample is left.
    """
    samples = test_set.find(Path(args.data_root), count)
    if args.split != "all":
        samples = [sample for sample in samples if sample.split == args.split]
        if not samples:
            raise LiftError(f"{args.data_root} has no clip of split {args.split}")
    if args.clips:
        groups = dict.fromkeys(sample.group for sample in samples if sample.group)
        if unknown := [name for name in args.clips if name not in groups]:
            raise LiftError(
                f"there is no clip or group {unknown[0]} in protocol {test_set.name}; there are "
                f"{', '.join(list(groups)[:20]) or 'no groups'}"
            )
        samples = [sample for sample in samples if sample.group in args.clips]
    if not samples:
        raise LiftError(
            f"{args.data_root} has no sample of protocol {test_set.name}, which reads "
            f"{test_set.layout}; its clips may be too short"
        )
    return samples[:: args.every or 1][: args.limit]


def _context_frames(args: Namespace, test_set: TestSet) -> list[int]:
    most = test_set.context_frames
    counts = args.context_frames or list(dict.fromkeys((2, most or 15)))
    if most and max(counts) > most:
        raise LiftError(
            f"protocol {test_set.name} takes no --context_frames above {most}: its samples have "
            f"{most} input frames"
        )
    return counts


def _device_of_torchrun() -> str:
    """The GPU of this process among those of its machine."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"


def _bar(samples: list[Sample], done: int) -> Iterable[Sample]:
    return tqdm(
        samples, total=done + len(samples), initial=done, unit="sample", disable=None, leave=False
    )


def _say_stopped(evaluation: Evaluation, stop: BaseException) -> None:
    done = sum(sample.name in evaluation.rows for sample in evaluation.samples)
    cause = str(stop) if isinstance(stop, Terminated) else "Ctrl-C"
    kept = "the same command resumes" if evaluation.store else "nothing is kept without --output"
    say(
        f"lift: stopped by {cause} after {done} of {len(evaluation.samples)} samples; {kept}",
        stream=sys.stderr,
    )


# -- the worst frames ------------------------------------------------------------------------------


def scored_frames(result: dict, method: str, baseline: str) -> list[ScoredFrame]:
    """The PSNR of every sample by a method and a baseline."""
    scores = result["scores"]
    pairs = zip(scores[method]["psnr_each"], scores[baseline]["psnr_each"], strict=True)
    return [
        ScoredFrame(name, None, *pair) for name, pair in zip(result["samples"], pairs, strict=True)
    ]


def target(args: Namespace, test_set: TestSet, frame: ScoredFrame) -> Target:
    """The frames of a scored sample, as many inputs as lift reads at most."""
    count = max(args.context_frames)
    samples = choose_samples(args, test_set, count)
    sample = next(each for each in samples if each.name == frame.clip)
    inputs, truth = FrameReader(test_set.prepare).sample(sample)
    chosen, times, left = sample.nearest(count)
    return Target(inputs[chosen], times, left, truth, sample.t)
