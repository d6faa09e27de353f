"""`lift doctor` tells what serves, and fails where an answer is wrong."""

import json

import pytest
import torch

from lift.commands import doctor
from lift.errors import LiftError, run
from lift.kernels import dispatch as backend
from lift.kernels import selfcheck
from lift.kernels.ops.grid_sample import cuda


@pytest.fixture(autouse=True)
def one_operation(monkeypatch):
    """`warp` alone, to be quick, with no flag stated."""
    monkeypatch.setattr(backend, "_environment", "")
    monkeypatch.setattr(backend, "_operations", {"warp": backend._operations["warp"]})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def add(monkeypatch, call, reason=backend.always):
    register = (backend.Implementation("quick", call, reason), *backend._operations["warp"])
    monkeypatch.setattr(backend, "_operations", {"warp": register})


def test_a_sound_machine_passes(capsys):
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert (
        "All checks passed." in out
        and "Kernel flag: auto (from the default)" in out
        and torch.__version__ in out
    )
    assert any(
        line.split() == ["warp", "cpu", backend.serving("warp", *selfcheck.samples("warp"))]
        for line in out.splitlines()
    )


@pytest.mark.parametrize(
    ("record", "failure", "said"),
    [
        (
            None,
            "torch here is built for the CPU alone",
            "none: torch here is built for the CPU alone",
        ),
        (
            {"cuda": "13.0", "nvcc": "/opt/nvcc", "architectures": [75, 90]},
            None,
            "nvcc 13.0 (/opt/nvcc), for sm_75, sm_90",
        ),
    ],
)
def test_the_build_of_the_cuda_kernels_is_told(monkeypatch, capsys, record, failure, said):
    monkeypatch.setattr(cuda, "_build", record)
    monkeypatch.setattr(cuda, "_failure", failure)
    assert doctor.main([]) == 0
    assert any(
        line.split(maxsplit=2) == ["CUDA", "kernels", said]
        for line in capsys.readouterr().out.splitlines()
    )


def test_a_wrong_kernel_fails(monkeypatch, capsys):
    add(monkeypatch, lambda image, flow: backend._operations["warp"][-1].call(image, flow * 1.01))
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "FAILED: bfloat16 is off" in out or "float32 is off" in out


def test_a_wrong_gradient_fails(monkeypatch):
    add(
        monkeypatch,
        lambda image, flow: backend._operations["warp"][-1].call(image, flow.detach() + 0 * flow),
    )
    assert doctor.main([]) == 1


def test_a_nan_and_a_crash_are_findings(monkeypatch, capsys):
    add(
        monkeypatch,
        lambda image, flow: backend._operations["warp"][-1].call(image, flow) * float("nan"),
    )
    assert doctor.main([]) == 1
    assert "NaN in the result" in capsys.readouterr().out

    def crash(image, flow):
        raise RuntimeError("no kernel image for this card\nmore")

    add(monkeypatch, crash)
    assert doctor.main([]) == 1
    assert "FAILED: RuntimeError: no kernel image for this card" in capsys.readouterr().out


def test_a_kernel_that_cannot_serve_is_told_and_fails_nothing(monkeypatch, capsys):
    add(monkeypatch, None, lambda *arguments: "no GPU")
    assert doctor.main([]) == 0
    assert "cannot serve: no GPU" in capsys.readouterr().out


def test_fused_without_a_fused_kernel_fails(monkeypatch, capsys):
    monkeypatch.setattr(backend, "_environment", "fused")
    monkeypatch.setattr(backend, "_operations", {"warp": backend._operations["warp"][-1:]})
    assert doctor.main([]) == 1
    assert "nothing: no fused implementation is part of this build" in capsys.readouterr().out


def test_a_wrong_environment_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(backend, "_environment", "fast")
    with pytest.raises(LiftError, match="LIFT_KERNELS"):
        doctor.examine()
    assert run(doctor.main, []) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_json_holds_the_same(tmp_path, capsys):
    path = tmp_path / "report.json"
    assert doctor.main(["--json", str(path)]) == 0
    assert "Machine" in capsys.readouterr().out
    report = json.loads(path.read_text())
    warp = report["operations"]["warp"]["cpu"]
    assert report["passed"] and report["flag"]["value"] == "auto"
    assert warp["serves"] == next(
        i["name"] for i in warp["implementations"] if i["automatic"] and i["reason"] is None
    )
    assert {c["dtype"] for c in warp["implementations"][-1]["checks"]} == {
        str(d).removeprefix("torch.") for d in selfcheck.TOLERANCES
    }
    assert doctor.main(["--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]
