"""Parity of a fused op with its reference: one set of tests for every op that only needs this.

    class TestBiasAct(OpSuite):
        op = BIAS_ACT
        cases = CASES

`cases` maps a label to a function of (dtype, generator) that returns the arguments of the reference
on the CPU: features in that dtype, everything else as the op takes it. The first case runs in every
dtype and layout, the others in float32. Whatever is a floating-point tensor among the op's `inputs`
gets a gradient, except those named in `without_gradient`. A C++ backend runs the same cases:

    class TestBiasActCpp(TestBiasAct):
        backend_name = "cpp"
        half_layouts = ()

Interpreted kernels are slow: a case should have some dozens of pixels.
"""

from collections.abc import Callable

import pytest
import torch

from lift.kernels import autograd, dispatch
from tests.support.parity import LAYOUTS, assert_close, assert_right_as_a_whole, poison

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pytest_generate_tests(metafunc) -> None:
    """The forms of the classes that derive from `OpSuite`; conftest.py calls it."""
    suite = metafunc.cls
    if "form" in metafunc.fixturenames:
        labels = list(suite.cases)
        dtypes = ("float32", *suite.half_dtypes)
        forms = [(labels[0], dtype, layout) for dtype in dtypes for layout in suite.layouts]
        forms = [form for form in forms if form[1] == "float32" or form[2] in suite.half_layouts]
        forms += [(label, "float32", "contiguous") for label in labels[1:]]
        metafunc.parametrize("form", forms, ids="-".join)


