"""The device that a flag names."""

import pytest
import torch

from lift.devices import choose_device
from lift.errors import LiftError


@pytest.mark.native
def test_auto_is_a_gpu_where_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_cpu_is_a_cpu():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    "name, words",
    [
        ("cuda:97", "asks for GPU 97, but PyTorch sees"),
        ("gpu", "must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("cuda:", "must be auto"),
        ("", "must be auto"),
    ],
)
def test_a_device_that_does_not_exist_is_one_sentence(name, words):
    with pytest.raises(LiftError, match=words) as error:
        choose_device(name)
    assert "\n" not in str(error.value)
