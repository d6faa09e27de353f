"""The build of the CUDA kernels: the choice of nvcc, errors, what the library depends on."""

import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from lift.kernels.extension import __main__ as command
from lift.kernels.extension import build, build_cuda
from lift.kernels.extension.requirements import BuildError, Requirements, requirements
from lift.kernels.ops.grid_sample import cuda


@pytest.fixture
def toolkits(tmp_path, monkeypatch):
    """Writes nvccs that only print their version to where the build looks: home, path or pypi."""
    monkeypatch.setattr(
        build_cuda,
        "Path",
        lambda *parts: (
            tmp_path / "nowhere" if parts == ("/usr/local/cuda/bin/nvcc",) else _Path(*parts)
        ),
    )
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "pypi")])
    places = {
        "home": tmp_path / "home" / "bin",
        "path": tmp_path / "path",
        "pypi": tmp_path / "pypi" / "nvidia" / "cu13" / "bin",
    }

    def make(place: str, version: str) -> _Path:
        places[place].mkdir(parents=True)
        nvcc = places[place] / "nvcc"
        nvcc.write_text(
            f"#!/bin/sh\necho 'Cuda compilation tools, release {version}, V{version}.88'\n"
        )
        nvcc.chmod(0o755)
        return nvcc

    return make


_Path = build_cuda.Path


@pytest.mark.parametrize("place", ["home", "path", "pypi"])
def test_an_nvcc_of_torchs_major_version_is_found(toolkits, place):
    nvcc = toolkits(place, "13.1")
    assert build_cuda.find_compiler("13.0") == build_cuda.Compiler(nvcc, "13.1")


def test_an_nvcc_of_another_major_version_is_skipped(toolkits):
    toolkits("path", "12.8")
    fitting = toolkits("pypi", "13.0")
    assert build_cuda.find_compiler("13.0").nvcc == fitting
    assert build_cuda.find_compiler(None).version == "12.8"  # any version for a CPU build


def test_without_a_matching_nvcc_the_error_names_the_remedy(toolkits):
    toolkits("path", "12.8")
    with pytest.raises(
        BuildError,
        match=r"no nvcc of CUDA 13\.0.*is of CUDA 12\.8.*"
        r"pip install \"cuda-toolkit\[.*\]==13\.0\.\*\"",
    ):
        build_cuda.find_compiler("13.0")


def test_all_parts_of_nvcc_are_installed_in_one_version(monkeypatch):
    """PyPI's nvcc depends on any version of nvvm, and cannot read the output of a newer one."""
    commands = []
    monkeypatch.setattr(
        build_cuda.subprocess,
        "run",
        lambda command, **how: commands.append(command) or subprocess.CompletedProcess(command, 0),
    )
    build_cuda.install_compiler("13.0")
    extras = re.fullmatch(r"cuda-toolkit\[(.*)\]==13\.0\.\*", commands[0][-1])[1].split(",")
    assert {"nvcc", "nvvm", "crt", "cudart", "cccl"} == set(extras)


@pytest.mark.slow
def test_without_a_network_the_error_is_the_one_of_pip(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(
        BuildError,
        match=r"nvcc of CUDA 99\.9 could not be installed from PyPI: ERROR: .*cuda-toolkit",
    ):
        build_cuda.install_compiler("99.9")


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("cuda: Optional[str] = '13.0'", "13.0"),
        ("cuda = '12.8'", "12.8"),
        ("cuda: Optional[str] = None", None),
    ],
)
def test_the_cuda_version_of_torch_is_read_from_its_files(tmp_path, line, version):
    (tmp_path / "version.py").write_text(
        f"__version__ = '2.11.0'\n{line}\nhip: Optional[str] = None\n"
    )
    assert build_cuda.torch_cuda_version(tmp_path) == version


def test_gpus_older_than_turing_are_an_error(monkeypatch):
    with pytest.raises(BuildError, match="need compute capability 7.5 or newer, got 7.0"):
        build_cuda.build(architectures=[70, 89])
    monkeypatch.setattr(build_cuda, "gpu_architectures", lambda: [61, 70])
    with pytest.raises(BuildError, match="need compute capability 7.5 or newer, got 6.1"):
        build_cuda.build()


