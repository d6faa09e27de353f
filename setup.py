"""What pyproject.toml cannot say: the folders `lift`, `kernels` and `csrc` become one package, and
C++ is compiled where it can be.

The C++ kernels need PyTorch's headers. It is too large to fetch for a build, so pip's isolated
build uses those of the environment that LIFT is installed into. Without PyTorch or a compiler LIFT
is installed without the kernels, which `python -m lift.kernels.extension` builds later.
LIFT_EXTENSION=required makes that an error; LIFT_EXTENSION=off builds none.

pip's builds leave nothing in the checkout but object files in build/. So it may be read-only, two
may run at once, and what an earlier one left is not installed.
"""

import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import setuptools

if int(setuptools.__version__.split(".")[0]) < 77:
    sys.exit(
        f"lift: error: setuptools {setuptools.__version__} is too old; "
        'pip install "setuptools>=77", or leave out --no-build-isolation'
    )

from setuptools import Extension, find_packages, setup
from setuptools.command.build import build as Build
from setuptools.command.build_ext import build_ext as BuildExt
from setuptools.command.egg_info import egg_info as EggInfo
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent


def import_build() -> types.ModuleType:
    """The module `lift.kernels.extension.build`, of packages that need not be importable here."""
    folders = {"lift": "lift", "lift.kernels": "kernels"}
    folders["lift.kernels.extension"] = "kernels/extension"
    for name, folder in folders.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(ROOT / folder)]
    from lift.kernels.extension import build

    for name in folders:
        del sys.modules[name]
    return build


build = import_build()
scratch = tempfile.TemporaryDirectory(prefix="lift-build-")


def environment_paths() -> list[str]:
    """sys.path of the environments around an isolated build, which hides them."""
    prefixes = filter(None, (os.environ.get("VIRTUAL_ENV"), os.environ.get("CONDA_PREFIX")))
    pythons = [sys.executable, *(os.path.join(prefix, "bin", "python") for prefix in prefixes)]
    hidden = {name: x for name, x in os.environ.items() if not name.startswith("PYTHON")}
    paths = []
    for python in pythons:
        command = [python, "-c", "import sys; print(*sys.path[1:], sep='\\n')"]
        try:
            ran = subprocess.run(command, env=hidden, capture_output=True, text=True)
        except OSError:
            continue
        paths += ran.stdout.splitlines()
    return paths


def requirements():
    """What a build needs; None, and a warning, where LIFT is installed without the kernels."""
    if choice not in ("auto", "required", "off"):
        sys.exit(f"lift: error: LIFT_EXTENSION must be auto, required or off, got {choice!r}")
    if choice == "off":
        return None
    try:
        build.jobs()  # raises for a wrong MAX_JOBS
        return build.requirements(environment_paths())
    except build.BuildError as error:
        reason = str(error)
        if reason.startswith("PyTorch is not installed"):
            reason += ", or, if another environment has it, build with --no-build-isolation"
        if choice == "required":
            sys.exit(f"lift: error: the C++ kernels cannot be compiled: {reason}")
        if not {"egg_info", "dist_info", "sdist"} & set(sys.argv):  # said once, by the build
            print(f"lift: warning: the C++ kernels are not compiled: {reason}", file=sys.stderr)
    return None


class BuildInScratch(Build):
    def finalize_options(self) -> None:
        if self.build_base == "build" and "bdist_wheel" in self.distribution.commands:
            self.build_base = scratch.name
        super().finalize_options()


class EggInfoInScratch(EggInfo):
    def finalize_options(self) -> None:
        if self.egg_base is None and "sdist" not in self.distribution.commands:
            self.egg_base = scratch.name
        super().finalize_options()


class BuildWithNinja(BuildExt):
    def build_extension(self, ext: Extension) -> None:
        module = Path(self.get_ext_fullpath(ext.name))
        module.parent.mkdir(parents=True, exist_ok=True)
        try:
            build.build(module, needed=needed)
        except build.BuildError as error:
            raise CompileError(str(error)) from error  # a warning where the extension is optional


choice = os.environ.get("LIFT_EXTENSION", "").strip().lower() or "auto"
needed = requirements()
extension = Extension("lift.kernels._C", sources=[], optional=choice == "auto")
setup(
    script_args=["--quiet", *sys.argv[1:]],  # else an error comes after hundreds of lines
    packages=[
        *find_packages(include=["lift", "lift.*"]),
        "lift.kernels",
        *(f"lift.kernels.{name}" for name in find_packages("kernels")),
        "lift.csrc",
    ],
    package_dir={"lift": "lift", "lift.kernels": "kernels", "lift.csrc": "csrc"},
    include_package_data=False,  # MANIFEST.in says what an sdist has
    package_data={
        "lift": [
            "py.typed",
            "config/presets/*.toml",
            "evaluation/protocols/*.json",
            "weights/*",
            "assets/*",
        ],
        "lift.csrc": ["**/*"],
        "lift.kernels.ops.temporal_attention": ["configs.json"],
    },
    ext_modules=[extension] if needed else [],
    cmdclass={"build": BuildInScratch, "build_ext": BuildWithNinja, "egg_info": EggInfoInScratch},
)
