"""The work of an ablation: runs that are trained, and everything that is scored.

    output/<variant>/seed<k>/   a run like any other, and its scores.json
    output/<variant>/           scores.json of a variant that is not trained
    output/frames/              decoded frames, and scores that depend on the clips alone;
                                other ablations share them with --frame_cache

Nothing else is stored: what is finished is read from these files, so the same command resumes.
"""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import torch

from lift import kernels
from lift.ablation.cost import stream_cost
from lift.ablation.scores import SHUFFLED, Scores, measure_motion, score
from lift.ablation.scoring_set import ScoringSet, Source
from lift.ablation.variants import Run
from lift.errors import LiftError
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import real16
from lift.io.optional import require
from lift.model.weights import sha256
from lift.training import loop, phases
from lift.training.distributed import init_distributed
from lift.training.signals import StopRequest

BASELINES = tuple(name for name in real16.BASELINES if name != "copy")


@dataclass(frozen=True)
class Job:
    """Something to do in a process of its own.

    Attributes:
        label: for messages.
        run: what is trained and scored; None for the baselines and the statistics of motion.
        source: of the clips to score.
        device, kernels: where a model is scored, and how.
    """

    label: str
    run: Run | None
    source: Source
    device: str
    kernels: str


def method(context_frames: int, shuffled: bool = False) -> str:
    """The name of a model's scores with a number of input frames."""
    return f"lift_{context_frames}{SHUFFLED if shuffled else ''}"


def scorings(run: Run, scoring_set: ScoringSet) -> list[tuple[int, bool]]:
    """How a run is scored: numbers of input frames, and whether their context is another clip's."""
    plain = [(n, False) for n in run.context_frames]
    most = max(run.context_frames)
    is_shuffled = run.shuffled and most > 2 and scoring_set.can_shuffle
    return [*plain, (most, True)] if is_shuffled else plain


# -- one job ---------------------------------------------------------------------------------------


def finished(job: Job, scoring_set: ScoringSet) -> bool:
    """Whether everything of a job is there.

    Raises:
        LiftError: its run has begun with another configuration, or its checkpoint is corrupt.
    """
    if job.run is None:
        scores = baseline_scores(scoring_set)
        return _motion_complete(scores, scoring_set) and all(
            scores.complete(name, scoring_set.targets) for name in BASELINES
        )
    if job.run.config and training_result(job.run) is None:
        return False
    scores = run_scores(job.run, scoring_set)
    return _cost_complete(scores, job.run) and all(
        scores.complete(method(*how), scoring_set.targets) for how in scorings(job.run, scoring_set)
    )


def _cost_complete(scores: Scores, run: Run) -> bool:
    known = scores.content.get("cost", {})
    return all(str(n) in known for n in run.context_frames)


def training_result(run: Run) -> loop.TrainResult | None:
    """How a finished training ended; None if it has steps left.

    Raises:
        LiftError: its checkpoint is corrupt, or has another configuration.
    """
    try:
        return phases.finished_result(phases.Phase(run.label, run.config))
    except LiftError as error:
        raise LiftError(f"{run.label}: {error}") from error


def baseline_scores(scoring_set: ScoringSet) -> Scores:
    """Scores of the baselines, and the statistics of motion."""
    data = scoring_set.fingerprint
    return Scores(scoring_set.frame_cache / f"{real16.NAME}-{data}.json", data)


def run_scores(run: Run, scoring_set: ScoringSet) -> Scores:
    """Scores of a run, of its weights as they are now."""
    return Scores(run.folder / "scores.json", scoring_set.fingerprint, sha256(run.weights))


def _motion_complete(scores: Scores, scoring_set: ScoringSet) -> bool:
    known = scores.content["motion"]
    return all(
        str(k) in known.get(clip, {}) for clip, each in scoring_set.targets.items() for k in each
    )


def work(job: Job, stop: StopRequest) -> bool:
    """Train and score what a job has left.

    Returns:
        Whether it is finished; False after a stop, from which the same call resumes.

    Raises:
        LiftError: as training and scoring.
    """
    scoring_set = ScoringSet.open(job.source)
    if job.run is None:
        return _score_baselines(job, scoring_set, stop)
    config = job.run.config
    if config is not None and training_result(job.run) is None:
        with init_distributed(config.train.device) as distributed:
            loop.run(config, distributed, stop)
        if training_result(job.run) is None:
            return False
    scores = run_scores(job.run, scoring_set)
    with kernels.use(job.kernels):
        model = load(job.run.weights, device=job.device)
        if not _cost_complete(scores, job.run):
            cost = {str(n): stream_cost(model, n) for n in job.run.context_frames}
            scores.content["parameters"] = sum(p.numel() for p in model.parameters())
            scores.content["cost"] = scores.content.get("cost", {}) | cost
            scores.save()
        candidates = {
            method(n, shuffled): real16.model_candidate(model, n)
            for n, shuffled in scorings(job.run, scoring_set)
        }
        print(f"{job.label}: scoring {len(scoring_set)} targets", file=sys.stderr, flush=True)
        return score(scores, candidates, scoring_set, lambda: stop.wanted)


