"""The benchmark of the host time of a call."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import host_time
from lift.kernels import dispatch

ROOT = Path(__file__).resolve().parents[2]


def test_every_op_with_triton_kernels_is_measured():
    names = {name.split(",")[0] for name in host_time.CALLS}
    backends = dispatch.operations().items()
    assert names == {name for name, of in backends if any(b.name == "triton" for b in of)}


@pytest.mark.slow
def test_it_needs_no_gpu():
    program = "import os; os.environ.pop('TRITON_INTERPRET', None); "
    program += "from benchmarks import host_time; host_time.ROUNDS = 2; "
    program += "host_time.main(['--only', 'change_map', '--profile'])"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.splitlines()[-1].startswith("change_map  "), answer.stdout
