"""Several targets out of one window of frames: neighbouring clips whose inputs are mostly the same,
so each frame is encoded once.

The clips are those of `sampling`, one a target, with gaps that follow one another. Context is
dropped from the frames that they share, and each clip keeps what is left of its own; no target is
an input of its own clip.
"""

from collections.abc import Container
from dataclasses import dataclass, replace

import numpy as np
import torch

from lift.data.clip import SharedClips
from lift.data.sampling import Window


@dataclass(frozen=True)
class SharedSample:
    """K clips on the CPU, without a batch axis; the references are places 0 and 1.

    Attributes:
        frames: (N, 3, H, W); frames that the window does not fill are zero.
        at: (K, T), int64, times, mask: (K, T), as in `SharedClips`.
        t: (K,), target: (K, 3, H, W), flow: (K, 4, H, W), visible: (K, 2, H, W), as in `Batch`.
        flow_known: whether `flow` and `visible` are the truth.
    """

    frames: torch.Tensor
    at: torch.Tensor
    times: torch.Tensor
    mask: torch.Tensor
    t: torch.Tensor
    target: torch.Tensor
    flow: torch.Tensor
    visible: torch.Tensor
    flow_known: bool

    @staticmethod
    def clips(samples: "list[SharedSample]") -> SharedClips:
        """The clips of a batch."""
        count = len(samples[0].frames)
        at, times, mask = (
            torch.cat([getattr(s, name) for s in samples]) for name in ("at", "times", "mask")
        )
        first = torch.arange(len(samples)).repeat_interleave(len(samples[0].at)) * count
        return SharedClips(
            torch.stack([s.frames for s in samples]), at + first[:, None], times, mask
        )


def gaps(
    left: int, targets: int, apart: int, allowed: Container[int], rng: np.random.Generator
) -> list[int]:
    """Left references of `targets` clips, `left` among them: a run of gaps `apart` frames from one
    to the next.

    Of the runs that hold `left` any that has the most allowed gaps; where some are not (a cut, a
    short sequence), others serve twice.
    """
    runs = [
        [gap for gap in range(first, first + apart * targets, apart) if gap in allowed]
        for first in (left - apart * int(before) for before in rng.permutation(targets))
    ]
    best = max(runs, key=len)
    return [best[k % len(best)] for k in range(targets)]


def share(
    windows: list[Window], frames: int, nearest: bool, rng: np.random.Generator
) -> tuple[list[int], list[Window]]:
    """The frames that windows share, at most so many of them, and the windows with what is left of
    their inputs.

    Args:
        windows: of neighbouring targets.
        frames: at least as many as there are references.
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
    pool = references | set(kept)
    return sorted(pool), [_only(window, pool) for window in windows]


def _only(window: Window, pool: set[int]) -> Window:
    places = [place for place, i in enumerate(window.indices) if i in pool]
    indices, times = (
        tuple(values[place] for place in places) for values in (window.indices, window.times)
    )
    return replace(window, indices=indices, times=times, left=places.index(window.left))


def sample(
    pixels: np.ndarray,
    pool: list[int],
    windows: list[Window],
    frames: int,
    places: int,
    reverse: bool,
    truth: tuple[np.ndarray, np.ndarray] | None = None,
) -> SharedSample:
    """Tensors of a sample.

    Args:
        pixels: (len(pool) + K, H, W, 3) uint8, the shared frames, then the targets.
        pool, windows: what `share` returned.
        frames, places: N and T of the result.
        reverse: play the clips backwards.
        truth: flow (K, 4, H, W) and visibility (K, 2, H, W), where they are known.
    """
    K, n, (H, W) = len(windows), len(pool), pixels.shape[1:3]
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float().div_(255)
    shared = torch.cat((images[:n], images.new_zeros(frames - n, 3, H, W)))
    at, times, mask = (
        torch.zeros(K, places, dtype=torch.long),
        torch.zeros(K, places),
        torch.zeros(K, places, dtype=torch.bool),
    )
    number = {i: place for place, i in enumerate(pool)}
    for k, window in enumerate(windows):
        order = [
            window.left,
            window.left + 1,
            *(p for p in range(len(window.indices)) if p not in (window.left, window.left + 1)),
        ]
        if reverse:
            order[:2] = order[1::-1]
        at[k, : len(order)] = torch.tensor([number[window.indices[p]] for p in order])
        own = np.asarray([window.times[p] for p in order], np.float32)
        times[k, : len(order)] = torch.from_numpy(1 - own if reverse else own)
        mask[k, : len(order)] = True
    t = torch.tensor(
        [1 - window.t if reverse else window.t for window in windows], dtype=torch.float32
    )
    unknown = np.zeros((K, 4, H, W), np.float32), np.zeros((K, 2, H, W), np.float32)
    flow, visible = (torch.from_numpy(np.ascontiguousarray(x)) for x in truth or unknown)
    return SharedSample(shared, at, times, mask, t, images[n:], flow, visible, truth is not None)
