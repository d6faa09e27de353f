"""`torch.func` and forward mode on every op: tangents, gradients and batches agree, whatever the
backend.
"""

from dataclasses import replace

import pytest
import torch
from torch.func import grad, jvp, vjp, vmap

from lift import kernels
from lift.kernels import dispatch, selfcheck
from tests.support.models import awake_lift, random_clip

QUICK = ("bias_act", "refine_output", "time_mlp", "warp")  # in the interpreter


def backends():
    for name in sorted(dispatch.samplers()):
        for backend in dispatch.operations()[name]:
            slow = backend.name == "triton" and name not in QUICK
            marks = [pytest.mark.slow] if backend.name == "triton" else []
            if not slow and backend.name != "cuda":
                yield pytest.param(name, backend, id=f"{name}-{backend.name}", marks=marks)


def function_of(operation, backend):
    """The op as a function of its floating-point tensors, with floating-point outputs; those."""
    arguments = list(selfcheck.samples(operation))
    places = [i for i, x in enumerate(arguments) if selfcheck._is_floating(x)]
    if reason := backend.unsupported_reason(*arguments):
        pytest.skip(reason)

    def function(*inputs):
        all_arguments = list(arguments)
        for i, x in zip(places, inputs, strict=True):
            all_arguments[i] = x
        outputs = backend.call(*all_arguments)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(x for x in outputs if selfcheck._is_floating(x))

    return function, [arguments[i] for i in places]


def products(left, right):
    return torch.stack([(x.double() * y.double()).sum() for x, y in zip(left, right, strict=True)])


@pytest.mark.parametrize("operation, backend", list(backends()))
def test_tangents_are_those_of_the_gradients(operation, backend):
    """u (J v) = (u J) v: one side in forward mode, the other in reverse."""
    function, inputs = function_of(operation, backend)
    generator = torch.Generator().manual_seed(1)
    v = [0.1 * torch.randn(x.shape, generator=generator).to(x.dtype) for x in inputs]
    outputs, tangents = jvp(function, tuple(inputs), tuple(v))
    u = tuple(torch.randn(x.shape, generator=generator).to(x.dtype) for x in outputs)
    gradients = vjp(function, *inputs)[1](u)
    forward, reverse = products(u, tangents), products(gradients, v)
    size = max(forward.abs().sum().item(), 1.0)
    torch.testing.assert_close(forward.sum(), reverse.sum(), atol=2e-3 * size, rtol=0)


@pytest.mark.parametrize("operation, backend", list(backends()))
def test_samples_of_a_vmap_do_not_mix(operation, backend):
    function, inputs = function_of(operation, backend)
    every = tuple(range(len(inputs)))

    def loss(*inputs):
        return sum(x.float().square().mean() for x in function(*inputs))

    batches = [torch.stack((x, x.flip(0))) for x in inputs]
    for f in (function, grad(loss, every)):
        found, expected = vmap(f)(*batches), f(*[x[1] for x in batches])
        for x, y in zip(found, expected, strict=True):
            torch.testing.assert_close(x[1], y, atol=1e-4, rtol=1e-3, equal_nan=True)


def test_compiled_autograd_takes_the_nodes():
    image, flow = selfcheck.samples("warp")
    image.requires_grad_()
    (expected,) = torch.autograd.grad(kernels.warp(image, flow).square().sum(), image)
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
        kernels.warp(image, flow).square().sum().backward()
    torch.testing.assert_close(image.grad, expected)


@pytest.mark.slow
@pytest.mark.parametrize("autocast", (False, True))
def test_gradients_of_a_whole_model_by_torch_func(autocast):
    model, clip = awake_lift(), random_clip(batch=1)
    parameters = {name: x.detach() for name, x in model.named_parameters()}
    t = torch.full((1,), 0.5)

    def loss(parameters):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            frame = torch.func.functional_call(model, parameters, (clip, t)).frame
        return frame.float().square().mean()

    found = grad(loss)(parameters)
    leaves = {name: x.requires_grad_() for name, x in parameters.items()}
    expected = torch.autograd.grad(loss(leaves), list(leaves.values()), materialize_grads=True)
    largest = max(y.abs().max().item() for y in expected)
    # In transforms bicubic samples are computed by the definition, otherwise by `grid_sample`.
    rounding = 5e-2 if autocast else 5e-5
    for (name, x), y in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(x, y, atol=rounding * largest, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_tangents_of_a_whole_model_are_those_of_its_gradients():
    model, clip = awake_lift(), random_clip(batch=1)
    t = torch.full((1,), 0.5)

    def frame(frames):
        return model(replace(clip, frames=frames), t).frame

    v = 0.01 * torch.randn_like(clip.frames)
    out, tangent = jvp(frame, (clip.frames,), (v,))
    u = torch.randn_like(out)
    (gradient,) = vjp(frame, clip.frames)[1](u)
    forward, reverse = (u * tangent).sum(), (gradient * v).sum()
    size = (u * tangent).abs().sum().item()
    torch.testing.assert_close(forward, reverse, atol=1e-3 * size, rtol=0)
