"""Parameters of an untrained model for comparisons in which every stage matters."""

import torch


def fill_zeros(model: torch.nn.Module) -> None:
    """Give parameters that start at zero small values, the same on every device."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(0.01 * torch.randn(parameter.shape, generator=generator))


def nudge(model: torch.nn.Module, seed: int) -> None:
    """Change every parameter by one unit of float32's rounding, up or down as the seed draws."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            signs = 2.0 * torch.randint(2, parameter.shape, generator=generator) - 1
            parameter.mul_(1 + 2.0**-23 * signs)
