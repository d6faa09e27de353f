"""Derivatives of the five ops of other people's models, of every backend that runs here: of any
order, forward and reverse, batched, and by `torch.func`.
"""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.utils.flop_counter import FlopCounterMode

from lift import kernels
from lift.kernels import dispatch

F64 = torch.float64


def image(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=F64)


def flow(generator, B, H, W):
    """A quarter pixel or more from whole ones, where a gradient jumps."""
    whole = (2 * image(generator, B, 2, H, W)).round()
    return whole + 0.25 + 0.5 * torch.rand(B, 2, H, W, generator=generator, dtype=F64)


def warp(g):
    return image(g, 2, 1, 2, 3), flow(g, 2, 2, 3)


def warp_blend(g):
    (first, flow0), (second, flow1) = warp(g), warp(g)
    return first, second, flow0, flow1, image(g, 2, 1, 2, 3), image(g, 2, 1, 2, 3)


def correlation(g):
    return image(g, 2, 2, 2, 3), image(g, 2, 2, 2, 3), 1, True


def grid_sample(g):
    grid = 1.2 * torch.rand(2, 2, 2, 2, generator=g, dtype=F64) - 0.6
    return image(g, 2, 1, 3, 4), grid, "bilinear", "reflection", False


def temporal_attention(g, B=2, d=2):
    q, k, v = (image(g, B, T, 1, 3, 1, d) for T in (1, 2, 2))
    return q, k, v, 2, 1, image(g, B, 1, 1, 2), image(g, 1, 3, 3), None, 0.7, False


MAKERS = (warp, warp_blend, correlation, grid_sample, temporal_attention)


def cases():
    for make in MAKERS:
        for backend in dispatch.operations()[make.__name__]:
            if backend.name not in ("triton", "cuda"):
                yield pytest.param(make, backend, id=f"{make.__name__}-{backend.name}")


class Function:
    """A backend of an op as a function of the tensors among the arguments of a sample."""

    def __init__(self, make, backend, dtype=F64, **sizes):
        arguments = make(torch.Generator().manual_seed(0), **sizes)
        self.arguments = [x.to(dtype) if isinstance(x, torch.Tensor) else x for x in arguments]
        self.places = [i for i, x in enumerate(arguments) if isinstance(x, torch.Tensor)]
        self.inputs = [self.arguments[i] for i in self.places]
        self.call = backend.call
        leaves = iter([x.clone().requires_grad_() for x in self.inputs])
        probe = [next(leaves) if isinstance(x, torch.Tensor) else x for x in arguments]
        if reason := backend.unsupported_reason(*probe):
            pytest.skip(reason)

    def __call__(self, *inputs):
        arguments = list(self.arguments)
        for i, x in zip(self.places, inputs, strict=True):
            arguments[i] = x
        out = self.call(*arguments)
        return out[0] if isinstance(out, tuple) else out

    def leaves(self):
        return [x.clone().requires_grad_() for x in self.inputs]

    def batches(self):
        """Two samples of every input."""
        return [torch.stack((x, x.flip(0))) for x in self.inputs]


