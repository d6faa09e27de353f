"""One random call: every backend that supports it against the reference in float64.

The rule is that of `benchmarks.harness.tolerance`: twice the reference's own error. Four things
need care, so that a luck or a definition is not taken for an error of a backend:

- The reference in float64 cannot be measured against itself. Its own error is taken as that of
  float32 on the same values, scaled by the ratio of the precisions, or as what inputs changed in
  their last digit make of the result.
- Of few elements, or where the terms of a sum cancel, the own error may be small by chance. Then
  it is measured again on neighbours, inputs changed in their last digit, and the largest counts,
  four times. Results that need this are counted, as "by neighbours".
- A backend that normalizes coordinates rounds them: its own error is also that of coordinates
  changed in the last digits. Where a flow or a grid reads whole pixels its gradient jumps, and such
  a backend may take the slope of either side, so its gradient must lie between the two.
- Errors below `FLOOR` are what is left of terms of about one that cancel, such as the gradient of
  a saturated visibility: in float64 some roundings of one, in float32 far less.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from benchmarks.harness.layouts import LAYOUTS
from benchmarks.harness.tolerance import ROUNDINGS, gradient_fault, largest_error
from benchmarks.sweep import model_ops, sampling_ops
from benchmarks.sweep.draw import Draw, Drawn
from lift.kernels import dispatch

EMPHASIS = {
    "warp": 12,
    "warp_blend": 12,
    "correlation": 12,
    "grid_sample": 16,
    "temporal_attention": 14,
}
NORMALIZES = {"warp": ("eager",), "warp_blend": ("eager",), "grid_sample": ("cuda", "cpp")}
# What multiplies in the dtype of its queries, as every flash attention; not its frame weights.
PRODUCTS_IN_HALF = {("temporal_attention", "triton")}
NEIGHBOURS = 8
MULTIPLE = 4  # of the own error on neighbours, allowed
FLOOR = {
    torch.float32: torch.finfo(torch.float32).eps ** 2,
    torch.float64: ROUNDINGS * torch.finfo(torch.float64).eps,
}
DOUBLE_OVER_SINGLE = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Result:
    """What one backend made of one case.

    Attributes:
        op, backend, dtype: which.
        reason: why the backend did not support the call, or None.
        ratio: the largest error as a multiple of what is allowed; at most 1 if it is right.
        by_neighbours: whether it is right by the own error on neighbours alone.
        gradient: whether gradients were compared.
        fault: what is wrong, or None.
    """

    op: str
    backend: str
    dtype: str
    reason: str | None = None
    ratio: float = 0.0
    by_neighbours: bool = False
    gradient: bool = False
    fault: str | None = None


# -- the case --------------------------------------------------------------------------------------


def operations() -> dict[str, Callable[[Draw], Drawn]]:
    """The function that draws a call, for each op."""
    rooms = {name: getattr(sampling_ops, name, None) for name in dispatch.operations()}
    return {name: draw or getattr(model_ops, name) for name, draw in rooms.items()}


def draw_case(seed: int, number: int, tiny: bool = False, op: str | None = None) -> Drawn:
    """The case of a seed and a number; of one op if it is given, which changes the case."""
    draw = Draw(seed, number, tiny)
    drawers = operations()
    name = draw.weighted({name: EMPHASIS.get(name, 2) for name in drawers}) if op is None else op
    drawn = drawers[name](draw)
    wanted = [i for i in drawn.differentiable if draw.chance(0.7)] if draw.chance(0.75) else []
    drawn.differentiable = tuple(wanted)
    drawn.notes = draw.notes | {"gradients": " ".join(map(str, wanted)) or "none"}
    drawn.notes["grad layout"] = draw.one(list(LAYOUTS))
    drawn.notes["shapes"] = " ".join(
        "x".join(map(str, x.shape)) for x in drawn.arguments if isinstance(x, torch.Tensor)
    )
    return drawn


# -- values and gradients --------------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """Outputs, and gradients by the position of their argument."""

    outputs: tuple[torch.Tensor, ...]
    grads: dict[int, torch.Tensor]


def _evaluate(call: Callable, arguments: list, drawn: Drawn, seed: int) -> Values:
    leaves = {i: arguments[i].detach().requires_grad_() for i in drawn.differentiable}
    found = call(*[leaves.get(i, x) for i, x in enumerate(arguments)])
    found = found if isinstance(found, tuple) else (found,)
    found = tuple(x for x in found if x is not None)
    outputs = [x for x in found if x.requires_grad]
    if not leaves or not outputs:
        return Values(found, {})
    generator = torch.Generator().manual_seed(seed)
    grads = [_grad(x, drawn.notes["grad layout"], generator) for x in outputs]
    grads = torch.autograd.grad(outputs, list(leaves.values()), grads, materialize_grads=True)
    return Values(tuple(x.detach() for x in found), dict(zip(leaves, grads, strict=True)))


def _grad(out: torch.Tensor, layout: str, generator: torch.Generator) -> torch.Tensor:
    """A gradient of an output, the same values in any precision."""
    # Halves, so that each precision has the same values.
    grad = torch.randn(out.shape, generator=generator).to(torch.bfloat16).to(out.dtype)
    return LAYOUTS[layout](grad) if out.ndim == 4 else grad


def _cast(arguments: list, dtype: torch.dtype) -> list:
    """The arguments with every floating-point tensor and dtype as `dtype`."""

    def cast(x):
        if isinstance(x, torch.dtype):
            return dtype
        floating = isinstance(x, torch.Tensor) and x.is_floating_point()
        return x.to(dtype) if floating else x

    return [cast(x) for x in arguments]


def _moved(drawn: Drawn) -> Iterator[list]:
    """The arguments in float64, with flows and grids on each side of the jumps in x and y."""
    for pair in itertools.product((-1, 0, 1), repeat=2):
        signs = torch.tensor(pair, dtype=torch.float64)
        arguments = _cast(drawn.arguments, torch.float64)
        for i, step in drawn.kinks.items():
            arguments[i] = arguments[i] + step * signs.view(step.shape)
        yield arguments


def _neighbours(drawn: Drawn) -> Iterator[list]:
    """The arguments with each value changed in its last digit; not what lies on a jump."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(NEIGHBOURS):
        arguments = list(drawn.arguments)
        for i, x in enumerate(arguments):
            if isinstance(x, torch.Tensor) and x.is_floating_point() and i not in drawn.kinks:
                signs = torch.randint(2, x.shape, generator=generator).to(x.dtype) * 2 - 1
                arguments[i] = x * (1 + torch.finfo(x.dtype).eps * signs)
        yield arguments


