"""Fixtures of the commands that interpolate files."""

import pytest
import torch

from lift.config import PRESETS, Config
from lift.model.factory import create_lift_model
from lift.model.weights import save_weights

pytest.register_assert_rewrite("tests.support.video_checks")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Weights of an untrained tiny model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, create_lift_model("tiny"), Config(model=PRESETS["tiny"]()))
    return path


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """`inputs(name)` is the path of a file or folder of tests/support/video_inputs."""
    from tests.support.video_inputs.store import Inputs

    return Inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def smallest_checkpoint(tmp_path_factory):
    """Weights of an untrained model of the smallest size that has every part."""
    from lift.model.lift import LIFT
    from tests.support.models import TINY

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "smallest.safetensors"
    save_weights(path, LIFT(TINY), Config(model=TINY))
    return path


@pytest.fixture
def lift_file(inputs, smallest_checkpoint, capsys, tmp_path):
    """`lift_file(source, target, *flags)` runs `lift interpolate` on an input by name.

    Whatever happens, the output (and its report) is all that may be new in its folder, and an
    error is one sentence. The weights are untrained unless `trained`.
    """
    from tests.support.video_output import interpolate

    def call(source, target, *flags, trained=False):
        names = source if isinstance(source, list) else [source]
        paths = [inputs(name) if isinstance(name, str) else name for name in names]
        output = tmp_path / target if isinstance(target, str) else target
        before = set(tmp_path.iterdir())
        weights = None if trained else smallest_checkpoint
        run = interpolate(
            paths[0] if len(paths) == 1 else paths,
            output,
            *flags,
            capsys=capsys,
            checkpoint=weights,
        )
        new = {path.name for path in set(tmp_path.iterdir()) - before}
        place = output.absolute().relative_to(tmp_path).parts[0]
        assert new <= ({place, f"{place}.json"} if run.code == 0 else set()), new
        if run.code == 1:
            assert run.err.startswith("lift: error: ") and run.err.count("\n") == 1, run.err
        return run

    return call
