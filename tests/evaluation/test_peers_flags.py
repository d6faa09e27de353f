"""The flags of other models."""

import argparse
import subprocess
import sys

import pytest
import torch

from lift.errors import LiftError
from lift.evaluation.peers import NAMES, add_flags, method


def _parser():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser


@pytest.mark.parametrize("name", NAMES)
def test_each_name_says_which_flag_it_needs(name):
    with pytest.raises(LiftError, match=f"^(--{name}|raft needs torchvision)"):
        method(name, _parser().parse_args([]), torch.device("cpu"))


def test_the_device_is_that_of_the_flag_unless_given():
    args = _parser().parse_args([])
    args.device = "gpu"
    with pytest.raises(LiftError, match="--device must be auto, cpu, cuda"):
        method("rife", args)
    with pytest.raises(LiftError, match="--rife_code is missing"):
        method("rife", args, torch.device("cpu"))


def test_another_name_is_refused_with_the_names_that_there_are():
    with pytest.raises(LiftError, match="no other model 'flavr'; choose from rife, rife_ncnn, "):
        method("flavr", _parser().parse_args([]), torch.device("cpu"))


@pytest.mark.parametrize("scale", ("0", "-1", "nan", "9", "half"))
def test_a_scale_out_of_range_is_refused(scale, capsys):
    with pytest.raises(SystemExit):
        _parser().parse_args(["--peer_scale", scale])
    assert "above 0 and at most 8" in capsys.readouterr().err


def test_reading_flags_does_not_need_pytorch():
    code = (
        "import argparse, sys; from lift.evaluation.peers import add_flags; "
        "add_flags(argparse.ArgumentParser()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
