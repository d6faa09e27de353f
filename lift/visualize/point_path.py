"""The path of one point of the target: where it is in each context frame, straight and curved.

The formula is that of `lift.model.adjacent`, at any time instead of the target's alone. Both paths
run through the point at the target's time.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lift.kernels.ops.path_inputs.reference import differences_valid
from lift.visualize.recorder import CurveRecord


@dataclass(frozen=True)
class PointPath:
    """Paths of a point, in pixels of the frames.

    Attributes:
        point: (x, y), where it is in the target.
        t: the target's time.
        first, last: times of the outermost frames that the curved path runs through.
        velocity: (2,), of the straight path, pixels per interval between the references.
        start: (2,), position of the straight path at time 0.
        terms: of the curved path: times (l, r) of a pair of frames beside the references, and the
            divided differences (2, 2) of the left and the right side, multiplied by their
            confidence; None where not known.
        residual: (2,), predicted acceleration.
        confidence: (G,), weight of each divided difference, 0 where not known; of order 2 on the
            left and on the right, then 4, then 6.
    """

    point: tuple[float, float]
    t: float
    first: float
    last: float
    velocity: np.ndarray
    start: np.ndarray
    terms: tuple[tuple[float, float, np.ndarray | None, np.ndarray | None], ...]
    residual: np.ndarray
    confidence: tuple[float, ...]

    def straight(self, s: np.ndarray) -> np.ndarray:
        """Positions (n, 2), x then y, at times s (n,) on the straight path."""
        return self.start + np.asarray(s, float)[:, None] * self.velocity

    def curved(self, s: np.ndarray) -> np.ndarray:
        """Positions (n, 2), x then y, at times s (n,) on the curved path."""
        s = np.asarray(s, float)
        return self.straight(s) + self._deviation(s) - self._deviation(np.array([self.t]))

    def _deviation(self, s: np.ndarray) -> np.ndarray:
        """Distance (n, 2) from the straight path through the references' positions."""
        factor = (s * (s - 1))[:, None]
        total = factor * self.residual
        for before, after, left, right in self.terms:
            share = ((after - s) / (after - before))[:, None]
            if left is None or right is None:
                share = np.full_like(share, 1.0 if right is None else 0.0)
            for difference, weight in ((left, share), (right, 1 - share)):
                if difference is not None:
                    total = total + factor * weight * difference
            factor = factor * ((s - before) * (s - after))[:, None]
        return total


def point_path(curve: CurveRecord, x: float, y: float, t: float = 0.5) -> PointPath:
    """The paths of the point (x, y) of the target.

    Args:
        curve: recorded of one target (B = 1).
        x, y: pixels of the frames.
        t: the target's time.
    """
    scale = curve.straight.scale
    h, w = curve.straight.state.shape[-2:]
    row, column = min(int(y) // scale, h - 1), min(int(x) // scale, w - 1)

    def at(maps: torch.Tensor) -> np.ndarray:
        return maps[0, ..., row, column].double().cpu().numpy()

    point = np.array([x, y], float)
    flow_t0, flow_t1 = (
        scale * at(flow) for flow in (curve.straight.flow_t0, curve.straight.flow_t1)
    )
    velocity = flow_t1 - flow_t0
    # A straight path need not run through the point where the two flows disagree: the model bends
    # the line between their ends, and so is it drawn.
    start = point + flow_t0
    differences, confidence = scale * at(curve.differences), at(curve.confidence)
    known = differences_valid(curve.adjacent.valid)[0].tolist()
    times = curve.adjacent.times[0].tolist()
    terms, reached = [], [0.0, 1.0]
    for k in range(0, len(known), 2):
        sides = [differences[i] * confidence[i] if known[i] else None for i in (k, k + 1)]
        if all(side is None for side in sides):
            break
        terms.append((times[k], times[k + 1], *sides))
        reached += [times[i] for i in (k, k + 1) if known[i]]
    return PointPath(
        point=(float(x), float(y)),
        t=t,
        first=min(reached),
        last=max(reached),
        velocity=velocity,
        start=start,
        terms=tuple(terms),
        residual=scale * at(curve.residual) if any(known[:2]) else np.zeros(2),
        confidence=tuple(float(c) if ok else 0.0 for c, ok in zip(confidence, known, strict=True)),
    )
