"""What a wheel and an sdist of LIFT hold: the model, its kernels as lift.kernels, the files that
they read, and no tests. The wheel is built as pip does it, isolated from the environment.
"""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pybind11
import pytest
import setuptools

ROOT = Path(__file__).resolve().parent.parent
MODULE = f"lift/kernels/_C{sysconfig.get_config_var('EXT_SUFFIX')}"

# In place of compiling, which takes a minute: writes the file that build.ninja builds.
NINJA = """
import re, sys
from pathlib import Path
if "--version" not in sys.argv:
    folder = Path(sys.argv[sys.argv.index("-C") + 1])
    rules = (folder / "build.ninja").read_text()
    assert "torch/include" in rules.replace("$ ", " ")
    Path(re.search("^default (.*)$", rules, re.M)[1].replace("$ ", " ")).write_text("a module")
"""


def files(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob(pattern) if path.is_file()}


@pytest.fixture(scope="module")
def isolated(tmp_path_factory):
    """Runs setup.py with its build requirements alone, as pip's isolated build does."""
    folder = tmp_path_factory.mktemp("isolated")
    overlay = folder / "overlay"
    (overlay / "ninja").mkdir(parents=True)
    (overlay / "ninja" / "__init__.py").touch()
    (overlay / "ninja" / "__main__.py").write_text(NINJA)
    for package in (setuptools, pybind11):
        source = Path(package.__file__).parent
        (overlay / source.name).symlink_to(source)
    site = Path(setuptools.__file__).parent.parent
    for source in (site / "_distutils_hack", *site.glob("setuptools-*.dist-info")):
        (overlay / source.name).symlink_to(source)
    environment = os.environ | {
        "PYTHONPATH": str(overlay),
        "LIFT_BUILD_DIR": str(folder / "builds"),  # objects of a true build stay as they are
        "MAX_JOBS": "1",
    }

    def run(*arguments, **more) -> subprocess.CompletedProcess:
        command = [sys.executable, "-S", "setup.py", *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=environment | more, capture_output=True, text=True
        )

    return run


def left_by_builds() -> set[Path]:
    return {x for pattern in ("*.egg-info", "build/lib*", "build/b*") for x in ROOT.glob(pattern)}


@pytest.fixture(scope="module")
def wheel(isolated, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a wheel")
    before = left_by_builds()
    built = isolated("bdist_wheel", "--dist-dir", folder)
    assert built.returncode == 0, built.stderr
    assert left_by_builds() == before, "a build writes into the checkout, which may be read-only"
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder as site-packages would be."""
    folder = tmp_path_factory.mktemp("install")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_has_the_cpp_kernels_and_says_for_which_python(wheel, installed):
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform = sysconfig.get_platform().replace("-", "_")
    assert wheel.stem.split("-")[2:] == [python, python, platform]
    assert (installed / MODULE).read_text() == "a module"


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


def read_files() -> set[str]:
    """Files beside modules that an installed LIFT reads."""
    patterns = (
        "py.typed",
        "config/presets/*.toml",
        "evaluation/protocols/*.json",
        "weights/*",
        "assets/*",
    )
    read = {f"lift/{name}" for pattern in patterns for name in files(ROOT / "lift", pattern)}
    # Compiled by `python -m lift.kernels.extension`.
    read |= {f"lift/csrc/{name}" for name in files(ROOT / "csrc", "**/*")}
    return read | {f"lift/kernels/{name}" for name in files(ROOT / "kernels", "ops/**/*.json")}


def test_the_files_that_modules_read_are_installed(installed):
    found = {name for name in files(installed, "lift/**/*") if not name.endswith(".py")}
    assert found == read_files() | {MODULE}
    assert {
        "lift/py.typed",
        "lift/config/presets/warmup.toml",
        "lift/config/presets/finetune.toml",
        "lift/config/presets/polish.toml",
    } <= found


def test_nothing_but_lift_is_installed(installed):
    names = sorted(path.name.split("-")[0] for path in installed.iterdir())
    assert names == ["lift", "lift_vfi"]
    assert not any("test" in name for name in files(installed, "**/*"))


@pytest.mark.slow
def test_the_installed_kernels_are_lift_kernels(installed, tmp_path):
    program = (
        "import lift.config, lift.kernels; print(lift.kernels.__file__); "
        "print(lift.config.load_config('polish').train.epochs)"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.split() == [str(installed / "lift" / "kernels" / "__init__.py"), "50"], (
        ran.stderr
    )


def test_an_sdist_has_what_a_wheel_is_built_from(isolated, tmp_path):
    made = isolated("egg_info", "--egg-base", tmp_path)
    assert made.returncode == 0, made.stderr
    listed = (tmp_path / "lift_vfi.egg-info" / "SOURCES.txt").read_text().splitlines()
    installed = {name.replace("lift/csrc/", "csrc/") for name in read_files()}
    kernels = {f"kernels/{name}" for name in files(ROOT / "kernels", "**/*.py")}
    needed = {"setup.py", "pyproject.toml", "LICENSE", "README.md"} | kernels | installed
    present = {name.replace("lift/kernels/ops/", "kernels/ops/") for name in needed}
    assert sorted(present - set(listed)) == []
    assert not [name for name in listed if name.endswith((".so", ".pyc"))]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"LIFT_EXTENSION": "required", "CXX": "no-such-compiler"},
            "the C++ kernels cannot be compiled: the C++ compiler that CXX names was not found: "
            "no-such-compiler",
        ),
        (
            {"LIFT_EXTENSION": "required", "MAX_JOBS": "all"},
            "the C++ kernels cannot be compiled: MAX_JOBS must be a positive integer, got 'all'",
        ),
        ({"LIFT_EXTENSION": "yes"}, "LIFT_EXTENSION must be auto, required or off, got 'yes'"),
    ],
)
def test_a_build_that_must_fail_says_why_in_a_sentence(isolated, variables, sentence):
    failed = isolated("bdist_wheel", **variables)
    assert (failed.returncode, failed.stderr) == (1, f"lift: error: {sentence}\n")


def test_without_a_compiler_lift_is_installed_without_kernels(isolated):
    warned = isolated("--name", CXX="no-such-compiler")
    assert (warned.returncode, warned.stdout) == (0, "lift-vfi\n")
    assert warned.stderr.startswith("lift: warning: the C++ kernels are not compiled: the C++")


def test_an_old_setuptools_is_reported(isolated, tmp_path):
    (tmp_path / "setuptools.py").write_text("__version__ = '65.5.0'\n")
    failed = isolated("bdist_wheel", PYTHONPATH=str(tmp_path))
    assert failed.stderr.startswith("lift: error: setuptools 65.5.0 is too old; pip install")
