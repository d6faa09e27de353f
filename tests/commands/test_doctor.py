"""`lift doctor` reports the selected backends, and fails where an answer is wrong."""

import json

import pytest
import torch

from lift.commands import doctor
from lift.errors import LiftError, run
from lift.kernels import dispatch, selfcheck
from lift.kernels.ops.grid_sample import cuda

WARP = dispatch._operations["warp"]


@pytest.fixture(autouse=True)
def one_operation(monkeypatch):
    """The reference of `warp` alone, to be quick, with no flag set."""
    monkeypatch.setattr(dispatch, "_environment", "")
    monkeypatch.setattr(dispatch, "_operations", {"warp": WARP[-1:]})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def add(monkeypatch, call, reason=dispatch.always_supported):
    register = (dispatch.Backend("quick", call, reason), *dispatch._operations["warp"])
    monkeypatch.setattr(dispatch, "_operations", {"warp": register})


@pytest.mark.slow
def test_a_sound_machine_passes(monkeypatch, capsys):
    monkeypatch.setattr(dispatch, "_operations", {"warp": WARP})
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert (
        "All checks passed." in out
        and "Kernels flag: auto (from the default)" in out
        and torch.__version__ in out
    )
    assert any(
        line.split()
        == ["warp", "cpu", dispatch.selected_backend("warp", *selfcheck.samples("warp"))]
        for line in out.splitlines()
    )


@pytest.mark.parametrize(
    ("record", "failure", "described"),
    [
        (
            None,
            "torch here is built for the CPU only",
            "none: torch here is built for the CPU only",
        ),
        (
            {"cuda": "13.0", "nvcc": "/opt/nvcc", "architectures": [75, 90]},
            None,
            "nvcc 13.0 (/opt/nvcc), for sm_75, sm_90",
        ),
    ],
)
def test_the_build_of_the_cuda_kernels_is_described(monkeypatch, record, failure, described):
    monkeypatch.setattr(cuda, "library", record)
    monkeypatch.setattr(cuda, "_failure", failure)
    lines = doctor.text(doctor.examine()).splitlines()
    assert any(line.split(maxsplit=2) == ["CUDA", "kernels", described] for line in lines)


def test_a_wrong_kernel_fails(monkeypatch, capsys):
    add(monkeypatch, lambda image, flow: dispatch._operations["warp"][-1].call(image, flow * 1.01))
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "exceeds its tolerance" in out


def test_a_wrong_gradient_fails(monkeypatch):
    add(
        monkeypatch,
        lambda image, flow: dispatch._operations["warp"][-1].call(image, flow.detach() + 0 * flow),
    )
    assert doctor.main([]) == 1


def test_a_nan_and_a_crash_are_findings(monkeypatch, capsys):
    add(
        monkeypatch,
        lambda image, flow: dispatch._operations["warp"][-1].call(image, flow) * float("nan"),
    )
    assert doctor.main([]) == 1
    assert "NaN in the result" in capsys.readouterr().out

    def crash(image, flow):
        raise RuntimeError("no kernel image for this GPU\nmore")

    add(monkeypatch, crash)
    assert doctor.main([]) == 1
    assert "FAILED: RuntimeError: no kernel image for this GPU" in capsys.readouterr().out


def test_an_unsupported_backend_is_reported_and_fails_nothing(monkeypatch, capsys):
    add(monkeypatch, None, lambda *arguments: "no GPU")
    assert doctor.main([]) == 0
    assert "not supported: no GPU" in capsys.readouterr().out


def test_fused_without_a_fused_kernel_fails(monkeypatch, capsys):
    monkeypatch.setattr(dispatch, "_environment", "fused")
    assert doctor.main([]) == 1
    assert "none: this build has no fused backend" in capsys.readouterr().out


def test_a_wrong_environment_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(dispatch, "_environment", "fast")
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
    assert warp["selected"] == next(
        i["name"] for i in warp["backends"] if i["automatic"] and i["unsupported_reason"] is None
    )
    assert {c["dtype"] for c in warp["backends"][-1]["checks"]} == {
        str(d).removeprefix("torch.") for d in selfcheck.TOLERANCES
    }
    assert doctor.main(["--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]
