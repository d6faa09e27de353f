"""The methods under test that the flags of `lift evaluate` name."""

from argparse import Namespace
from pathlib import Path

from lift.errors import LiftError
from lift.evaluation import peers
from lift.evaluation.builtin_methods import (
    BASELINES,
    FUNCTION,
    SavedFrames,
    baseline,
    function_method,
    lift_method,
)
from lift.evaluation.checkpoint import load
from lift.evaluation.methods import Method
from lift.evaluation.samples import TestSet
from lift.model.weights import sha256


def methods_of(args: Namespace, test_set: TestSet) -> list[Method | SavedFrames]:
    """The methods of --methods and --frames, lift once for each number of input frames.

    Raises:
        LiftError: a method cannot be had, or reads more input frames than the protocol has.
    """
    methods: list[Method | SavedFrames] = []
    for name in args.methods:
        methods += _lift(args) if name == "lift" else [_method(name, args)]
    for name, folder in args.frames:
        if not folder.is_dir():
            raise LiftError(f"{folder} is not a folder; --frames takes NAME=DIR with saved frames")
        methods.append(SavedFrames(name, folder))
    for method in methods:
        if test_set.context_frames and method.context_frames > test_set.context_frames:
            raise LiftError(
                f"protocol {test_set.name} has {test_set.context_frames} input frames, and "
                f"{method.name} reads {method.context_frames}; leave it out"
            )
    return methods


def default_methods(args: Namespace, test_set: TestSet) -> list[str]:
    """What is scored without --methods."""
    names = ["lift"] if args.checkpoint else []
    names += ["average", "dis"]
    return names + (["dis_cubic"] if (test_set.context_frames or 4) >= 4 else [])


def _lift(args: Namespace) -> list[Method]:
    model = load(args.checkpoint, args.kernels, args.device)
    about = f"weights {Path(args.checkpoint).name}, SHA-256 {sha256(Path(args.checkpoint))}"
    return [lift_method(model, count, about) for count in args.context_frames]


def _method(name: str, args: Namespace) -> Method:
    if name in BASELINES:
        return baseline(name)
    if FUNCTION.fullmatch(name):
        return function_method(name)
    return peers.method(name, args)
