"""The CUDA part of the build: which nvcc serves, what a failure says, and that the library needs
nothing but a torch with CUDA.
"""

import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from lift.kernels.extension import __main__ as command
from lift.kernels.extension import build
from lift.kernels.extension import build_cuda as cuda
from lift.kernels.extension.build import BuildError, requirements
from lift.kernels.ops.grid_sample import cuda as implementation


@pytest.fixture
def toolkits(tmp_path, monkeypatch):
    """Make nvccs that only tell their version, at the places where the build looks: "home", "path",
    "pypi".
    """
    monkeypatch.setattr(
        cuda,
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


_Path = cuda.Path


@pytest.mark.parametrize("place", ["home", "path", "pypi"])
def test_an_nvcc_of_torchs_major_version_is_found(toolkits, place):
    nvcc = toolkits(place, "13.1")
    assert cuda.find_compiler("13.0") == cuda.Compiler(nvcc, "13.1")


def test_one_of_another_major_version_is_passed_over(toolkits):
    toolkits("path", "12.8")
    fitting = toolkits("pypi", "13.0")
    assert cuda.find_compiler("13.0").nvcc == fitting
    assert cuda.find_compiler(None).version == "12.8"  # a torch for the CPU: any will do


def test_none_that_fits_is_told_with_the_remedy(toolkits):
    toolkits("path", "12.8")
    with pytest.raises(
        BuildError,
        match=r"no nvcc of CUDA 13\.0.*is of CUDA 12\.8.*pip install \"cuda-toolkit\[.*\]==13\.0\.\*\"",
    ):
        cuda.find_compiler("13.0")


def test_the_parts_of_a_compiler_are_fetched_in_one_version(monkeypatch):
    """PyPI's nvcc takes nvvm, which it calls, of any version; that of a newer CUDA writes what it
    cannot read.
    """
    asked = []
    monkeypatch.setattr(
        cuda.subprocess,
        "run",
        lambda command, **how: asked.append(command) or subprocess.CompletedProcess(command, 0),
    )
    cuda.install_compiler("13.0")
    extras = re.fullmatch(r"cuda-toolkit\[(.*)\]==13\.0\.\*", asked[0][-1])[1].split(",")
    assert {"nvcc", "nvvm", "crt", "cudart", "cccl"} == set(extras)


def test_no_network_is_told(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(
        BuildError,
        match=r"nvcc of CUDA 99\.9 could not be installed from PyPI: ERROR: .*cuda-toolkit",
    ):
        cuda.install_compiler("99.9")


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("cuda: Optional[str] = '13.0'", "13.0"),
        ("cuda = '12.8'", "12.8"),
        ("cuda: Optional[str] = None", None),
    ],
)
def test_torchs_cuda_is_read_from_its_files(tmp_path, line, version):
    (tmp_path / "version.py").write_text(
        f"__version__ = '2.11.0'\n{line}\nhip: Optional[str] = None\n"
    )
    assert cuda.torch_cuda(tmp_path) == version


def test_cards_older_than_turing_are_refused(monkeypatch):
    with pytest.raises(BuildError, match="need compute capability 7.5 or newer, got 7.0"):
        cuda.build(architectures=[70, 89])
    monkeypatch.setattr(cuda, "present", lambda: [61, 70])
    with pytest.raises(BuildError, match="need compute capability 7.5 or newer, got 6.1"):
        cuda.build()


@pytest.mark.parametrize(
    ("cards", "architectures"), [([70, 89], [89]), ([], list(cuda.ARCHITECTURES))]
)
def test_the_cards_present_are_built_for(monkeypatch, tmp_path, cards, architectures):
    """An old card beside a new one keeps nothing from the new one; no card at all: for every card."""
    monkeypatch.setattr(cuda, "present", lambda: cards)
    monkeypatch.setattr(
        cuda, "find_compiler", lambda version: cuda.Compiler(tmp_path / "nvcc", "13.0")
    )
    monkeypatch.setattr(
        cuda, "requirements", lambda: build.Requirements(["c++"], ["ninja"], tmp_path, tmp_path)
    )
    monkeypatch.setattr(cuda, "torch_cuda", lambda torch: "13.0")
    monkeypatch.setattr(cuda, "workplace", lambda name: nullcontext(tmp_path))
    monkeypatch.setattr(
        cuda,
        "made_by_ninja",
        lambda library, folder, needed, rules, *more: (tmp_path / "rules").write_text(rules),
    )
    assert cuda.build(
        tmp_path / "_cuda.so"
    ) == f"nvcc 13.0 ({tmp_path / 'nvcc'}), for " + ", ".join(f"sm_{a}" for a in architectures)
    rules = (tmp_path / "rules").read_text()
    assert ("--threads 0" in rules) == (len(architectures) > 1) and "-lineinfo" in rules
    compiled = re.findall(r"^build (\S+): (?:device|host) ", rules, re.MULTILINE)
    assert compiled == sorted(f"{file.stem}.o" for file in (build.SOURCES / "cuda").glob("*.c*"))
    assert f"link {' '.join(compiled)}\n" in rules
    assert re.findall(r"code=sm_(\d+)", rules) == list(map(str, architectures))
    assert f"code=compute_{architectures[-1]}" in rules, "nothing for the cards of tomorrow"


