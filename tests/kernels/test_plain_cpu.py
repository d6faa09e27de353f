"""On a CPU without Triton's interpreter, as users run LIFT: what `auto` selects is right.

The other tests interpret Triton's kernels, so there its backends support a CPU.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

PROGRAM = """
import json
from dataclasses import replace
import torch
from benchmarks.harness import training_step
from benchmarks.harness.parameters import fill_zeros
from lift import Interpolator, create_lift_model, kernels
from lift.config import Config, tiny
from lift.kernels import dispatch, selfcheck

def distance(found, exact):
    found, exact = (torch.cat([x.double().flatten() for x in of]) for of in (found, exact))
    return float((found - exact).norm() / exact.norm())

def forms(x):
    "As it is, with gaps in memory, and requiring a gradient."
    if not isinstance(x, torch.Tensor):
        return [x] * 3
    gaps = torch.stack((x, x), -1)[..., 0]
    return [x, gaps, x.detach().requires_grad_(x.is_floating_point())]

def outputs(backend, arguments):
    found = backend.call(*arguments)
    found = found if isinstance(found, tuple) else (found,)
    return [x.detach() for x in found if x is not None and x.numel() > 0]

ops = {}
for name in dispatch.samplers():
    reference = dispatch.operations()[name][-1]
    for arguments in zip(*map(forms, selfcheck.samples(name))):
        backend = dispatch.select(name, None, *arguments)
        error = distance(outputs(backend, arguments), outputs(reference, arguments))
        reason = kernels.unsupported_reasons(name, *arguments).get("triton", "no such kernel")
        ops.setdefault(name, []).append((backend.name, error, reason))

def frames(flag, batch, dtype=torch.float32):
    "Of a short stream that triples the rate, with motion beside the references."
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 9, 12, generator=generator)
    image = torch.nn.functional.interpolate(image, (64, 84), mode="bicubic").clamp(0, 1)[0]
    moved = [image[:, 2 * i : 2 * i + 48, 3 * i : 3 * i + 64] for i in range(6)]
    model = create_lift_model("tiny", pretrained=True, kernels=flag)
    video = Interpolator(model, 5, dtype=dtype, batch=batch, detect_scenes=False)
    return list(video.frames(moved, multi=3))

def step(flag):
    "The loss and the gradients of a training step."
    training = training_step.Training(replace(Config(), model=tiny(), kernels=flag), "cpu")
    fill_zeros(training.model)
    loss = training.loss(training_step.batch(2, 5, 32, 48, seed=0))
    loss.backward()
    return [loss.detach()], [p.grad for p in training.model.parameters()]

exact = frames("reference", 1)
streamed = [distance(frames("auto", n), exact) for n in (1, 2)]
half = [distance(frames(flag, 1, torch.bfloat16), exact) for flag in ("auto", "reference")]
trained = [distance(*of) for of in zip(step("auto"), step("reference"))]
print(json.dumps({"ops": ops, "stream": streamed, "half": half, "step": trained}))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    """What a program without the interpreter and without a GPU finds."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    for name in ("TRITON_INTERPRET", "LIFT_KERNELS"):
        environment.pop(name, None)
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_triton_says_why_it_does_not_support_a_cpu(found):
    """Whatever the strides, and with gradients: a reason, no error."""
    assert len(found["ops"]) > 20
    for name, forms in found["ops"].items():
        for backend, _, reason in forms:
            assert backend != "triton" and isinstance(reason, str), (name, backend, reason)


def test_every_op_is_its_reference(found):
    for name, forms in found["ops"].items():
        for backend, error, _ in forms:
            assert error < 1e-5, (name, backend, error)


def test_a_stream_is_that_of_the_reference(found):
    """Also where several frames of a pair are generated in one call."""
    assert max(found["stream"]) < 1e-5, found["stream"]


def test_a_stream_in_bfloat16_is_as_exact_as_that_of_the_reference(found):
    """Compared with the reference in float32."""
    fused, reference = found["half"]
    assert fused < 1.1 * reference < 0.02, found["half"]


def test_a_training_step_is_that_of_the_reference(found):
    """Gradients are not continuous where a sign changes, as of differences of pixels."""
    loss, gradients = found["step"]
    assert loss < 1e-5 and gradients < 1e-3, (loss, gradients)