@pytest.mark.parametrize(
    ("gpus", "architectures"), [([70, 89], [89]), ([], list(build_cuda.ARCHITECTURES))]
)
def test_the_kernels_are_built_for_the_gpus_present(monkeypatch, tmp_path, gpus, architectures):
    """An old GPU beside a new one does not matter; without any GPU, for every supported one."""
    monkeypatch.setattr(build_cuda, "gpu_architectures", lambda: gpus)
    monkeypatch.setattr(
        build_cuda, "find_compiler", lambda version: build_cuda.Compiler(tmp_path / "nvcc", "13.0")
    )
    monkeypatch.setattr(
        build_cuda,
        "requirements",
        lambda: Requirements(["c++"], ["ninja"], tmp_path, tmp_path),
    )
    monkeypatch.setattr(build_cuda, "torch_cuda_version", lambda torch: "13.0")
    monkeypatch.setattr(build_cuda, "build_folder", lambda name: nullcontext(tmp_path))

    def run_ninja(rules, parallel, **how):
        (tmp_path / "rules").write_text(rules)
        threads = min(3, len(architectures))
        assert parallel * threads <= 3, "more compilers at once than MAX_JOBS"

    monkeypatch.setenv("MAX_JOBS", "3")
    monkeypatch.setattr(build_cuda, "run_ninja", run_ninja)
    assert build_cuda.build(
        tmp_path / "_cuda.so"
    ) == f"nvcc 13.0 ({tmp_path / 'nvcc'}), for " + ", ".join(f"sm_{a}" for a in architectures)
    rules = (tmp_path / "rules").read_text()
    assert ("--threads 3" in rules) == (len(architectures) > 1) and "-lineinfo" in rules
    compiled = re.findall(r"^build (\S+): (?:device|host) ", rules, re.MULTILINE)
    folder = "grid_sample/cuda"
    assert compiled == sorted(
        f"{folder}/{file.stem}.o" for file in (build.SOURCES / folder).glob("*.c*")
    )
    assert f"link {' '.join(compiled)}\n" in rules
    assert re.findall(r"code=sm_(\d+)", rules) == list(map(str, architectures))
    assert f"code=compute_{architectures[-1]}" in rules, "no PTX for newer GPUs"


@pytest.mark.parametrize(
    ("smi", "torch", "gpus"),
    [
        ("8.9\n9.0\n8.9\n", "7.5\n", [89, 90]),
        ("", "9.0\n8.6\n", [86, 90]),
        ("NVIDIA-SMI has failed\n", "12.0\n", [120]),
        (None, "9.0\n", [90]),
        (None, "", []),
    ],
)
def test_the_gpus_present_are_those_of_nvidia_smi_else_those_of_torch(
    monkeypatch, smi, torch, gpus
):
    def run(command, **how):
        if command[0] == "nvidia-smi" and smi is None:
            raise FileNotFoundError("nvidia-smi")
        return subprocess.CompletedProcess(command, 0, smi if command[0] == "nvidia-smi" else torch)

    monkeypatch.setattr(build_cuda.subprocess, "run", run)
    assert build_cuda.gpu_architectures() == gpus


@pytest.mark.slow
def test_the_program_that_asks_torch_runs(monkeypatch):
    program = (
        "import torch; torch.cuda.device_count = lambda: 2\n"
        "torch.cuda.get_device_capability = lambda i: [(8, 6), (12, 0)][i]\n" + build_cuda.BY_TORCH
    )
    assert build_cuda._capabilities([sys.executable, "-c", program]) == [86, 120]


