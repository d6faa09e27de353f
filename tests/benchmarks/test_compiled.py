"""What torch.compile makes of a frame: counted as Inductor counts, and recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import compiled, count
from benchmarks.report import cost

ROOT = Path(__file__).resolve().parents[2]
RECORDED = json.loads(cost.COMPILED.read_text())

COUNTED = """
import json
import torch
from benchmarks import compiled
from benchmarks.harness import inductor
from lift import kernels
from lift.profiling import launches
from lift.profiling.dataless import GPU
from tests.support.models import TINY

def toy(image, flow):
    out = torch.nn.functional.conv2d(image, weight, bias, padding=1)
    return kernels.warp(torch.nn.functional.leaky_relu(out) + 1, flow) * 2

with launches.on_a_gpu(), inductor.counting() as cost, torch.no_grad():
    weight = torch.empty(8, 3, 3, 3, device=GPU).to(memory_format=torch.channels_last)
    bias = torch.empty(8, device=GPU)
    call = torch.compile(toy)
    for _ in range(2):
        call(torch.empty(1, 3, 32, 48, device=GPU), torch.empty(1, 2, 32, 48, device=GPU))
found = {"toy": [[*key, n, cost.bytes[key]] for key, n in cost.launches.items()]}
arguments = TINY, 64, 96, 4, torch.float16, "auto"
for name, frame in (("plain", launches.frame), ("compiled", compiled.frame)):
    cost = frame(*arguments)
    found[name] = {"all": cost.totals} | cost.by_part()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def counted() -> dict:
    """Counts made in a process of its own: torch remembers what it was told of a GPU."""
    pytest.importorskip("triton")
    environment = {name: x for name, x in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", "-c", COUNTED]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.slow
def test_kernels_of_inductor_calls_of_libraries_and_own_ops_are_counted_once(counted):
    """The first kernel makes the image channels-last, the second adds the bias."""
    image, features, flow, weights = (4 * n for n in (3 * 1536, 8 * 1536, 2 * 1536, 216))
    assert counted["toy"] == [
        ["generated", "kernels", 3, 2 * image + (2 * features + 4 * 8) + 2 * features],
        ["library", "convolution", 1, image + weights + features],
        ["own", "warp", 1, features + flow + features],
    ]


@pytest.mark.slow
def test_a_compiled_frame_launches_what_the_fused_ops_do(counted):
    """Compiling leaves the fused ops as they are, and little around them to fuse."""
    plain, mixed = counted["plain"], counted["compiled"]
    assert set(mixed) == {"all", "generated", "library", "own"}
    assert mixed["generated"][0] < 0.2 * mixed["all"][0]
    assert mixed["all"][:2] == pytest.approx(plain["all"][:2], rel=0.1)


def test_every_case_and_variant_is_recorded_and_its_kinds_add_up():
    assert list(RECORDED) == [str(case) for case in compiled.CASES]
    for variants in RECORDED.values():
        names = [name + how for name in compiled.FLAGS for how in ("", ", compiled")]
        assert list(variants) == names
        for kinds in variants.values():
            parts = [sums for kind, sums in kinds.items() if kind != "all"]
            assert not parts or [sum(sums) for sums in zip(*parts, strict=True)] == kinds["all"]


def test_fused_ops_launch_and_move_less_than_compiled_plain_pytorch():
    for case, variants in RECORDED.items():
        launches, size = variants["fused"]["all"]
        assert launches < 0.7 * variants["plain PyTorch, compiled"]["all"][0], case
        assert size < 0.8 * variants["plain PyTorch, compiled"]["all"][1], case


def test_plain_counts_are_those_of_the_other_table():
    """Record both again where a change is meant: `python -m benchmarks.compiled --record`."""
    others = {row["case"]: row["ops"] for row in json.loads(count.RECORD.read_text())}
    for case in RECORDED.keys() & others.keys():
        for k, total in enumerate(RECORDED[case]["fused"]["all"]):
            assert total == pytest.approx(sum(op[2 + k] for op in others[case]), rel=0.02)


def test_the_command_prints_and_records(tmp_path, monkeypatch, capsys):
    found = {"fused": {"all": [3, 2000]}, "fused, compiled": {"all": [2, 10**9], "own": [2, 10**9]}}
    monkeypatch.setattr(compiled, "count", lambda case: found)
    monkeypatch.setattr(cost, "COMPILED", tmp_path / "compiled.json")
    assert compiled.main(["--record"]) == 0
    case = str(compiled.CASES[0])
    assert f"| {case} | fused, compiled | 2 | 1.00 | – | – | 2 |" in capsys.readouterr().out
    assert json.loads(cost.COMPILED.read_text())[case] == found
