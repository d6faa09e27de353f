"""Several targets from one window of frames, so that frames are encoded once for all of them.

The clips are those of `sampling`, one per target, with reference intervals that follow one another.
Context is dropped from the frames that the clips share, and each clip keeps what is left of its
own; no target is an input of its own clip.
"""

from collections.abc import Container
from dataclasses import replace

import numpy as np

from lift.data.sampling import Window


def reference_intervals(
    left: int, targets: int, step: int, allowed: Container[int], rng: np.random.Generator
) -> list[int]:
    """Left references of `targets` clips, `left` among them, `step` frames from one to the next.

    Of the runs that contain `left`, any that has the most allowed intervals; where some are not
    allowed (a cut, a short sequence), others repeat.
    """
    runs = [
        [interval for interval in range(first, first + step * targets, step) if interval in allowed]
        for first in (left - step * int(before) for before in rng.permutation(targets))
    ]
    best = max(runs, key=len)
    return [best[k % len(best)] for k in range(targets)]


def share_frames(
    windows: list[Window], frames: int, nearest: bool, rng: np.random.Generator
) -> tuple[list[int], list[Window]]:
    """Choose the frames that windows share, and restrict the windows to them.

    Args:
        windows: of neighbouring targets.
        frames: the largest number of shared frames, at least the number of references.
        nearest: keep the frames nearest to the references; else any.

    Returns:
        Numbers of the shared frames, sorted, and the windows.
    """
    references = {window.indices[window.left + side] for window in windows for side in (0, 1)}
    others = sorted({i for window in windows for i in window.indices} - references)
    if nearest:
        middle = sum(references) / len(references)
        kept = sorted(others, key=lambda i: (abs(i - middle), i))[: frames - len(references)]
    else:
        kept = rng.permutation(others)[: frames - len(references)].tolist()
    shared = references | set(kept)
    return sorted(shared), [_restrict(window, shared) for window in windows]


def _restrict(window: Window, frames: set[int]) -> Window:
    """The window with only those of its inputs that are among `frames`."""
    kept = [position for position, i in enumerate(window.indices) if i in frames]
    return replace(
        window,
        indices=tuple(window.indices[position] for position in kept),
        times=tuple(window.times[position] for position in kept),
        left=kept.index(window.left),
    )