def test_resource_usage_is_in_the_log_and_not_in_the_error(monkeypatch, tmp_path):
    report = "ptxas info    : Used 40 registers\n    0 bytes stack frame, 0 bytes spill stores\n"
    ninja = tmp_path / "ninja"
    version = '[ "$1" = --version ] && exit 0'
    ninja.write_text(
        f"#!/bin/sh\n{version}\nprintf '{report}a.cu(3): error: nonsense\\n'; exit 1\n"
    )
    ninja.chmod(0o755)
    with pytest.raises(BuildError) as failure:
        build.run_ninja(
            "",
            folder=tmp_path,
            output=tmp_path / "_cuda.so",
            ninja=[str(ninja)],
            verbose=False,
            failure="it failed",
        )
    assert str(failure.value) == "it failed:\na.cu(3): error: nonsense"
    assert (tmp_path / "build.log").read_text().startswith(report)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Writes a file that is not a library, with the record of a build."""
    monkeypatch.setattr(build_cuda, "LIBRARY", tmp_path / "_cuda.so")
    monkeypatch.delenv("LIFT_BUILD_DIR", raising=False)

    def write(**changes):
        build_cuda.LIBRARY.write_text("no library")
        build_cuda.LIBRARY.with_suffix(".json").write_text(
            json.dumps(
                {"sources": build_cuda.fingerprint(), "cuda": "13.0", "architectures": [89]}
                | changes
            )
        )

    return write


def test_each_reason_not_to_load_the_library_is_reported(library):
    assert build_cuda.load(None) == (None, "torch here is built for the CPU only")
    assert "are not built; build it with" in build_cuda.load("13.0")[1]
    library(sources="other")
    assert "from other sources" in build_cuda.load("13.0")[1]
    library()
    assert "with CUDA 13.0, torch with 12.8" in build_cuda.load("12.8")[1]
    assert "do not load" in build_cuda.load("13.2")[1]


@pytest.mark.parametrize(
    ("built", "gpu", "supported"),
    [
        ([75, 89], (8, 9), True),
        ([80], (8, 6), True),
        ([75, 89], (8, 6), False),
        ([75, 89], (12, 0), True),
        ([90], (8, 9), False),
    ],
)
def test_a_build_supports_the_gpus_that_can_run_it(built, gpu, supported):
    assert build_cuda.supports({"architectures": built}, gpu) is supported


@pytest.mark.native
def test_grid_sample_reports_why_cuda_is_not_supported():
    expected = build_cuda.load(torch.version.cuda)[1]
    if expected is None and not torch.cuda.is_available():
        expected = "there is no GPU that torch can use"
    assert cuda.unsupported_reason() == expected


# -- a build ---------------------------------------------------------------------------------------


def _nvcc() -> str | None:
    try:
        return (
            build_cuda.find_compiler(build_cuda.torch_cuda_version(requirements().torch)) and None
        )
    except BuildError as error:
        return str(error)


@pytest.mark.skipif(_nvcc() is not None, reason=str(_nvcc()))
def test_the_library_depends_only_on_a_torch_with_cuda(tmp_path, monkeypatch):
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-Xcicc -O1 -Xptxas -O1")  # compiles in a third of it
    library = tmp_path / "_cuda.so"
    assert "for sm_80" in build_cuda.build(library, [80])
    assert json.loads(library.with_suffix(".json").read_text())["architectures"] == [80]
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [
        name for name in symbols if name.startswith(("cuda", "cu")) and "aoti" not in name
    ], "CUDA's runtime is not included"
    assert {name for name in symbols if "cuda" in name} <= {
        "aoti_torch_get_current_cuda_stream",
        "aoti_torch_device_type_cuda",
    }


@pytest.mark.parametrize(("cpp", "code"), [("builds", 0), ("fails", 1)])
def test_each_part_is_built_even_if_the_other_fails(monkeypatch, capsys, cpp, code):
    def build_cpp(verbose):
        if cpp == "fails":
            raise BuildError("the C++ kernels fail")
        return "a file"

    def no_compiler(version):
        raise BuildError("no nvcc here")

    monkeypatch.setattr(command, "build", build_cpp)
    monkeypatch.setattr(build_cuda, "find_compiler", no_compiler)
    monkeypatch.setattr(sys, "argv", ["extension", "--cuda", "89"])
    assert command.main() == code
    errors = capsys.readouterr().err
    assert "lift: warning: the CUDA kernels are not built: no nvcc here\n" in errors
    assert ("lift: error: the C++ kernels fail\n" in errors) == bool(code)


REQUIRED = {
    "torch without CUDA": (
        {"torch_cuda_version": None},
        "torch here is built for the CPU only; install one that is built for CUDA",
    ),
    "no GPU": (
        {"gpu_architectures": []},
        "neither nvidia-smi nor torch finds a GPU; run this where there is one",
    ),
    "no nvcc": ({"find_compiler": BuildError("no nvcc here")}, "no nvcc here"),
    "nvcc fails": ({"build": BuildError("nvcc says no")}, "nvcc says no"),
    "does not load": (
        {"load_error": "the CUDA kernels do not load (a symbol)"},
        "the CUDA kernels do not load (a symbol)",
    ),
    "all is well": ({}, None),
}


@pytest.mark.parametrize("choice", ["required", "auto"])
@pytest.mark.parametrize("trouble", REQUIRED)
def test_missing_cuda_kernels_are_an_error_if_required(monkeypatch, capsys, trouble, choice):
    changes, sentence = REQUIRED[trouble]
    answers = {
        "torch_cuda_version": "13.0",
        "gpu_architectures": [90],
        "find_compiler": None,
        "build": "a line",
        "load_error": None,
    } | changes

    def answering(answer):
        def call(*arguments, **how):
            if isinstance(answer, BuildError):
                raise answer
            return answer

        return call

    for name, answer in answers.items():
        monkeypatch.setattr(build_cuda, name, answering(answer))
    monkeypatch.setattr(command, "build", lambda verbose: "a file")
    monkeypatch.setattr(sys, "argv", ["extension", "--cuda", choice])
    code, errors = command.main(), capsys.readouterr().err
    if choice == "auto" or sentence is None:
        assert code == 0 and "lift: error" not in errors
    else:
        assert (code, errors) == (1, f"lift: error: the CUDA kernels are required: {sentence}\n")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("print('')", None),
        (
            "print('the CUDA kernels do not load (a symbol)')",
            "the CUDA kernels do not load (a symbol)",
        ),
        ("raise ImportError('no module')", "ImportError: no module"),
        ("import os; os._exit(139)", "Python exited with code 139"),
    ],
)
def test_loading_the_library_is_tried_in_another_process(monkeypatch, program, why):
    monkeypatch.setattr(build_cuda, "LOAD_PROGRAM", program)
    assert build_cuda.load_error() == why


@pytest.mark.slow
def test_that_process_reports_the_reason_of_the_operation(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    assert build_cuda.load_error() == cuda.unsupported_reason()
