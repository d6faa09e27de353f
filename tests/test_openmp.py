"""How threads of PyTorch wait, in a process that has not imported it yet."""

import os
import subprocess
import sys

import pytest

from lift.openmp import VARIABLES

CODE = """
import os, sys
import lift.commands.{}
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize("name", ["train", "inference"])
@pytest.mark.parametrize(
    "given, seen", [({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None")]
)
@pytest.mark.slow
def test_threads_sleep_unless_the_user_has_set_how_they_wait(name, given, seen):
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | given
    ran = subprocess.run(
        [sys.executable, "-c", CODE.format(name)], env=environment, capture_output=True, text=True
    )
    assert ran.stdout.strip() == seen, ran.stderr
