"""Requirements of `benchmarks/gpu.sh`: markers of tests, and few packages."""

import os
import sys

import pytest

from tests import conftest
from tests.support import inner_session
from tests.support.gpu_script import ROOT, marked, pytest_of, run


@pytest.mark.slow
def test_a_test_that_asks_for_a_gpu_has_a_marker(tmp_path, monkeypatch):
    """Others fail on any machine without a GPU, so the script runs all that a GPU changes."""
    (tmp_path / "test_asking.py").write_text(
        "import pytest\nfrom lift.devices import choose_device\n\n"
        "def test_plain():\n    choose_device('auto')\n\n"
        "@pytest.mark.native\ndef test_marked():\n    choose_device('auto')\n"
    )
    monkeypatch.setattr(conftest, "GPU", False)
    ran = inner_session.run(tmp_path, plugins=(conftest,))
    assert ran.outcomes == {"plain": "error", "marked": "passed"}
    assert "asked whether there is a GPU (lift/devices.py choose_device)" in ran.output
    assert {
        "tests/model/test_model_gpu.py",
        "tests/kernels/test_correlation_gpu.py",
        "tests/kernels/test_lucas_kanade_gpu.py",
        "tests/kernels/test_temporal_attention_gpu.py",
        "tests/kernels/test_warp_blend_gpu.py",
        "tests/kernels/test_grid_sample_native.py",
        "tests/video/test_cuda_graphs.py",
        "tests/kernels/test_warp_blend_parity.py",
    } <= set(marked())


@pytest.mark.slow
def test_no_step_needs_packages_for_videos_or_training(tmp_path):
    """Neither tests nor benchmarks."""
    absent = [
        "av",
        "cv2",
        "safetensors",
        "torchmetrics",
        "tensorboard",
        "tqdm",
        "matplotlib",
        "skimage",
        "pybind11",
    ]
    (tmp_path / "absent.py").write_text(
        f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\n"
    )
    modules = [
        "benchmarks.gpu.canary",
        "benchmarks.gpu.convergence",
        "benchmarks.gpu.profile_step",
        "benchmarks.gpu.summary",
        "benchmarks.gpu.tune_temporal_attention",
        "lift.commands.doctor",
    ]
    suites = [str(path) for path in ROOT.glob("benchmarks/suites/bench_*.py")]
    plugins = [word for name in ("absent", *modules) for word in ("-p", name)]  # are imported
    flags = ("-o", "addopts=", "-q", "--collect-only", "--toy")
    ran = pytest_of(
        *plugins,
        *flags,
        *marked(without="videos"),
        *suites,
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    output = ran.stdout[-2000:] + ran.stderr[-2000:]
    assert ran.returncode == 0, output


def test_the_summary_does_not_wait_for_torch():
    """It is written at every step, while the GPU is paid for."""
    ran = run(
        sys.executable,
        "-c",
        "import sys; sys.modules['torch'] = None; import benchmarks.gpu.summary",
    )
    assert ran.returncode == 0, ran.stderr
