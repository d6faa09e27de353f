"""The C++ extension: its build, when it is not used, and that LIFT runs without it."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from lift import kernels
from lift.kernels import extension
from lift.kernels.extension import build
from lift.kernels.extension.requirements import BuildError, Requirements
from lift.kernels.ops.correlation.op import CORRELATION
from lift.kernels.ops.grid_sample.op import GRID_SAMPLE
from lift.kernels.ops.lucas_kanade.op import LUCAS_KANADE
from lift.kernels.ops.warp_blend.op import WARP, WARP_BLEND

built = pytest.mark.skipif(extension.module is None, reason=str(extension.failure))


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder of sources to change, with a nested one."""
    (tmp_path / "bindings.cpp").write_text("int bindings;\n")
    (tmp_path / "kernel.cpp").write_text("int kernel;\n")
    (tmp_path / "kernel.h").write_text("extern int kernel;\n")
    (tmp_path / "op" / "cuda").mkdir(parents=True)
    (tmp_path / "op" / "op.cpp").write_text("int op;\n")
    (tmp_path / "op" / "cuda" / "op.cu").write_text("int op;\n")
    (tmp_path / "op" / "cuda" / "op_cuda.cpp").write_text("int op;\n")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    return tmp_path


class FakeModule:
    """A module that was built from sources of this hash, for a processor with more features."""

    def __init__(self, sources: str, missing: str = ""):
        self.sources, self.missing = sources, missing

    def build(self) -> dict[str, str]:
        return {"sources": self.sources}

    def missing_features(self) -> str:
        return self.missing


# -- loading ---------------------------------------------------------------------------------------


@built
def test_the_module_describes_its_build():
    info = extension.module.build()
    assert info["sources"] == build.fingerprint()
    assert info["torch_target"] == "2.11"
    assert "-O3" in info["flags"] and info["compiler"] in extension.describe()
    assert extension.module.missing_features() == ""


def test_a_module_built_from_these_sources_is_used(sources):
    module = FakeModule(build.fingerprint())
    assert extension.check(module) == (module, None)


@pytest.mark.parametrize("changed", ["kernel.h", "kernel.cpp", "more.h", "op/op.cpp", "op/more.h"])
def test_a_module_built_from_other_sources_is_not_used(sources, changed):
    module = FakeModule(build.fingerprint())
    (sources / changed).write_text("int changed;\n")
    found, failure = extension.check(module)
    assert found is None and failure == (
        "the C++ extension was built from other sources than those in csrc; "
        "build it with `python -m lift.kernels.extension` again"
    )


def test_changed_cuda_sources_do_not_matter(sources):
    module = FakeModule(build.fingerprint())
    (sources / "op" / "cuda" / "op_cuda.cpp").write_text("int changed;\n")
    assert extension.check(module) == (module, None)


def test_a_module_for_another_processor_is_not_used(sources):
    found, failure = extension.check(FakeModule(build.fingerprint(), "avx512f avx512vl"))
    assert (
        found is None
        and "built for a processor with avx512f avx512vl, which this one lacks" in failure
    )


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        (None, "; build it with `python -m lift.kernels.extension`"),
        (
            "no compiler was found; install one",
            ": no compiler was found; install one; "
            "then build it with `python -m lift.kernels.extension`",
        ),
    ],
)
def test_without_a_module_the_reason_says_what_a_build_lacks(
    monkeypatch, tmp_path, missing, remedy
):
    def requirements():
        if missing is not None:
            raise BuildError(missing)

    monkeypatch.delenv("LIFT_BUILD_DIR", raising=False)
    monkeypatch.setattr(extension.requirements, "requirements", requirements)
    monkeypatch.setattr(extension, "MODULE", tmp_path / "_C.so")
    assert extension.load() == (None, f"the C++ extension is not built{remedy}")


def test_a_module_in_the_build_folder_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_BUILD_DIR", str(tmp_path))
    monkeypatch.setattr(extension, "_import", lambda path: FakeModule(build.fingerprint(), path))
    monkeypatch.setattr(extension, "MODULE", tmp_path / "package" / "_C.so")
    built = tmp_path / build.fingerprint() / "_C.so"
    built.parent.mkdir()
    built.touch()
    assert extension.load()[1].startswith(
        f"the C++ extension was built for a processor with {built}"
    )


def test_without_the_extension_pytorch_computes(monkeypatch):
    monkeypatch.setattr(extension, "module", None)
    monkeypatch.setattr(extension, "failure", "the C++ extension is not built")
    image, flow = torch.randn(1, 3, 4, 5), torch.randn(1, 2, 4, 5)
    assert extension.unsupported_reason() == "the C++ extension is not built"
    assert (
        kernels.unsupported_reasons("warp", image, flow)["cpp"] == "the C++ extension is not built"
    )
    assert kernels.selected_backend("warp", image, flow) == "eager"
    assert extension.describe() == "none: the C++ extension is not built"


# -- building --------------------------------------------------------------------------------------


def run_ninja(tmp_path, ninja: str) -> None:
    """A build that runs this shell script in place of ninja."""
    script = tmp_path / "ninja"
    script.write_text(f"#!/bin/sh\n{ninja}\n")
    script.chmod(0o755)
    build.run_ninja(
        "",
        folder=tmp_path,
        output=tmp_path / "module.so",
        ninja=[str(script)],
        verbose=False,
        failure="it failed",
    )


