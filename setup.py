"""What pyproject.toml cannot say: the folders `lift`, `kernels` and `csrc` become one package, and
C++ is compiled where it can be.

PyTorch is too large to fetch for a build, so pip's isolated build has none and installs LIFT
without its C++ kernels. With `--no-build-isolation`, where torch, ninja and pybind11 are installed,
they are compiled here; else by `python -m lift.kernels.extension`.
"""

import importlib.util
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

spec = importlib.util.spec_from_file_location(
    "build", Path(__file__).parent / "kernels" / "extension" / "build.py"
)
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


class BuildWithNinja(build_ext):
    def build_extension(self, ext: Extension) -> None:
        module = Path(self.get_ext_fullpath(ext.name))
        module.parent.mkdir(parents=True, exist_ok=True)
        try:
            build.build(module)
        except build.BuildError as error:
            raise CompileError(str(error)) from error  # a warning: the extension is optional


def extensions() -> list[Extension]:
    try:
        build.requirements()
    except build.BuildError as error:
        print(f"lift: warning: the C++ kernels are not compiled: {error}", file=sys.stderr)
        return []
    return [Extension("lift.kernels._C", sources=[], optional=True)]


setup(
    packages=[
        *find_packages(include=["lift", "lift.*"]),
        "lift.kernels",
        *(f"lift.kernels.{name}" for name in find_packages("kernels")),
        "lift.csrc",
    ],
    package_dir={"lift": "lift", "lift.kernels": "kernels", "lift.csrc": "csrc"},
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
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildWithNinja},
)
