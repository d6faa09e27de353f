"""The frames of an evaluation's worst samples: inputs, truth, and the methods' results."""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lift.errors import LiftError
from lift.evaluation import peers
from lift.evaluation.baselines import round_half_up
from lift.evaluation.builtin_methods import BASELINES, SavedFrames, baseline, lift_method
from lift.evaluation.frames import FrameReader
from lift.evaluation.methods import Method
from lift.evaluation.protocols import real16
from lift.evaluation.protocols.long_context import nearest_frames
from lift.evaluation.protocols.registry import TEST_SETS
from lift.evaluation.samples import TestSet
from lift.evaluation.target import Target
from lift.visualize.scores import SampleScores, Scores, is_lift
from lift.visualize.worst_section import WorstCase

LIFT_ABOUT = "weights"  # what an evaluation states of LIFT begins so; frames may have its name


def peers_of(scores: Scores, args: Namespace) -> list[Method]:
    """The other models that the flags name, as they were scored.

    Args:
        scores: of the evaluation.
        args: with the attributes that `peers.add_flags` adds, and `device`.

    Raises:
        LiftError: a model was not scored, or with other code, weights or options; or it cannot be
            loaded.
    """
    methods = []
    for name in peers.models_named(args):
        if name not in scores.methods:
            flags = " and ".join(f"--{flag}" for flag in peers.PLACES[name])
            raise LiftError(
                f"{scores.path} has no scores of {name}, but of {', '.join(scores.methods)}; "
                f"leave out {flags}"
            )
        method = peers.method(name, args)
        if scores.about.get(name, method.about) != method.about:
            raise LiftError(
                f"{scores.path} has scores of another {name}: {scores.about[name]}; the flags give "
                f"{method.about}"
            )
        methods.append(method)
    return methods


def methods_of(
    scores: Scores,
    model: torch.nn.Module,
    saved: Sequence[tuple[str, Path]] = (),
    others: Sequence[Method] = (),
) -> list[Method | SavedFrames]:
    """The methods of an evaluation that can be run again, in its order.

    Args:
        scores: of the evaluation.
        model: LIFT with the weights that were scored.
        saved: (name, folder) of methods whose frames were saved.
        others: see `peers_of`.

    Raises:
        LiftError: a saved method was not scored, its folder is missing, or none can be run again.
    """
    folders = dict(saved)
    for name, folder in folders.items():
        if name not in scores.methods:
            raise LiftError(
                f"--frames {name}={folder}: {scores.path} has no scores of {name}; "
                f"it has {', '.join(scores.methods)}"
            )
        if not folder.is_dir():
            raise LiftError(f"{folder} is not a folder; --frames takes NAME=DIR with saved frames")
    loaded = {method.name: method for method in others}
    methods: list[Method | SavedFrames] = []
    for name in scores.methods:
        if name in loaded:
            methods.append(loaded[name])
        elif name in folders:
            methods.append(SavedFrames(name, folders[name]))
        elif is_lift(name) and scores.about.get(name, LIFT_ABOUT).startswith(LIFT_ABOUT):
            methods.append(lift_method(model, int(name.removeprefix("lift_"))))
        elif name in BASELINES and scores.about.get(name) in (None, baseline(name).about):
            methods.append(baseline(name))
    if not methods:
        raise LiftError(
            f"{scores.path}: none of {', '.join(scores.methods)} can be run again; give their "
            "frames with --frames NAME=DIR, or code and weights of other models as to lift evaluate"
        )
    return methods


def worst_cases(
    scores: Scores,
    chosen: Iterable[SampleScores],
    data_root: Path,
    methods: Sequence[Method | SavedFrames],
) -> Iterator[WorstCase]:
    """Samples with their frames, read and generated one at a time.

    Raises:
        LiftError: the protocol has no single samples, `data_root` is not its test set, a sample is
            not in it, or a frame cannot be read.
    """
    for sample, target in _targets(scores, list(chosen), data_root, methods):
        results = {method.name: _generate(method, sample.name, target) for method in methods}
        references = target.frames[target.left : target.left + 2]
        yield WorstCase(sample, references, target.truth, results)


def _generate(method: Method | SavedFrames, name: str, target: Target) -> np.ndarray:
    if isinstance(method, SavedFrames):
        return round_half_up(method.read(name, target.truth.shape))
    inputs = nearest_frames(target, method.context_frames)
    return round_half_up(method.interpolate(*inputs, target.t))


def _targets(
    scores: Scores,
    chosen: list[SampleScores],
    data_root: Path,
    methods: Sequence[Method | SavedFrames],
) -> Iterator[tuple[SampleScores, Target]]:
    most = max(method.context_frames for method in methods)
    test_set = _test_set(scores, chosen)
    samples = {
        each.name: each for each in test_set.find(data_root, test_set.context_frames or most)
    }
    reader = FrameReader(test_set.prepare)
    for sample in chosen:
        if sample.name not in samples:
            raise LiftError(
                f"{data_root} has no sample {sample.name}, which {scores.path} has scores of; "
                "give the --data_root that was evaluated"
            )
        found = samples[sample.name]
        inputs, truth = reader.sample(found)
        yield sample, Target(inputs, list(found.times), found.left, truth, found.t)


def _test_set(scores: Scores, chosen: list[SampleScores]) -> TestSet:
    """The test set of an evaluation; of real16 only the clips of the samples are opened."""
    if scores.protocol == real16.NAME:
        clips = list(dict.fromkeys(sample.group for sample in chosen))
        return replace(real16.REAL16, find=partial(real16.find, names=clips))
    if scores.protocol not in TEST_SETS:
        raise LiftError(
            f"{scores.path} is of protocol {scores.protocol}, whose samples cannot be drawn; "
            f"there are {real16.NAME}, {', '.join(TEST_SETS)}"
        )
    return TEST_SETS[scores.protocol]