@pytest.mark.native
@pytest.mark.slow
class OpSuite:
    """Tests of a backend of an op, Triton's, against its reference.

    Attributes:
        op: the op.
        backend_name: "triton" or "cpp".
        has_gradient: whether the backend has one; None where the op has one.
        cases: as in the module's description.
        layouts: of the four-dimensional tensors, in float32; names in `parity.LAYOUTS`.
        half_layouts: those that the half dtypes run in too.
        half_dtypes: both; in C++ bfloat16 alone, since it has no float16 features.
        without_gradient: positions of inputs that never get a gradient.
        batched: whether images of a batch are independent.
    """

    op: autograd.Op
    cases: dict[str, Callable[[torch.dtype, torch.Generator], tuple]]
    layouts: tuple[str, ...] = ("contiguous", "channels_last", "sliced")
    half_layouts: tuple[str, ...] = ("channels_last",)
    half_dtypes: tuple[str, ...] = ("float16", "bfloat16")
    without_gradient: tuple[int, ...] = ()
    batched = True
    backend_name = "triton"
    has_gradient: bool | None = None

    def __init_subclass__(cls):
        """Leave out the tests that do not concern the op or its backend."""
        if cls.has_gradient is None:
            cls.has_gradient = cls.op.backward_schema is not None
        if not cls.has_gradient:
            cls.test_gradients = cls.test_two_backward_passes_give_the_same_bits = None
        if cls.op.call is not None:  # the op's own arguments are others
            cls.test_opcheck = None
        if not cls.batched:
            cls.test_images_of_a_batch_do_not_mix = None
        if cls.backend_name != "triton":
            cls.half_dtypes = ("bfloat16",)
            cls.test_64_bit_offsets_equal_32_bit = None

    # -- inputs ------------------------------------------------------------------------------------

    def make(self, label: str, dtype: str, layout: str = "contiguous") -> list:
        """The arguments of a case; skips where the backend does not support them."""
        device = "cuda" if torch.cuda.is_available() and self.backend_name == "triton" else "cpu"
        lay = LAYOUTS[layout]
        arguments = [
            (lay(x) if x.ndim == 4 else x).to(device) if isinstance(x, torch.Tensor) else x
            for x in self.cases[label](DTYPES[dtype], torch.Generator().manual_seed(0))
        ]
        reason = self.backend().unsupported_reason(*arguments)
        if reason:
            pytest.skip(reason)
        return arguments

    def backend(self) -> dispatch.Backend:
        backends = dispatch.operations()[self.op.name]
        return next(b for b in backends if b.name == self.backend_name)

    def differentiable(self, arguments: list) -> list[int]:
        if not self.has_gradient:
            return []
        return [
            i
            for i, x in enumerate(arguments[: self.op.inputs])
            if i not in self.without_gradient and isinstance(x, torch.Tensor)
        ]

    # -- the matrix --------------------------------------------------------------------------------

    def test_values(self, form, monkeypatch):
        """No output is left unwritten, and none is further off than the reference is."""
        arguments = self.make(*form)
        poison(monkeypatch)
        found = _tuple(self.backend().call(*arguments))
        monkeypatch.undo()
        low = _tuple(self.op.reference(*arguments))
        exact = _tuple(self.op.reference(*_exact(arguments)))
        for i, (one, other, true) in enumerate(zip(found, low, exact, strict=True)):
            assert_close(f"output {i}", one, other, true, torch.float32)

    def test_gradients(self, form, monkeypatch):
        arguments = self.make(*form)
        wanted = self.differentiable(arguments)

        def gradients(function, arguments, poisoned=False):
            leaves = {i: arguments[i].detach().requires_grad_() for i in wanted}
            inputs = [leaves.get(i, x) for i, x in enumerate(arguments)]
            out = _tuple(function(*inputs))[0]
            generator = torch.Generator().manual_seed(1)
            weights = torch.randn(out.shape, generator=generator).to(out.device, form_dtype)
            if poisoned:
                poison(monkeypatch)
            grads = torch.autograd.grad(out, list(leaves.values()), weights.to(out.dtype))
            monkeypatch.undo()
            return grads

        form_dtype = DTYPES[form[1]]
        found = gradients(self.backend().call, arguments, poisoned=True)
        low = gradients(self.op.reference, arguments)
        exact = gradients(self.op.reference, _exact(arguments))
        for i, one, other, true in zip(wanted, found, low, exact, strict=True):
            name, arithmetic = f"gradient of argument {i}", torch.float32
            assert_close(name, one, other, true, arithmetic)
            assert_right_as_a_whole(name, one, other, true, arithmetic)

    # -- as an op of PyTorch -----------------------------------------------------------------------

    def test_opcheck(self):
        arguments = self.make(next(iter(self.cases)), "float32")
        operation = getattr(getattr(torch.ops, f"lift_{self.backend_name}"), self.op.name).default
        wanted = self.differentiable(arguments)
        torch.library.opcheck(operation, tuple(arguments))
        if wanted:
            torch.library.opcheck(
                operation,
                tuple(
                    x.detach().requires_grad_() if i in wanted else x
                    for i, x in enumerate(arguments)
                ),
            )

    def test_images_of_a_batch_do_not_mix(self):
        arguments = self.make(next(iter(self.cases)), "float32")
        n = len(arguments[0])
        assert n > 1, "the first case must have a batch"
        together = _tuple(self.backend().call(*arguments))
        for b in range(n):
            one = [
                x[b : b + 1]
                if isinstance(x, torch.Tensor) and x.ndim > 1 and len(x) == n or _is_times(x, n)
                else x
                for x in arguments
            ]
            for whole, alone in zip(together, _tuple(self.backend().call(*one)), strict=True):
                torch.testing.assert_close(whole[b : b + 1], alone, atol=1e-6, rtol=1e-5)

    def test_64_bit_offsets_equal_32_bit(self):
        from lift.kernels.launch import force_int64_offsets  # needs Triton

        arguments, found = self.make(next(iter(self.cases)), "float32"), []
        for forced in (False, True):
            with force_int64_offsets(forced):
                found.append(_tuple(self.backend().call(*arguments)))
        assert all(map(torch.equal, *found))

    def test_two_backward_passes_give_the_same_bits(self, deterministic):
        arguments = self.make(next(iter(self.cases)), "float32")
        wanted = self.differentiable(arguments)
        found = []
        for _ in range(2):
            leaves = {i: arguments[i].detach().requires_grad_() for i in wanted}
            out = self.backend().call(*[leaves.get(i, x) for i, x in enumerate(arguments)])
            loss = _tuple(out)[0].square().sum()
            found.append(torch.autograd.grad(loss, list(leaves.values())))
        assert all(map(torch.equal, *found))

    def test_tensors_without_data_have_the_shapes(self):
        arguments = self.make(next(iter(self.cases)), "float32")
        found = _tuple(self.backend().call(*arguments))
        meta = [x.to("meta") if isinstance(x, torch.Tensor) else x for x in arguments]
        for real, fake in zip(found, _tuple(self.backend().call(*meta)), strict=True):
            assert (real.shape, real.dtype, real.stride()) == (
                fake.shape,
                fake.dtype,
                fake.stride(),
            )


def _tuple(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _exact(arguments: list) -> list:
    """The arguments in float64, where they are floating-point tensors or a half dtype."""
    halves = (torch.float32, torch.float16, torch.bfloat16)
    return [
        x.double()
        if isinstance(x, torch.Tensor) and x.is_floating_point()
        else torch.float64
        if x in halves
        else x
        for x in arguments
    ]


def _is_times(x, n: int) -> bool:
    """Whether x is one value for each image, such as the targets' times."""
    return isinstance(x, torch.Tensor) and x.shape == (n,) and n != 1