def test_max_jobs_is_passed_to_ninja(monkeypatch, tmp_path):
    monkeypatch.setenv("MAX_JOBS", "3")
    run_ninja(tmp_path, f'echo "$@" > {tmp_path}/module.so')
    assert "-j3" in (tmp_path / "module.so").read_text().split()


def test_a_ninja_that_does_not_run_is_reported(tmp_path):
    with pytest.raises(BuildError, match="ninja does not run; install ninja again: pip install"):
        run_ninja(tmp_path, "echo Traceback; exit 1")


def test_a_compiler_killed_for_its_memory_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("MAX_JOBS", "4")
    with pytest.raises(BuildError, match="^it failed by 4 jobs at once; MAX_JOBS=1 takes less"):
        run_ninja(tmp_path, "[ $1 = --version ] || { echo c++: Killed; exit 1; }")


def test_the_error_has_the_compilers_output(sources, monkeypatch, tmp_path):
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    (sources / "kernel.cpp").write_text("int kernel = nonsense;\n")
    monkeypatch.setattr(build, "build_folder", lambda: nullcontext(tmp_path))
    monkeypatch.setattr(
        build,
        "_rules",
        lambda needed, output: (
            f"rule compile\n  command = c++ -c $in -o $out\n"
            f"build {output}: compile {sources / 'kernel.cpp'}\n"
        ),
    )
    with pytest.raises(BuildError, match="could not be compiled with (?s:.*)nonsense"):
        build.build(tmp_path / "module.so")
    assert not (tmp_path / "module.so").exists()


# -- the rules -------------------------------------------------------------------------------------


def test_the_bindings_are_compiled_for_any_machine_and_linked_first(sources, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_CPU", "x86-64-v4")
    (sources / "a kernel.cpp").write_text("int more;\n")
    needed = Requirements(["c++"], ["ninja"], tmp_path / "torch", tmp_path / "pybind11")
    rules = build._rules(needed, tmp_path / "_C.so").splitlines()
    flags = {
        line.split(":")[0].removeprefix("build "): rules[i + 1]
        for i, line in enumerate(rules)
        if line.startswith("build ")
    }
    assert (
        "-march" not in flags["bindings.o"].split("-DLIFT_FLAGS")[0]
        and "-march=x86-64-v4" in flags["kernel.o"]
    )
    assert f"build {tmp_path / '_C.so'}: link bindings.o a$ kernel.o kernel.o op/op.o" in rules


def test_pybind11s_own_headers_come_before_those_in_torch(monkeypatch, tmp_path):
    """Those in torch 2.11 do not compile for the stable ABI."""
    monkeypatch.setenv("LIFT_CPU", "x86-64")
    needed = Requirements(["c++"], ["ninja"], tmp_path / "torch", tmp_path / "pybind11")
    rules = build._rules(needed, tmp_path / "_C.so").splitlines()
    flags = next(line for line in rules if line.startswith("flags = "))
    more = next(rules[i + 1] for i, line in enumerate(rules) if line.startswith("build bindings.o"))
    command = (
        next(line for line in rules if "$flags" in line)
        .replace("$flags", flags)
        .replace("$more", more)
    )
    assert command.index(str(tmp_path / "pybind11")) < command.index(str(tmp_path / "torch"))


@built
def test_building_again_compiles_nothing(tmp_path, monkeypatch):
    folder = build.SOURCES.parent / "build" / f"extension-{build.sysconfig.get_config_var('SOABI')}"
    if not (folder / ".ninja_log").is_file() or extension.check(extension.module)[1]:
        pytest.skip("the extension was not built from the sources of this checkout")
    objects = {path: path.stat().st_mtime_ns for path in folder.rglob("*.o")}
    monkeypatch.delenv("LIFT_BUILD_DIR", raising=False)
    module = build.build(tmp_path / build.MODULE.name)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.o")} == objects
    assert module.read_bytes() == build.MODULE.read_bytes()


@pytest.mark.slow
def test_without_a_compiler_the_command_fails_with_one_sentence():
    environment = {**os.environ, "CXX": "no-such-compiler"}
    result = subprocess.run(
        [sys.executable, "-m", "lift.kernels.extension"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (
        1,
        "lift: error: the C++ compiler that CXX names was not found: no-such-compiler\n",
    )


def test_the_sources_use_no_macro_of_a_newer_torch():
    """Some macros are defined whatever version is targeted, so a build with this torch succeeds."""
    later = ("STABLE_TORCH_ERROR_CODE_CHECK",)  # torch 2.13
    texts = {
        path.name: path.read_text()
        for path in build.SOURCES.rglob("*")
        if path.suffix in (".h", ".cpp", ".cu")
    }
    assert texts and not [
        (name, macro) for name, text in texts.items() for macro in later if macro in text
    ]


@built
@pytest.mark.parametrize(
    "op", [WARP, WARP_BLEND, GRID_SAMPLE, CORRELATION, LUCAS_KANADE], ids=lambda op: op.name
)
def test_the_schemas_in_cpp_are_those_of_the_ops(op):
    cpp = torch.ops.lift_cpp
    schemas = {op.name: op.schema, f"{op.name}_backward": op.backward_schema}
    for name, schema in schemas.items():
        if schema is None:
            assert not hasattr(cpp, name)
        else:
            assert str(getattr(cpp, name).default._schema) == f"lift_cpp::{name}{schema}"
