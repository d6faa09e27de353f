"""The blend weights of the Triton kernels of `warp_blend`: their precision and their cost."""

import os
import subprocess
import sys

import pytest
import torch

from lift.kernels.ops.warp_blend import op
from lift.kernels.ops.warp_blend.reference import warp_blend_reference
from tests.support.warp_cases import INTERPRETED

pytest.importorskip("triton", reason="Triton has no build for this machine")


def blended(function, occ0: torch.Tensor, occ1: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(4, N): both weights of logits (N,), then the slopes of weight 0 with each logit."""
    occ0, occ1 = (x.view(1, 1, 1, -1).to(dtype, copy=True).requires_grad_() for x in (occ0, occ1))
    one, zero = torch.ones_like(occ0), torch.zeros_like(occ0)
    flow = torch.zeros(1, 2, *occ0.shape[2:], dtype=dtype)
    weight0, weight1 = (
        function(*images, flow, flow, occ0, occ1)
        for images in ((one.detach(), zero), (zero, one.detach()))
    )
    slopes = torch.autograd.grad(weight0.sum(), (occ0, occ1))
    return torch.cat((weight0.detach(), weight1.detach(), *slopes)).flatten(1).double()


def one_program(monkeypatch, pixels: int) -> None:
    """Compute all pixels in one program, which the interpreter runs as fast as 128 of them."""
    monkeypatch.setattr(op.triton, "block_sizes", lambda *_: {"BP": pixels, "BC": 1})


@pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter: a GPU's exp is less exact")
@pytest.mark.parametrize("size", [3, 20, 100])
def test_they_err_by_little_more_than_a_unit(size, monkeypatch):
    one_program(monkeypatch, 8192)
    occ = (2 * torch.rand(2, 8192) - 1) * size
    found = blended(torch.ops.lift_triton.warp_blend, *occ, torch.float32)
    exact = blended(warp_blend_reference, *occ, torch.float64)
    error = (found - exact).abs().amax(1) / torch.finfo(torch.float32).eps
    assert (error <= torch.tensor([1.25, 1.25, 0.75, 0.75])).all(), error


@pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter: reads the host's memory")
def test_logits_of_any_size_are_safe(monkeypatch):
    one_program(monkeypatch, 256)
    sizes = torch.tensor([0.0, 1e-30, 1.0, 88.0, 104.0, 1e4, 3e38])
    occ = torch.cartesian_prod(*[torch.cat((sizes, -sizes))] * 2).T
    found = blended(torch.ops.lift_triton.warp_blend, *occ, torch.float32)
    exact = blended(warp_blend_reference, *occ, torch.float64)
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-7)


COSTS = """
import re, subprocess, tempfile
import triton
from benchmarks.static import compile as ahead_of_time
_, label, kernel, arguments = next(ahead_of_time.compile_cases("warp_blend"))
assert label == "fwd blend float32 3 planes" and arguments["BP"] == 32 * arguments["num_warps"]
made = ahead_of_time.compiled(89, kernel, arguments)
with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
    file.write(made.asm["cubin"])
    file.flush()
    command = [triton.knobs.nvidia.nvdisasm.path, "-c", file.name]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
instructions = re.findall(r"^\\s*/\\*[0-9a-f]{4,}\\*/\\s+(?!NOP)\\S", text, re.MULTILINE)
print(len(instructions), made.asm["ttir"].count("math.log"), made.asm["ttir"].count("math.exp"))
"""


@pytest.mark.slow
def test_they_take_three_exponentials_and_no_logarithm():
    """A pixel a thread and no loop: the instructions of the code are those of a pixel."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    answer = subprocess.run(
        [sys.executable, "-c", COSTS], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    instructions, logarithms, exponentials = map(int, answer.stdout.split())
    assert (logarithms, exponentials) == (0, 3) and instructions <= 360
