"""Exponential moving average of the weights: what is validated and shipped."""

import copy

import torch
from torch import nn


class WeightAverage:
    """A copy of a model whose weights follow those of the original slowly.

    Args:
        model: the original; the copy starts equal to it.
        decay: share of the old average that each step keeps, once the run is long enough: the decay
            grows with the step, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after `step` optimiser steps, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.model.parameters()), [p.detach() for p in model.parameters()], 1 - decay
        )
        for own, new in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(new)