def _rounded(drawn: Drawn, arithmetic: torch.dtype) -> Iterator[list]:
    """The arguments in float64, with every coordinate off by a last digit of the largest."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(NEIGHBOURS):
        arguments = _cast(drawn.arguments, torch.float64)
        for i, largest in drawn.coordinates.items():
            x = arguments[i]
            signs = torch.randint(2, x.shape, generator=generator) * 2 - 1
            arguments[i] = x + torch.finfo(arithmetic).eps * largest * signs
        yield arguments


# -- comparison ------------------------------------------------------------------------------------


class Case:
    """A drawn call with what its reference makes of it, in its own precision and in float64."""

    def __init__(self, drawn: Drawn, seed: int) -> None:
        self.drawn, self.seed = drawn, seed
        self.backends = dispatch.operations()[drawn.op]
        self.reference = self.backends[-1].call
        floats = [x for x in drawn.arguments if isinstance(x, torch.Tensor)]
        double = any(x.dtype == torch.float64 for x in floats)
        self.arithmetic = torch.float64 if double else torch.float32
        self.low, self.exact = self._pair(drawn.arguments)
        self.sides = [self._values(self.reference, x) for x in _moved(drawn)] if drawn.kinks else []

    def _values(self, call: Callable, arguments: list) -> Values:
        return _evaluate(call, arguments, self.drawn, self.seed)

    def _pair(self, arguments: list) -> tuple[Values, Values]:
        """What the reference makes of arguments: with its rounding errors, and in float64."""
        exact = self._values(self.reference, _cast(arguments, torch.float64))
        if self.arithmetic == torch.float32:
            return self._values(self.reference, arguments), exact
        single = _cast(arguments, torch.float32)
        rounded = self._values(self.reference, single)
        right = self._values(self.reference, _cast(single, torch.float64))

        def with_error(exact: torch.Tensor, rounded: torch.Tensor, right: torch.Tensor):
            if not exact.is_floating_point():
                return exact
            error = (rounded.double() - right) * DOUBLE_OVER_SINGLE
            return exact + torch.where(error.isfinite(), error, 0)

        outputs = map(with_error, exact.outputs, rounded.outputs, right.outputs)
        grads = {
            i: with_error(exact.grads[i], rounded.grads[i], right.grads[i]) for i in exact.grads
        }
        return Values(tuple(outputs), grads), exact

    def results(self, names: tuple[str, ...] | None = None) -> list[Result]:
        """A result for each backend but the reference, or for those named."""
        return [
            self._result(backend)
            for backend in self.backends[:-1]
            if names is None or backend.name in names
        ]

    def _result(self, backend: dispatch.Backend) -> Result:
        drawn = self.drawn
        identity = drawn.op, backend.name, drawn.notes["dtype"]
        asked = list(drawn.arguments)
        for i in drawn.differentiable:
            asked[i] = asked[i].detach().requires_grad_()
        reason = backend.unsupported_reason(*asked)
        if reason is not None:
            return Result(*identity, reason=reason)
        try:
            found = self._values(backend.call, drawn.arguments)
        except Exception as error:  # a supported call must not raise
            return Result(*identity, fault=_one_line(error))
        if set(found.grads) != set(self.low.grads):
            return Result(*identity, fault="outputs that require no gradient")
        ratio, by_neighbours, faults = 0.0, False, []
        for name, place in self._places():
            one = self._compare(name, backend.name, place(found), place)
            ratio, by_neighbours = max(ratio, one.ratio), by_neighbours or one.by_neighbours
            if one.fault:
                faults.append(f"{name}: {one.fault}")
        fault = "; ".join(faults) or None
        return Result(*identity, None, ratio, by_neighbours, bool(found.grads), fault)

    def _places(self) -> Iterator[tuple[str, Callable[[Values], torch.Tensor]]]:
        for i in range(len(self.low.outputs)):
            yield f"output {i}", lambda values, i=i: values.outputs[i]
        for i in self.low.grads:
            yield f"gradient {i}", lambda values, i=i: values.grads[i]

    def _compare(
        self, name: str, backend: str, found: torch.Tensor, place: Callable[[Values], torch.Tensor]
    ) -> "_Comparison":
        low, exact = place(self.low), place(self.exact)
        if (found.shape, found.dtype) != (low.shape, low.dtype):
            have, want = (f"{tuple(x.shape)} {x.dtype}" for x in (found, low))
            return _Comparison(fault=f"{have}, not {want}")
        if not found.is_floating_point():
            return _Comparison(fault=None if torch.equal(found, low) else "other values")
        if found.numel() == 0:
            return _Comparison()
        finite = exact.to(found.dtype).isfinite()
        if not torch.equal(found.isfinite(), finite):
            return _Comparison(fault="not finite where the definition is, or the reverse")
        found, low, exact = (torch.where(finite, x, 0) for x in (found, low, exact))
        low = torch.where(low.isfinite(), low, exact.to(low.dtype))
        is_grad = name.startswith("gradient")
        if is_grad and int(name.split()[1]) in self.drawn.kinks and self._normalizes(backend):
            sides = torch.stack([place(x) for x in (self.exact, *self.sides)])
            sides = torch.where(finite, sides, 0)
            least, most = sides.amin(0), sides.amax(0)
            low_error = (low.double() - low.double().clamp(least, most)).abs().amax()
            exact = found.double().clamp(least, most)
            low = exact + low_error
        computed_in, floor = self.arithmetic, FLOOR[self.arithmetic]
        if (self.drawn.op, backend) in PRODUCTS_IN_HALF and name != "output 1":
            computed_in = self.drawn.arguments[0].dtype
            if exact.abs().max() < 1e-9:  # all terms cancel
                floor = 64 * torch.finfo(computed_in).eps
        error, allowed = largest_error(found, low, exact, computed_in)
        if error <= floor:
            return _Comparison()
        fault = gradient_fault(found, low, exact, computed_in) if is_grad else None
        if error <= allowed and fault is None:
            return _Comparison(error / allowed)
        allowed = max(allowed, MULTIPLE * self._own_error(place, exact, backend))
        if error <= allowed:
            return _Comparison(error / allowed, by_neighbours=True)
        ratio = error / allowed if allowed else math.inf
        return _Comparison(ratio, fault=f"off by {error:.3g}, allowed {allowed:.3g}")

    def _normalizes(self, backend: str) -> bool:
        return backend in NORMALIZES.get(self.drawn.op, ())

    def _own_error(self, place: Callable, exact: torch.Tensor, backend: str) -> float:
        """The reference's largest own error on neighbours of the case."""
        pairs = [self._pair(arguments) for arguments in _neighbours(self.drawn)]
        found = [(place(low).double(), place(right)) for low, right in pairs]
        if self.arithmetic == torch.float64:  # whose own error is an estimate
            found += [(right, exact) for _, right in found]
        if self._normalizes(backend):
            rounded = _rounded(self.drawn, self.arithmetic)
            found += [(place(self._values(self.reference, x)), exact) for x in rounded]
        errors = [(low - right).abs() for low, right in found]
        return max(torch.where(e.isfinite(), e, 0).max().item() for e in errors)


@dataclass(frozen=True)
class _Comparison:
    ratio: float = 0.0
    by_neighbours: bool = False
    fault: str | None = None


def check_case(
    seed: int, number: int, tiny: bool = False, backends: tuple[str, ...] | None = None
) -> tuple[Drawn, list[Result]]:
    """Draw a case and compare every backend, or those named."""
    drawn = draw_case(seed, number, tiny)
    try:
        case = Case(drawn, number)
    except Exception as error:  # the definition takes every call
        return drawn, [Result(drawn.op, "reference", drawn.notes["dtype"], fault=_one_line(error))]
    return drawn, case.results(backends)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
