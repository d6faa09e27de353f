"""The random sweep: 300 cases of it, and that it would notice a wrong kernel."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.sweep import __main__ as sweep
from benchmarks.sweep.check import Case, check_case, draw_case, operations
from lift.kernels import dispatch

SEED, CASES = 1, 300
COMPILED = ("cpp", "eager")  # interpreted kernels take minutes for maps of these sizes


def test_300_random_calls_are_within_the_tolerance():
    faults, compared = [], 0
    for number in range(CASES):
        for result in check_case(SEED, number, backends=COMPILED)[1]:
            compared += result.reason is None
            if result.fault is not None:
                faults.append(f"--seed {SEED} --case {number} {result.backend}: {result.fault}")
    assert not faults, "\n".join(faults)
    assert compared > CASES // 4  # plain PyTorch alone, without the extension


@pytest.mark.parametrize("op", sorted(dispatch.operations()))
def test_every_op_is_drawn_and_its_backends_agree(op):
    drawn = draw_case(SEED, 0, tiny=True, op=op)
    assert drawn.op == op
    assert not [result.fault for result in Case(drawn, 0).results() if result.fault]


def test_a_case_is_the_same_each_time():
    one, other = (draw_case(SEED, 5) for _ in range(2))
    assert one.op == other.op and one.notes == other.notes
    for x, y in zip(one.arguments, other.arguments, strict=True):
        if isinstance(x, torch.Tensor):
            torch.testing.assert_close(x, y, equal_nan=True, rtol=0, atol=0)


def a_backend_with(monkeypatch, op: str, change) -> None:
    """Give an op a backend "wrong", the reference with its output changed."""
    reference = dispatch.operations()[op][-1]
    wrong = replace(reference, name="wrong", call=lambda *a: change(reference.call(*a)))
    monkeypatch.setitem(dispatch._operations, op, (wrong, reference))


def fault(op: str) -> str | None:
    (result,) = Case(draw_case(SEED, 3, op=op), 3).results(("wrong",))
    return result.fault


@pytest.mark.parametrize("op", ["warp", "correlation", "grid_sample"])
def test_an_error_of_a_thousandth_is_noticed(op, monkeypatch):
    a_backend_with(monkeypatch, op, lambda x: x)
    assert fault(op) is None
    a_backend_with(monkeypatch, op, lambda x: x * 1.5 + 1e-3)
    assert "off by" in fault(op)


def test_another_dtype_and_an_error_are_noticed(monkeypatch):
    a_backend_with(monkeypatch, "warp", lambda x: x.to(torch.complex64))
    assert "complex64" in fault("warp")
    a_backend_with(monkeypatch, "warp", lambda x: x.no_such_method())
    assert fault("warp").startswith("AttributeError")


def test_a_definition_that_raises_is_a_fault(monkeypatch):
    def refuse(*arguments):
        raise ValueError("no such map")

    drawn = next(n for n in range(CASES) if draw_case(SEED, n).op == "warp")
    reference = replace(dispatch.operations()["warp"][-1], call=refuse)
    monkeypatch.setitem(dispatch._operations, "warp", (reference,))
    (result,) = check_case(SEED, drawn)[1]
    assert (result.backend, result.fault) == ("reference", "ValueError: no such map")


def test_what_is_wrong_is_printed_with_the_command_that_replays_it(monkeypatch, capsys, tmp_path):
    a_backend_with(monkeypatch, "warp", lambda x: x + 1)
    log = tmp_path / "log.json"
    arguments = ["--seed", str(SEED), "--cases", "12", "--backend", "wrong", "--log", str(log)]
    assert sweep.main(arguments) == 1
    printed = capsys.readouterr().out
    number = json.loads(log.read_text())["faults"][0]["case"]
    assert f"python -m benchmarks.sweep --seed {SEED} --case {number}" in printed
    assert sweep.main(["--seed", str(SEED), "--case", str(number), "--backend", "wrong"]) == 1
    assert "outside the tolerance" in capsys.readouterr().out


def test_a_run_goes_on_where_its_log_ends(capsys, tmp_path):
    log = tmp_path / "log.json"
    run = ["--seed", "2", "--backend", "cpp", "--backend", "eager"]
    for cases in ("6", "12"):
        assert sweep.main([*run, "--cases", cases, "--log", str(log)]) == 0
    whole = tmp_path / "whole.json"
    assert sweep.main([*run, "--cases", "12", "--log", str(whole)]) == 0
    assert json.loads(log.read_text())["rows"] == json.loads(whole.read_text())["rows"]


def test_the_modules_of_the_sweep_draw_every_op():
    assert set(operations()) == set(dispatch.operations())
