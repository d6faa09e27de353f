"""What an installed LIFT holds: the model, its kernels as lift.kernels, the files that they read,
and no tests.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def files(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob(pattern) if path.is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder as site-packages would be, filled by setuptools' own rules; the checkout stays as it
    was.
    """
    folder = tmp_path_factory.mktemp("install")
    lib = folder / "lib"
    build = [
        sys.executable,
        "setup.py",
        "--quiet",
        "egg_info",
        "--egg-base",
        str(folder),
        "build_py",
        "--build-lib",
        str(lib),
    ]
    ran = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return lib


def test_every_module_is_installed(installed):
    folders = {"lift": ROOT / "lift", "lift/kernels": ROOT / "kernels"}
    modules = {
        f"{package}/{name}"
        for package, folder in folders.items()
        for name in files(folder, "**/*.py")
    }
    assert sorted(modules - files(installed, "**/*.py")) == [], (
        "not installed: does each folder have an __init__.py?"
    )
    assert files(installed, "**/*.py") <= modules
    assert {"lift/config/schema.py", "lift/kernels/__init__.py"} <= modules


def test_the_files_that_modules_read_are_installed(installed):
    read = {
        f"lift/{name}"
        for pattern in (
            "py.typed",
            "config/presets/*.toml",
            "evaluation/protocols/*.json",
            "weights/*",
            "assets/*",
        )
        for name in files(ROOT / "lift", pattern)
    }
    read |= {
        f"lift/csrc/{name}" for name in files(ROOT / "csrc", "**/*")
    }  # compiled by `python -m lift.kernels.extension`
    read |= {f"lift/kernels/{name}" for name in files(ROOT / "kernels", "**/*.json")}
    assert {name for name in files(installed, "**/*") if not name.endswith(".py")} == read
    assert {
        "lift/py.typed",
        "lift/config/presets/warmup.toml",
        "lift/config/presets/finetune.toml",
        "lift/config/presets/polish.toml",
    } <= read


def test_nothing_but_lift_is_installed(installed):
    assert [path.name for path in installed.iterdir()] == ["lift"]
    assert not any("test" in name for name in files(installed, "**/*"))


@pytest.mark.slow
def test_the_installed_kernels_are_lift_kernels(installed, tmp_path):
    program = (
        "import lift.config, lift.kernels; print(lift.kernels.__file__); "
        "print(lift.config.load_config('polish').train.epochs)"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.split() == [str(installed / "lift" / "kernels" / "__init__.py"), "50"], (
        ran.stderr
    )
