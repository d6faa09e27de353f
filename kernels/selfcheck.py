"""Does an implementation compute what the definition says, on this machine? Small data, against the
float64 reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lift.kernels import dispatch as backends

# Largest error allowed, relative to the largest value (1 at least): what rounding costs in that
# dtype, with room for another order of sums.
TOLERANCES = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Check:
    """How far an implementation is from the definition.

    Attributes:
        error: largest difference in the results and the gradients, each relative to its largest
            value (1 at least); NaN where one is.
        tolerance: what is allowed.
    """

    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # false for NaN


def samples(
    operation: str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple:
    """Arguments to try an operation with, in its order; the same values on every device.

    Coordinates stay a quarter pixel clear of whole numbers, where a gradient jumps and rounding
    would decide.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(shape, generator=generator)

    def flow(B, H, W):  # whole pixels plus 0.25 to 0.75, some far outside
        return (
            (noise(B, 2, H, W) * 6).round()
            + 0.25
            + 0.5 * torch.rand(B, 2, H, W, generator=generator)
        )

    B, C, H, W = 2, 5, 13, 18
    if operation == "warp":
        values = (noise(B, C, H, W).to(dtype), flow(B, H, W))
    elif operation == "warp_blend":
        values = (
            noise(B, C, H, W).to(dtype),
            noise(B, C, H, W).to(dtype),
            flow(B, H, W),
            flow(B, H, W),
            4 * noise(B, 1, H, W),
            4 * noise(B, 1, H, W),
        )
    elif operation == "correlation":
        values = (noise(B, C, H // 2, W).to(dtype), noise(B, C, H // 2, W).to(dtype), 1, True)
    elif operation == "grid_sample":
        size = torch.tensor([W - 1, H - 1])
        place = flow(B, H, W).permute(0, 2, 3, 1) + size // 2
        values = (noise(B, C, H, W).to(dtype), 2 * place / size - 1, "bilinear", "border", True)
    elif operation == "temporal_attention":
        heads, d, T, window, shift = 2, 16, 5, 4, 1
        mask = torch.ones(B, T, dtype=torch.bool)
        mask[0, 3:] = False
        values = (
            noise(B, 1, H, W, heads, d).to(dtype),
            noise(B, T, H, W, heads, d).to(dtype),
            noise(B, T, H, W, heads, d).to(dtype),
            window,
            shift,
            noise(B, heads, 1, T),
            noise(heads, 2 * window - 1, 2 * window - 1),
            mask,
            None,
        )
    else:
        raise ValueError(
            f"samples: no operation {operation!r}; there are {', '.join(sorted(backends.operations()))}"
        )
    return tuple(value.to(device) if isinstance(value, torch.Tensor) else value for value in values)


def check(
    operation: str,
    implementation: backends.Implementation,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Check:
    """Compare an implementation's results and first gradients with those of the reference in
    float64 on the CPU.
    """
    arguments = samples(operation, dtype, device)
    exact = tuple(
        a.cpu().double()
        if isinstance(a, torch.Tensor) and a.is_floating_point()
        else a.cpu()
        if isinstance(a, torch.Tensor)
        else a
        for a in arguments
    )
    reference = backends.operations()[operation][-1]
    found, expected = _results(implementation, arguments), _results(reference, exact)
    error = torch.stack(
        [
            ((f.cpu().double() - e).abs().max() / e.abs().max().clamp(min=1))
            for f, e in zip(found, expected, strict=True)
        ]
    )
    return Check(error.max().item(), TOLERANCES[dtype])


def _results(implementation: backends.Implementation, arguments: Sequence) -> list[torch.Tensor]:
    """Outputs, then the gradients of every floating argument."""
    arguments = [
        a.detach().requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a
        for a in arguments
    ]
    outputs = implementation.call(*arguments)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    first = outputs[0]
    towards = (
        torch.linspace(-1, 1, first.numel(), dtype=torch.float64)
        .view(first.shape)
        .to(first.device, first.dtype)
    )
    inputs = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    return [o.detach() for o in outputs] + list(torch.autograd.grad(first, inputs, towards))