def _score_baselines(job: Job, scoring_set: ScoringSet, stop: StopRequest) -> bool:
    scores = baseline_scores(scoring_set)
    candidates = {name: real16.baseline_candidate(name) for name in BASELINES}
    return measure_motion(scores, scoring_set, lambda: stop.wanted) and score(
        scores, candidates, scoring_set, lambda: stop.wanted
    )


# -- all jobs --------------------------------------------------------------------------------------


@dataclass
class WorkResult:
    """How a number of jobs ended.

    Attributes:
        left: labels of those that are not finished.
        errors: one sentence for each that failed.
    """

    left: list[str]
    errors: list[str]


def work_all(jobs: list[Job], processes: int, threads: int, stop: StopRequest) -> WorkResult:
    """Do all jobs, in their order; one that fails does not keep the others from running.

    Args:
        jobs: those that are not finished.
        processes: jobs at a time; with one they run in this process.
        threads: CPU threads of each.
        stop: ends all of them.
    """
    if processes > 1 and len(jobs) > 1:
        return _in_processes(jobs, processes, threads, stop)
    use_threads(threads)
    outcome = WorkResult([], [])
    for number, job in enumerate(jobs, 1):
        if stop.wanted:
            outcome.left.append(job.label)
            continue
        _announce(number, len(jobs), job)
        try:
            if not work(job, stop):
                outcome.left.append(job.label)
        except (LiftError, OSError) as error:
            _failed(outcome, job, str(error))
    return outcome


def use_threads(threads: int) -> None:
    """Limit the CPU threads of PyTorch and OpenCV."""
    torch.set_num_threads(threads)
    require("cv2", f"protocol {real16.NAME}").setNumThreads(threads)


def _announce(number: int, count: int, job: Job) -> None:
    print(f"{number} of {count}: {job.label}", file=sys.stderr, flush=True)


def _failed(outcome: WorkResult, job: Job, message: str) -> None:
    sentence = message if message.startswith(job.label) else f"{job.label}: {message}"
    outcome.left.append(job.label)
    outcome.errors.append(sentence)
    print(f"lift ablate: {sentence}", file=sys.stderr, flush=True)


def _in_processes(jobs: list[Job], processes: int, threads: int, stop: StopRequest) -> WorkResult:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    outcome, waiting, running = WorkResult([], []), list(enumerate(jobs, 1)), {}
    signalled = False  # whether the processes were asked to end
    try:
        while running or (waiting and not stop.wanted):
            while waiting and len(running) < processes and not stop.wanted:
                number, job = waiting.pop(0)
                _announce(number, len(jobs), job)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_child, args=(job, stop.deadline, threads, sender), name=job.label
                )
                process.start()
                sender.close()
                running[process.sentinel] = process, receiver, job
            for sentinel in wait(list(running), timeout=0.5):
                process, receiver, job = running.pop(sentinel)
                _collect(outcome, process, receiver, job, signalled)
            if stop.signal is not None and not signalled:
                signalled = True
                for process, _, _ in running.values():
                    os.kill(process.pid, signal.SIGTERM)  # it writes a checkpoint and ends
    finally:
        for process, _, _ in running.values():
            process.terminate()
    outcome.left += [job.label for _, job in waiting]
    return outcome


def _collect(outcome: WorkResult, process, receiver: Connection, job: Job, signalled: bool) -> None:
    process.join()
    try:
        done, message = receiver.recv()
    except EOFError:  # a process that is still starting ends at once when it is asked to
        message = "" if signalled else f"its process ended with code {process.exitcode}"
        done = False
    receiver.close()
    if message:
        _failed(outcome, job, message)
    elif not done:
        outcome.left.append(job.label)


def _child(job: Job, deadline: float, threads: int, sender: Connection) -> None:
    """A job in a process of its own, until `deadline` on the clock `time.monotonic`."""
    use_threads(threads)
    minutes = 0.0 if deadline == float("inf") else max(1e-9, (deadline - time.monotonic()) / 60)
    with StopRequest(minutes) as stop:
        try:
            sender.send((work(job, stop), ""))
        except (LiftError, OSError) as error:
            sender.send((False, str(error)))
        finally:
            sender.close()
