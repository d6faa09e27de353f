"""Freed memory is used again instead of being asked of the system anew."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from lift.video.malloc import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def several():
    x = torch.zeros(10 << 20)
    for _ in range(6):
        y = x + 1
        x = y * 2

several()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    several()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_large_tensors_take_the_pages_of_those_before():
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("keep", "leave")
    }
    assert faults["keep"] < faults["leave"] / 4, faults
