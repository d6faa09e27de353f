"""The learning rate as a function of the step alone, so that a resumed run needs no scheduler's
state.
"""

import math


def learning_rate(
    step: int, total_steps: int, warmup_steps: int, lr: float, lr_min: float
) -> float:
    """Linear warm-up to `lr`, then a cosine to `lr_min`.

    Args:
        step: optimiser steps made so far, 0 for the first one.
        total_steps: steps of the whole run, whether or not a time limit ends it earlier.
        warmup_steps: steps of the warm-up; at most half of a run is spent on it.
        lr, lr_min: peak and final rate.

    Returns:
        The rate of the next step: above 0 at step 0, `lr` at the end of the warm-up, `lr_min` from
            the last step on.
    """
    warmup_steps = min(warmup_steps, total_steps // 2)
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    return lr_min + (lr - lr_min) * 0.5 * (1 + math.cos(math.pi * progress))
