"""Speed and memory of an op on inputs of one kind: the whole file of most suites.

A suite in `benchmarks/suites` says which shapes and how inputs are made:

    SUITE = OpSuite(frame_suites.BIAS_ACT, BIAS_ACT, make, cpu=(...,), gpu=(...,), toy=(...,))
    pytest_generate_tests = SUITE.generate_tests

    def test_bias_act(case, variant, record, request):
        SUITE.measure(case, variant, record, request)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from benchmarks.harness import backends, measure
from benchmarks.harness.suite import Suite
from lift.kernels import autograd


@dataclass(frozen=True)
class Case:
    """A call that is timed."""

    device: str
    direction: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return "-".join([self.device, self.direction, "x".join(map(str, self.shape)), self.dtype])


@dataclass(frozen=True)
class OpSuite:
    """The cases of an op, and a test that measures one.

    Attributes:
        suite: the entry in the registry.
        op: the op; its reference is what the fused kernels are compared with, eager and compiled.
        make: takes a shape, a dtype and a generator, and returns the op's arguments on the CPU.
        cpu, gpu, toy: shapes, as the registry's `axes` say.
        layout: of the features: "contiguous" or "channels_last".
        fixed: positions of inputs without a gradient.
    """

    suite: Suite
    op: autograd.Op
    make: Callable[[tuple[int, ...], torch.dtype, torch.Generator], tuple]
    cpu: tuple[tuple[int, ...], ...]
    gpu: tuple[tuple[int, ...], ...]
    toy: tuple[tuple[int, ...], ...]
    layout: str = "channels_last"
    fixed: tuple[int, ...] = ()

    def cases(self, device: str, quick: bool, toy: bool) -> list[Case]:
        """The cases of a device, by priority."""
        shapes = self.toy if toy else self.cpu if device == "cpu" else self.gpu
        dtypes = ["float32"] if toy or device == "cpu" else ["bfloat16", "float32"]
        if quick and not toy:
            shapes, dtypes = shapes[:1], dtypes[:1]
        directions = self.suite.directions
        return [Case(device, d, s, dtype) for dtype in dtypes for s in shapes for d in directions]

    def names(self, device: str, direction: str, toy: bool) -> list[str]:
        """The variants of a device: the supported backends, then plain PyTorch."""
        case = Case(device, direction, self.toy[0], "float32")
        arguments = self.arguments(case)
        if direction != "forward":  # some backends have no gradient
            places = self.places(case, arguments)
            arguments = [x.requires_grad_() if i in places else x for i, x in enumerate(arguments)]
        fused = backends.supported(self.op.name, arguments, toy=toy)
        return [*fused, "reference", *([] if toy else ["compiled"])]

    def places(self, case: Case, arguments: tuple) -> list[int]:
        """Positions of the tensors that a case varies: with backward, of those with a gradient."""
        end = len(arguments) if case.direction == "forward" else self.op.inputs
        return [
            i
            for i, x in enumerate(arguments[:end])
            if isinstance(x, torch.Tensor) and x.is_floating_point() and i not in self.fixed
        ]

    def arguments(self, case: Case) -> tuple:
        """The op's arguments, the same values on every device."""
        generator = torch.Generator().manual_seed(0)
        made = self.make(case.shape, getattr(torch, case.dtype), generator)
        return tuple(x.to(case.device) if isinstance(x, torch.Tensor) else x for x in made)

    def generate_tests(self, metafunc) -> None:
        """The `pytest_generate_tests` of the suite's file."""
        quick, toy = (metafunc.config.getoption(name) for name in ("--quick", "--toy"))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        pairs = [
            (case, name)
            for case in self.cases(device, quick, toy)
            for name in self.names(device, case.direction, toy)
        ]
        metafunc.parametrize(("case", "variant"), pairs, ids=lambda value: str(value))

    def measure(self, case: Case, variant: str, record, request) -> None:
        """Measure a variant of a case and write its row."""
        quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
        found = _measured(self, case, toy, 1 if toy else 7 if quick else 25)
        record(
            found[variant],
            operation=self.suite.name,
            variant=variant,
            fused=backends.is_fused(self.op.name, variant),
            device=case.device,
            direction=case.direction,
            dtype=case.dtype,
            layout=self.layout,
            shape=list(case.shape),
            flow="",
            required_bytes=self.suite.bytes(case.shape, case.dtype, case.direction),
        )


@lru_cache(maxsize=1)  # the variants of a case are consecutive and measured together
def _measured(suite: OpSuite, case: Case, toy: bool, rounds: int) -> dict:
    arguments = suite.arguments(case)
    places = suite.places(case, arguments)

    def call(name: str) -> Callable:
        if name == "compiled":
            mode = "max-autotune-no-cudagraphs" if case.device == "cuda" else None
            function = measure.compiled(suite.op.reference, case, mode=mode)
        else:
            function = backends.call_of(suite.op.name, name)
        return lambda *leaves: function(*_filled(arguments, places, leaves))

    out = suite.op.reference(*arguments)
    first = out[0] if isinstance(out, tuple) else out
    towards = torch.randn(first.shape, generator=torch.Generator().manual_seed(1)).to(first)
    return measure.compare(
        [
            measure.Variant(name, call(name))
            for name in suite.names(case.device, case.direction, toy)
        ],
        lambda *leaves: suite.op.reference(*_filled(arguments, places, leaves)),
        tuple(arguments[i] for i in places),
        backward=case.direction != "forward",
        rounds=rounds,
        towards=towards,
    )


def _filled(arguments: tuple, places: list[int], leaves: tuple) -> list:
    """The arguments with the leaves in their places; all in float64 where the leaves are."""
    filled = list(arguments)
    for i, leaf in zip(places, leaves, strict=True):
        filled[i] = leaf
    if leaves[0].dtype != torch.float64:
        return filled
    return [
        x.double()
        if isinstance(x, torch.Tensor) and x.is_floating_point()
        else torch.float64
        if isinstance(x, torch.dtype)
        else x
        for x in filled
    ]
