"""Backward warps of other models as data.

Every one of them builds a grid in [-1, 1] and samples it: `grid = base + unit * flow`. They differ
in the base, in the unit of the flow, in the arguments of `grid_sample` and in whether pixels that
read outside the image become zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch

from lift.kernels.ops.grid_sample.op import grid_sample
from lift.kernels.ops.warp_blend.op import warp

THRESHOLDS = (0.9999, 0.999, 0.99, 0.9, 0.5)  # of visible parts of a pixel, in the order of use
OUTSIDE = 4.0  # a normalized coordinate whose four neighbours are all padding, at any size


@dataclass(frozen=True)
class Convention:
    """A backward warp.

    Attributes:
        origin: base grid: "corners" from -1 to 1, "centers" from -1 + 1/n to 1 - 1/n, or
            "absolute" where the flow is a position and the base is -1.
        unit: what a flow of 1 adds to the grid: 2 / (n - 1) for "size - 1", 2 / n for "size",
            1 for "normalized".
        padding_mode, align_corners, mode: as in `grid_sample`.
        flow_last: flow is (B, H, W, 2) and not (B, 2, H, W).
        flow_first: flow is the first argument and the image the second.
        threshold: pixels with a visible part of at most this are zero; None for no mask.
        by_position: the grid is computed as 2 (x + dx) / (n - 1) - 1 and not as a sum of two grids.
            In float32 the two differ by up to 1e-4 pixels at a side of 1000.
    """

    origin: str = "corners"
    unit: str = "size - 1"
    padding_mode: str = "border"
    align_corners: bool = True
    mode: str = "bilinear"
    flow_last: bool = False
    flow_first: bool = False
    threshold: float | None = None
    by_position: bool = False

    @property
    def in_pixels(self) -> bool:
        """Whether pixel x reads the image at exactly x + dx."""
        grids = ("corners", "size - 1", True), ("centers", "size", False)
        return (self.origin, self.unit, self.align_corners) in grids

    @property
    def op(self) -> str:
        """The op that computes it: "warp" or "grid_sample"."""
        clamped = self.padding_mode == "border" and self.mode == "bilinear"
        return "warp" if clamped and self.in_pixels and self.threshold is None else "grid_sample"

    def __str__(self) -> str:
        parts = [
            f"flow {'(B, H, W, 2)' if self.flow_last else '(B, 2, H, W)'}",
            "in pixels" if self.in_pixels else f"from {self.origin} in units of {self.unit}",
            self.mode,
            self.padding_mode,
            f"align_corners={self.align_corners}",
        ]
        if self.threshold is not None:
            parts.append(f"zero where at most {self.threshold:g} is visible")
        return ", ".join(parts)

    def __call__(self, image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        """Warp an image (B, C, H, W) by a flow of this convention; float32 or float64."""
        if self.op == "warp":
            return warp(image, flow.permute(0, 3, 1, 2) if self.flow_last else flow)
        dx, dy = flow.unbind(3 if self.flow_last else 1)
        H, W = image.shape[2:]
        x, y = self._axis(W, dx), self._axis(H, dy.mT).mT
        if self.threshold is not None:
            # A hidden pixel reads padding: zero, and no gradient, without a product to save.
            with torch.no_grad():
                visible = self._visible(x, W) * self._visible(y, H) > self.threshold
            x = torch.where(visible, x, OUTSIDE)
        grid = torch.stack((x, y), -1)
        return grid_sample(image, grid, self.mode, self.padding_mode, self.align_corners)

    def _visible(self, coordinate: torch.Tensor, size: int) -> torch.Tensor:
        """The part of a pixel's bilinear weights along one axis that falls inside the image."""
        half = (size - 1 if self.align_corners else size) / 2
        return (-half * coordinate.abs() + (size + 1) / 2).clamp(0, 1)

    def _axis(self, size: int, flow: torch.Tensor) -> torch.Tensor:
        """Normalized coordinates along the last axis, of one component of a flow."""
        like = {"dtype": flow.dtype, "device": flow.device}
        if self.by_position:
            position = flow if self.origin == "absolute" else torch.arange(size, **like) + flow
            return 2.0 * position / (size - 1) - 1.0
        first, last = {
            "corners": (-1.0, 1.0),
            "centers": (1 / size - 1, 1 - 1 / size),
            "absolute": (-1.0, -1.0),
        }[self.origin]
        half = {"size - 1": (size - 1) / 2, "size": size / 2, "normalized": 1.0}[self.unit]
        return torch.linspace(first, last, size, **like) + flow / half


def known(flow_last: bool, flow_first: bool) -> Iterator[Convention]:
    """Every convention of a layout and an order of arguments, the usual ones first."""
    for mode, unit, origin, align_corners, padding_mode in product(
        ("bilinear", "nearest"),
        ("size - 1", "size", "normalized"),
        ("corners", "centers", "absolute"),
        (True, False),
        ("border", "zeros", "reflection"),
    ):
        if unit == "normalized" and origin == "absolute":
            continue  # a grid, which is no flow
        masks = (None, *THRESHOLDS) if padding_mode == "zeros" and mode == "bilinear" else (None,)
        for threshold in masks:
            yield Convention(
                origin, unit, padding_mode, align_corners, mode, flow_last, flow_first, threshold
            )
