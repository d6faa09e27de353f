"""Random choices of a case: shapes, values, layouts, flows. A seed and a number give one case."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.harness.layouts import LAYOUTS

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LAYOUT_WEIGHTS = {name: 3 if name in ("contiguous", "channels_last") else 1 for name in LAYOUTS}
VALUES = {"normal": 12, "large": 2, "small": 2, "zero": 1}
SCALES = {"normal": 1.0, "large": 300.0, "small": 1e-3, "zero": 0.0}


@dataclass
class Drawn:
    """A call of an op.

    Attributes:
        op: its name.
        arguments: those of its reference.
        differentiable: positions of the arguments that can have a gradient.
        kinks: for the position of a flow or grid that lies where its gradient jumps, the steps in x
            and y that move it to either side, in a shape that broadcasts with it.
        coordinates: for the position of a flow or grid the largest coordinates in x and y, of whose
            last digit a backend that normalizes coordinates may be off.
        notes: what was drawn, for the report.
    """

    op: str
    arguments: list
    differentiable: tuple[int, ...]
    kinks: dict[int, torch.Tensor] = field(default_factory=dict)
    coordinates: dict[int, torch.Tensor] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


class Draw:
    """Random choices, the same for the same seed and number on every machine.

    Attributes:
        tiny: whether maps have some dozens of pixels, for interpreted kernels.
        notes: what was drawn, by name.
    """

    def __init__(self, seed: int, number: int, tiny: bool = False) -> None:
        self._random = random.Random(f"{seed} {number}")
        self.generator = torch.Generator().manual_seed(self._random.getrandbits(62))
        self.tiny = tiny
        self.notes: dict[str, str] = {}

    # -- choices -----------------------------------------------------------------------------------

    def one(self, values: Sequence):
        return self._random.choice(values)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def between(self, first: int, last: int) -> int:
        return self._random.randint(first, last)

    def weighted(self, weights: dict):
        return self._random.choices(list(weights), list(weights.values()))[0]

    def dtype(self, dtypes: Sequence[torch.dtype] = DTYPES) -> torch.dtype:
        """float32 as often as the others together."""
        dtype = torch.float32 if self.chance(0.4) else self.one(dtypes)
        self.notes["dtype"] = str(dtype).removeprefix("torch.")
        return dtype

    def batch(self) -> int:
        return self.one((1, 1, 2, 2, 3) if self.chance(0.97) else (0,))

    def channels(self) -> int:
        if self.tiny:
            return self.between(1, 6)
        return self.between(1, 8) if self.chance(0.7) else self.between(9, 70)

    def size(self, smallest: int = 1, multiple: int = 1) -> tuple[int, int]:
        """Height and width: small, odd, wide, tall, or without pixels where that is allowed."""
        if smallest == 0 and self.chance(0.02):
            return self.one(((0, 5), (4, 0), (0, 0)))
        if self.tiny:
            longest = (7, 7)
        else:
            longest = self.one(((3, 3), (9, 9), (24, 24), (24, 24), (3, 150), (150, 3), (1, 40)))
        low = max(smallest, 1)
        sides = [max(low, self.between(1, n)) for n in longest]
        return tuple(-(-n // multiple) * multiple for n in sides)

    # -- tensors -----------------------------------------------------------------------------------

    def noise(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator)

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator)

    def features(self, dtype: torch.dtype, *shape: int) -> torch.Tensor:
        """Values of one of several magnitudes."""
        kind = self.weighted(VALUES)
        self.notes["values"] = kind
        return (SCALES[kind] * self.noise(*shape)).to(dtype)

    def image(self, dtype: torch.dtype, *shape: int) -> torch.Tensor:
        """Values in [0, 1]."""
        return self.uniform(*shape).to(dtype)

    def lay(self, x: torch.Tensor | None) -> torch.Tensor | None:
        """x in a random layout; one of five or more dimensions in a random order of strides."""
        if x is None or x.ndim < 3:
            return x
        name = self.weighted(LAYOUT_WEIGHTS)
        if x.ndim == 4:
            x = LAYOUTS[name](x)
        elif name == "channels_last":
            name = "permuted"
            order = list(range(x.ndim))
            self._random.shuffle(order)
            x = x.permute(order).contiguous().permute([order.index(i) for i in range(x.ndim)])
        elif name in ("sliced", "misaligned", "expanded"):
            x = LAYOUTS[name](x)
        else:
            x = x.contiguous()
        self.notes["layouts"] = (self.notes.get("layouts", "") + " " + name).strip()
        return x

    # -- flows -------------------------------------------------------------------------------------

    def pixels(self, B: int, H: int, W: int, kind: str) -> torch.Tensor:
        """Displacements (B, 2, H, W) in pixels, dx then dy.

        All but those of `whole` and `special` leave every coordinate a tenth of a pixel or more
        from whole ones, where gradients jump.
        """
        reach = {"near": 3.0, "far": 40.0, "beyond": 3000.0}.get(kind, 3.0)
        whole = (reach * self.noise(B, 2, H, W)).round()
        if kind == "whole":
            return whole
        if kind == "collapse":  # every pixel reads beside one place
            x = torch.arange(W).expand(B, H, W)
            y = torch.arange(H)[:, None].expand(B, H, W)
            whole = torch.stack((W // 2 - x, H // 2 - y), 1).float()
        flow = whole + 0.1 + 0.8 * self.uniform(B, 2, H, W)
        if kind == "special":
            values = torch.tensor([math.nan, math.inf, -math.inf, 1e30, -1e30, 3e38, -3e38])
            drawn = torch.randint(len(values), (B, 2, H, W), generator=self.generator)
            flow = torch.where(self.uniform(B, 2, H, W) < 0.2, values[drawn], flow)
        return flow

    def flow(self, B: int, H: int, W: int, dtype: torch.dtype) -> torch.Tensor:
        """As `pixels`, of a random kind, in the accumulation dtype for images of `dtype`."""
        kind = self.weighted(
            {"near": 6, "far": 3, "beyond": 1, "whole": 2, "collapse": 1, "special": 2}
        )
        self.notes["flow"] = (self.notes.get("flow", "") + " " + kind).strip()
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        return self.pixels(B, H, W, kind).to(exact)