@pytest.mark.parametrize(
    ("smi", "torch", "cards"),
    [
        ("8.9\n9.0\n8.9\n", "7.5\n", [89, 90]),
        ("", "9.0\n8.6\n", [86, 90]),
        ("NVIDIA-SMI has failed\n", "12.0\n", [120]),
        (None, "9.0\n", [90]),
        (None, "", []),
    ],
)
def test_the_gpus_present_are_those_of_nvidia_smi_else_those_of_torch(
    monkeypatch, smi, torch, cards
):
    def run(command, **how):
        if command[0] == "nvidia-smi" and smi is None:
            raise FileNotFoundError("nvidia-smi")
        return subprocess.CompletedProcess(command, 0, smi if command[0] == "nvidia-smi" else torch)

    monkeypatch.setattr(cuda.subprocess, "run", run)
    assert cuda.present() == cards


def test_torch_is_asked_in_code_that_runs(monkeypatch):
    program = (
        "import torch; torch.cuda.device_count = lambda: 2\n"
        "torch.cuda.get_device_capability = lambda i: [(8, 6), (12, 0)][i]\n" + cuda.BY_TORCH
    )
    assert cuda._capabilities([sys.executable, "-c", program]) == [86, 120]


def test_what_nvcc_reports_is_in_the_log_and_not_in_the_failure(monkeypatch, tmp_path):
    report = "ptxas info    : Used 40 registers\n    0 bytes stack frame, 0 bytes spill stores\n"
    ninja = tmp_path / "ninja"
    ninja.write_text(f"#!/bin/sh\nprintf '{report}a.cu(3): error: nonsense\\n'; exit 1\n")
    ninja.chmod(0o755)
    needed = build.Requirements(["c++"], [str(ninja)], tmp_path, tmp_path)
    with pytest.raises(BuildError) as failure:
        build.made_by_ninja(tmp_path / "_cuda.so", tmp_path, needed, "", False, "it failed")
    assert str(failure.value) == "it failed, which said:\na.cu(3): error: nonsense"
    assert (tmp_path / "build.log").read_text().startswith(report)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library that is no library, with its record."""
    monkeypatch.setattr(cuda, "LIBRARY", tmp_path / "_cuda.so")
    monkeypatch.setattr(cuda, "RECORD", tmp_path / "_cuda.json")

    def write(**changes):
        cuda.LIBRARY.write_text("no library")
        cuda.RECORD.write_text(
            json.dumps(
                {"sources": cuda.fingerprint(), "cuda": "13.0", "architectures": [89]} | changes
            )
        )

    return write


def test_why_it_is_not_loaded_is_told(library):
    assert cuda.load(None) == (None, "torch here is built for the CPU alone")
    assert "are not built; build it with" in cuda.load("13.0")[1]
    library(sources="other")
    assert "from other sources" in cuda.load("13.0")[1]
    library()
    assert "with CUDA 13.0, torch with 12.8" in cuda.load("12.8")[1]
    assert "do not load" in cuda.load("13.2")[1]


@pytest.mark.parametrize(
    ("built", "card", "serves"),
    [
        ([75, 89], (8, 9), True),
        ([80], (8, 6), True),
        ([75, 89], (8, 6), False),
        ([75, 89], (12, 0), True),
        ([90], (8, 9), False),
    ],
)
def test_code_for_one_card_serves_those_that_can_run_it(built, card, serves):
    assert cuda.serves({"architectures": built}, card) is serves


@pytest.mark.native
def test_grid_sample_says_why_cuda_does_not_serve():
    expected = cuda.load(torch.version.cuda)[1]
    if expected is None and not torch.cuda.is_available():
        expected = "there is no GPU that torch can use"
    assert implementation.unsupported_reason() == expected


# -- a build ---------------------------------------------------------------------------------------


def _nvcc() -> str | None:
    try:
        return cuda.find_compiler(cuda.torch_cuda(requirements().torch)) and None
    except BuildError as error:
        return str(error)


@pytest.mark.skipif(_nvcc() is not None, reason=str(_nvcc()))
def test_the_library_needs_no_more_than_a_torch_with_cuda(tmp_path):
    library = tmp_path / "_cuda.so"
    said = cuda.build(library, [80])
    assert "for sm_80" in said and json.loads(library.with_suffix(".json").read_text())[
        "architectures"
    ] == [80]
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [
        name for name in symbols if name.startswith(("cuda", "cu")) and "aoti" not in name
    ], "CUDA's runtime is not inside"
    assert {name for name in symbols if "cuda" in name} <= {
        "aoti_torch_get_current_cuda_stream",
        "aoti_torch_device_type_cuda",
    }


@pytest.mark.parametrize(("cpp", "code"), [("builds", 0), ("fails", 1)])
def test_each_part_is_built_whatever_happens_to_the_other(cpp, code):
    program = (
        "import sys; from lift.kernels.extension import __main__ as command, build_cuda as cuda\n"
        "from lift.kernels.extension.build import BuildError\n"
        "def none(version): raise BuildError('no nvcc here')\n"
        "def build(verbose):\n"
        f"    if {cpp == 'fails'}: raise BuildError('the C++ kernels fail')\n"
        "    return 'a file'\n"
        "command.build = build; cuda.find_compiler = none\n"
        "sys.argv = ['extension', '--cuda', '89']; sys.exit(command.main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert (
        ran.returncode == code
        and "lift: warning: the CUDA kernels are not built: no nvcc here\n" in ran.stderr
    )
    assert ("lift: error: the C++ kernels fail\n" in ran.stderr) == bool(code)


REQUIRED = {
    "torch without CUDA": (
        {"torch_cuda": None},
        "torch here is built for the CPU alone; install one that is built for CUDA",
    ),
    "no GPU": (
        {"present": []},
        "there is no GPU here, by nvidia-smi or by torch; run this where there is one",
    ),
    "no nvcc": ({"find_compiler": BuildError("no nvcc here")}, "no nvcc here"),
    "nvcc fails": ({"build": BuildError("nvcc says no")}, "nvcc says no"),
    "does not load": (
        {"fails_to_load": "the CUDA kernels do not load (a symbol)"},
        "the CUDA kernels do not load (a symbol)",
    ),
    "all is well": ({}, None),
}


@pytest.mark.parametrize("choice", ["required", "auto"])
@pytest.mark.parametrize("trouble", REQUIRED)
def test_required_cuda_kernels_that_are_not_there_are_a_failure(
    monkeypatch, capsys, trouble, choice
):
    changes, sentence = REQUIRED[trouble]
    answers = {
        "torch_cuda": "13.0",
        "present": [90],
        "find_compiler": None,
        "build": "a line",
        "fails_to_load": None,
    } | changes

    def answering(answer):
        def call(*arguments, **how):
            if isinstance(answer, BuildError):
                raise answer
            return answer

        return call

    for name, answer in answers.items():
        monkeypatch.setattr(cuda, name, answering(answer))
    monkeypatch.setattr(command, "build", lambda verbose: "a file")
    monkeypatch.setattr(sys, "argv", ["extension", "--cuda", choice])
    code, said = command.main(), capsys.readouterr().err
    if choice == "auto" or sentence is None:
        assert code == 0 and "lift: error" not in said
    else:
        assert (code, said) == (1, f"lift: error: the CUDA kernels are required: {sentence}\n")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("print('')", None),
        (
            "print('the CUDA kernels do not load (a symbol)')",
            "the CUDA kernels do not load (a symbol)",
        ),
        ("raise ImportError('no module')", "ImportError: no module"),
        ("import os; os._exit(139)", "Python ended with 139"),
    ],
)
def test_the_library_is_loaded_in_a_process_of_its_own(monkeypatch, program, why):
    monkeypatch.setattr(cuda, "LOAD", program)
    assert cuda.fails_to_load() == why


def test_the_process_says_why_the_operation_does_not_use_cuda(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    assert cuda.fails_to_load() == implementation.unsupported_reason()
