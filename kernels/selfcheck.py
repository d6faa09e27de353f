"""Self-check: whether a backend computes the definition on this machine, on small samples.

The expected values are those of the reference in float64 on the CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lift.kernels import dispatch

# Largest error allowed, relative to the largest value (1 at least): the rounding of that dtype,
# with a margin for another order of sums.
TOLERANCES = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Check:
    """How far a backend is from the definition.

    Attributes:
        error: largest difference in the outputs and the gradients, each relative to its largest
            value (1 at least); NaN where one is.
        tolerance: the largest error allowed.
    """

    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # false for NaN


def samples(
    operation: str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple:
    """Arguments for an op, in the order of its reference; the same values on every device.

    Args:
        dtype: of the features; flows, grids, logits and biases stay float32.

    Raises:
        ValueError: no such op.
    """
    samplers = dispatch.samplers()
    if operation not in samplers:
        known = ", ".join(sorted(samplers))
        raise ValueError(f"samples: no operation {operation!r}; there are {known}")
    arguments = samplers[operation](torch.Generator().manual_seed(0), dtype)
    return tuple(a.to(device) if isinstance(a, torch.Tensor) else a for a in arguments)


def check(
    operation: str,
    backend: dispatch.Backend,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Check:
    """Compare a backend's outputs and first gradients with the float64 reference's."""
    arguments = samples(operation, dtype, device)
    places = _differentiable(backend, arguments)
    exact = [a.cpu() if isinstance(a, torch.Tensor) else a for a in arguments]
    exact = [a.double() if _is_floating(a) else a for a in exact]
    reference = dispatch.operations()[operation][-1]
    errors = [
        (found.cpu().double() - expected.double()).abs().max()
        / expected.double().abs().max().clamp(min=1)
        for found, expected in zip(
            _outputs_and_grads(backend, arguments, places),
            _outputs_and_grads(reference, exact, places),
            strict=True,
        )
    ]
    return Check(torch.stack(errors).max().item(), TOLERANCES[dtype])


def _is_floating(value) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _differentiable(backend: dispatch.Backend, arguments: Sequence) -> list[int]:
    """Positions of the arguments whose gradient the backend supports, if the op has gradients."""

    def supported(i: int) -> bool:
        leaf = arguments[i].detach().requires_grad_()
        return backend.unsupported_reason(*arguments[:i], leaf, *arguments[i + 1 :]) is None

    return [i for i, a in enumerate(arguments) if _is_floating(a) and supported(i)]


def _outputs_and_grads(
    backend: dispatch.Backend, arguments: Sequence, places: Sequence[int]
) -> list[torch.Tensor]:
    """Outputs, then the gradients of the arguments at these places if the op has gradients.

    They are zeros for one that never gets any, such as a time.
    """
    leaves = {i: arguments[i].detach().requires_grad_() for i in places}
    arguments = [leaves.get(i, a) for i, a in enumerate(arguments)]
    outputs = backend.call(*arguments)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    outputs = [output for output in outputs if output is not None]
    first = outputs[0]
    if not first.requires_grad:
        return outputs
    grad = torch.linspace(-1, 1, first.numel(), dtype=torch.float64).view(first.shape)
    grad = grad.to(first.device, first.dtype)
    grads = torch.autograd.grad(first, list(leaves.values()), grad, materialize_grads=True)
    return [o.detach() for o in outputs] + list(grads)
