"""The C++ extension: what it needs, when it is refused, and that everything runs without it."""

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from lift import kernels
from lift.kernels import extension
from lift.kernels.extension import build

built = pytest.mark.skipif(extension.module is None, reason=str(extension.failure))


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder of sources to change."""
    (tmp_path / "bindings.cpp").write_text("int bindings;\n")
    (tmp_path / "kernel.cpp").write_text("int kernel;\n")
    (tmp_path / "kernel.h").write_text("extern int kernel;\n")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    return tmp_path


class Built:
    """What a module says of its build."""

    def __init__(self, sources: str, missing: str = ""):
        self.sources, self.missing = sources, missing

    def build(self) -> dict[str, str]:
        return {"sources": self.sources}

    def missing_features(self) -> str:
        return self.missing


# -- loading ---------------------------------------------------------------------------------------


@built
def test_the_module_says_how_it_was_built():
    info = extension.module.build()
    assert info["sources"] == build.fingerprint()
    assert info["torch_target"] == "2.11"
    assert "-O3" in info["flags"] and info["compiler"] in extension.describe()
    assert extension.module.missing_features() == ""


def test_a_module_of_these_sources_is_used(sources):
    module = Built(build.fingerprint())
    assert extension.judge(module) == (module, None)


@pytest.mark.parametrize("changed", ["kernel.h", "kernel.cpp", "more.h"])
def test_a_module_of_other_sources_is_refused(sources, changed):
    module = Built(build.fingerprint())
    (sources / changed).write_text("int changed;\n")
    found, failure = extension.judge(module)
    assert found is None and failure == (
        "the C++ extension was built from other sources than those in csrc; "
        "build it with `python -m lift.kernels.extension` again"
    )


def test_a_module_for_another_processor_is_refused(sources):
    found, failure = extension.judge(Built(build.fingerprint(), "avx512f avx512vl"))
    assert (
        found is None
        and "built for a processor with avx512f avx512vl, which this one lacks" in failure
    )


def test_what_is_not_built_says_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "MODULE", tmp_path / "_C.so")
    assert extension.load() == (
        None,
        "the C++ extension is not built; build it with `python -m lift.kernels.extension`",
    )


def test_without_the_extension_pytorch_serves(monkeypatch):
    monkeypatch.setattr(extension, "module", None)
    monkeypatch.setattr(extension, "failure", "the C++ extension is not built")
    image, flow = torch.randn(1, 3, 4, 5), torch.randn(1, 2, 4, 5)
    assert extension.reason() == "the C++ extension is not built"
    assert (
        kernels.unsupported_reasons("warp", image, flow)["cpp"] == "the C++ extension is not built"
    )
    assert kernels.selected_backend("warp", image, flow) == "eager"
    assert extension.describe() == "none: the C++ extension is not built"


# -- what a build needs ----------------------------------------------------------------------------


def test_without_a_compiler_the_remedy_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        build.BuildError, match=r"^no C\+\+ compiler was found; install one \(.*\)$"
    ):
        build.requirements()
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(
        build.BuildError,
        match="^the C.. compiler that CXX names was not found: no-such-compiler -O1$",
    ):
        build.requirements()


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("ninja", "ninja was not found; install it: pip install ninja"),
        ("torch", "PyTorch is not installed for "),
        ("pybind11", "pybind11 is not installed for "),
    ],
)
def test_without_a_package_the_remedy_is_told(monkeypatch, missing, sentence):
    find = build.importlib.util.find_spec
    monkeypatch.setattr(
        build.importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    monkeypatch.setattr(build.shutil, "which", lambda name: None if name == "ninja" else name)
    with pytest.raises(build.BuildError, match="^" + sentence):
        build.requirements()


def test_what_the_compiler_says_is_passed_on(sources, monkeypatch, tmp_path):
    if not build.shutil.which("c++"):
        pytest.skip("no C++ compiler")
    (sources / "kernel.cpp").write_text("int kernel = nonsense;\n")
    monkeypatch.setattr(build, "workplace", lambda: nullcontext(tmp_path))
    monkeypatch.setattr(
        build,
        "_rules",
        lambda needed, made: (
            f"rule compile\n  command = c++ -c $in -o $out\n"
            f"build {made}: compile {sources / 'kernel.cpp'}\n"
        ),
    )
    with pytest.raises(build.BuildError, match="could not be compiled with (?s:.*)nonsense"):
        build.build(tmp_path / "module.so")
    assert not (tmp_path / "module.so").exists()


# -- the rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (set(), "x86-64"),
        (build.LEVELS["x86-64-v2"], "x86-64-v2"),
        (build.LEVELS["x86-64-v3"], "x86-64"),  # a level without the one below is none
        (build.LEVELS["x86-64-v2"] | build.LEVELS["x86-64-v3"] | {"avx512f"}, "x86-64-v3"),
        (set().union(*build.LEVELS.values()), "x86-64-v4"),
    ],
)
def test_the_newest_level_that_the_processor_has(monkeypatch, flags, level):
    monkeypatch.delenv("LIFT_CPU", raising=False)
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(build, "_processor_flags", lambda: flags)
    assert build.level() == level
    monkeypatch.setattr(build.platform, "machine", lambda: "aarch64")
    assert build.level() is None


def test_a_level_may_be_asked_for(monkeypatch):
    monkeypatch.setenv("LIFT_CPU", "x86-64-v2")
    assert build.level() == "x86-64-v2"
    monkeypatch.setenv("LIFT_CPU", "486")
    with pytest.raises(
        build.BuildError,
        match="LIFT_CPU must be one of x86-64, x86-64-v2, x86-64-v3, x86-64-v4, got '486'",
    ):
        build.level()


def test_what_is_asked_on_any_machine_is_compiled_for_any_and_linked_first(
    sources, monkeypatch, tmp_path
):
    monkeypatch.setenv("LIFT_CPU", "x86-64-v4")
    (sources / "a kernel.cpp").write_text("int more;\n")
    needed = build.Requirements(["c++"], ["ninja"], tmp_path / "torch", tmp_path / "pybind11")
    rules = build._rules(needed, tmp_path / "_C.so").splitlines()
    after = {
        line.split(":")[0].removeprefix("build "): rules[i + 1]
        for i, line in enumerate(rules)
        if line.startswith("build ")
    }
    assert (
        "-march" not in after["bindings.o"].split("-DLIFT_FLAGS")[0]
        and "-march=x86-64-v4" in after["kernel.o"]
    )
    assert f"build {tmp_path / '_C.so'}: link bindings.o a$ kernel.o kernel.o" in rules


def test_pybind11s_own_headers_come_before_those_that_torch_carries(monkeypatch, tmp_path):
    """torch 2.11 carries some that refuse the stable ABI."""
    monkeypatch.setenv("LIFT_CPU", "x86-64")
    needed = build.Requirements(["c++"], ["ninja"], tmp_path / "torch", tmp_path / "pybind11")
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
def test_building_again_compiles_nothing(tmp_path):
    folder = build.SOURCES.parent / "build" / f"extension-{build.sysconfig.get_config_var('SOABI')}"
    if not (folder / ".ninja_log").is_file() or extension.judge(extension.module)[1]:
        pytest.skip("the extension was not built from what lies in this checkout")
    objects = {path: path.stat().st_mtime_ns for path in folder.glob("*.o")}
    made = build.build(tmp_path / build.MODULE.name)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.o")} == objects
    assert made.read_bytes() == build.MODULE.read_bytes()


def test_the_command_fails_in_one_sentence_without_a_compiler():
    environment = {**os.environ, "CXX": "no-such-compiler"}
    ran = subprocess.run(
        [sys.executable, "-m", "lift.kernels.extension"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (
        1,
        "lift: error: the C++ compiler that CXX names was not found: no-such-compiler\n",
    )


def test_the_sources_use_no_macro_that_only_later_headers_have():
    """Such as are defined whatever version is targeted, so that a build with this torch does not
    tell.
    """
    later = ("STABLE_TORCH_ERROR_CODE_CHECK",)  # torch 2.13
    texts = {
        path.name: path.read_text()
        for path in build.SOURCES.rglob("*")
        if path.suffix in (".h", ".cpp", ".cu")
    }
    assert texts and not [
        (name, macro) for name, text in texts.items() for macro in later if macro in text
    ]