@pytest.mark.parametrize("make, backend", list(cases()))
def test_first_derivatives(make, backend):
    function = Function(make, backend)
    assert gradcheck(
        function,
        function.leaves(),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


@pytest.mark.parametrize("make, backend", list(cases()))
def test_second_derivatives(make, backend):
    function = Function(make, backend)
    assert gradgradcheck(
        function,
        function.leaves(),
        check_fwd_over_rev=True,
        check_rev_over_rev=True,
        check_batched_grad=True,
        fast_mode=True,
    )


@pytest.mark.parametrize("make, backend", list(cases()))
def test_torch_func(make, backend):
    """`jacfwd`, `jacrev`, `hessian`, and `vmap` of values and of gradients."""
    function = Function(make, backend)
    every = tuple(range(len(function.inputs)))

    def loss(*inputs):
        return function(*inputs).sin().sum()

    forward = torch.func.jacfwd(function, every)(*function.inputs)
    reverse = torch.func.jacrev(function, every)(*function.inputs)
    torch.testing.assert_close(forward, reverse)
    hessian = torch.func.hessian(loss, every)(*function.inputs)
    torch.testing.assert_close(
        hessian, torch.autograd.functional.hessian(loss, tuple(function.inputs))
    )
    batches = function.batches()
    for f in (function, torch.func.grad(loss, every)):
        found = torch.func.vmap(f)(*batches)
        for i in range(2):
            sample = found[i] if isinstance(found, torch.Tensor) else tuple([x[i] for x in found])
            torch.testing.assert_close(sample, f(*[x[i] for x in batches]))


@pytest.mark.parametrize("make, backend", list(cases()))
def test_vmap_over_some_arguments(make, backend):
    """Gradients of what all samples share are those of each sample, not their sum."""
    function = Function(make, backend)
    every = tuple(range(len(function.inputs)))
    gradients = torch.func.grad(lambda *x: function(*x).sin().sum(), every)
    for place, batch in enumerate(function.batches()):
        dims = [None] * len(every)
        dims[place] = batch.ndim - 1
        inputs = list(function.inputs)
        inputs[place] = batch.movedim(0, -1)
        found = torch.func.vmap(gradients, tuple(dims))(*inputs)
        for i in range(2):
            inputs[place] = batch[i]
            for x, y in zip(found, gradients(*inputs), strict=True):
                torch.testing.assert_close(x[i], y)


@pytest.mark.parametrize("normalize", (False, True))
def test_the_second_derivative_of_a_sum_reaches_both_maps(normalize):
    """Its first gradient needs none, so that `once_differentiable` would not notice."""
    found = {}
    for name in ("eager", "cpp", "reference"):
        backend = next(b for b in dispatch.operations()["correlation"] if b.name == name)
        if backend.unsupported_reason(torch.zeros(1, 1, 1, 1)):
            continue
        left, right = (x.float().requires_grad_() for x in correlation(torch.Generator())[:2])
        out = kernels.correlation(left, right, 1, normalize, backend=name)
        (first,) = torch.autograd.grad(out.sum(), left, create_graph=True)
        found[name] = torch.autograd.grad(first.square().sum(), (left, right), allow_unused=True)
    for name, grads in found.items():
        for x, y in zip(grads, found["reference"], strict=True):
            torch.testing.assert_close(x, y, msg=name)


# -- Triton's kernels, in the interpreter or on a GPU; float32 -------------------------------------


def triton_cases():
    for make in MAKERS:
        first = dispatch.operations()[make.__name__][0]
        if first.name == "triton":
            yield pytest.param(make, first, id=make.__name__)


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Input #")  # not float64
@pytest.mark.parametrize("make, backend", list(triton_cases()))
def test_derivatives_of_triton(make, backend):
    sizes = {"B": 1, "d": 16} if make is temporal_attention else {}
    function = Function(make, backend, torch.float32, **sizes)
    inputs = function.leaves()
    if make is temporal_attention:  # a minute in the interpreter; others have the rest
        for x in inputs[1:-1]:
            x.requires_grad_(False)
    loose = {"eps": 1e-2, "atol": 1e-2, "rtol": 5e-2, "nondet_tol": 1e-5, "fast_mode": True}
    short = make is warp  # the others take minutes in the interpreter, by the same code
    assert gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=short, **loose)
    if short:
        assert gradgradcheck(function, inputs, check_fwd_over_rev=True, **loose)


# -- FLOP ------------------------------------------------------------------------------------------


def test_floating_point_operations_are_counted():
    """As SDPA's are: of the products of every query with every key in its window."""
    q, k = torch.randn(2, 1, 8, 8, 3, 16), torch.randn(2, 5, 8, 8, 3, 16)
    products = 2 * 3 * 16 * (1 * 5) * (64 * 16)  # B heads d frames (pixels x pixels of a window)
    q.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        out, _ = kernels.temporal_attention(q, k, k, window=4)
    assert counter.get_total_flops() == 4 * products
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 10 * products

    fmap = torch.randn(2, 6, 4, 5)
    with FlopCounterMode(display=False) as counter:
        kernels.correlation(fmap, fmap, 2, backend="eager")
    assert counter.get_total_flops() == 2 * fmap.numel() * 25


@pytest.mark.parametrize("window, shift", ((4, 0), (4, 1), (3, 2), (8, 7), (2, 1)))
def test_windows_at_the_border_count_their_own_pixels(window, shift):
    H, W = 5, 7
    q = torch.randn(1, 1, H, W, 1, 4)

    def pairs(size):
        place = (torch.arange(size) + shift) // window
        return int((place[:, None] == place).sum())

    with FlopCounterMode(display=False) as counter:
        kernels.temporal_attention(q, q, q, window=window, shift=shift, backend="eager")
    assert counter.get_total_flops() == 4 * 4 * pairs(H) * pairs(W)
