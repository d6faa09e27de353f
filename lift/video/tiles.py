"""Overlapping tiles of a frame, and the frame that their results add up to.

All tiles have one size, a multiple of what the model pads to, so that compiled code, CUDA graphs
and cuDNN's choices hold for all of them. Two tiles overlap: near its border a tile does not see
where things come from, so the outer quarters of an overlap are given to the tile that does, and in
its middle half the result passes smoothly from one to the other. The weights of a pixel are
multiples of 2^-20 that add up to 1 exactly.
"""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
import torch.nn.functional as F

OVERLAP = 192  # pixels; at a scale below 1 more, for the motion found there is larger
SHORT = 576  # side in pixels below which automatic tiles only go for want of memory
SMALLEST = 256  # side in pixels below which automatic tiles do not go
STEPS = 1024  # weights along one axis are multiples of 1 / STEPS


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of a frame are.

    Attributes:
        height, width: of the frame, pixels.
        tile_height, tile_width: of each tile, multiples of what the model pads to.
        tops, lefts: first rows and columns of the tiles, the product of which are the tiles. The
            last may reach beyond the frame, up to the next multiple.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of a tile, pixels."""
        return self.tile_height, self.tile_width

    def corner(self, index: int) -> tuple[int, int]:
        """First row and column of a tile."""
        row, column = divmod(index, len(self.lefts))
        return self.tops[row], self.lefts[column]

    def crop(self, frame: torch.Tensor | np.ndarray, index: int) -> torch.Tensor | np.ndarray:
        """What a tile has of a frame, as a view: less than a tile at the right and bottom edge.

        Args:
            frame: (3, H, W) tensor, (H, W, 3) or (H, W) array.
        """
        top, left = self.corner(index)
        rows, columns = slice(top, top + self.tile_height), slice(left, left + self.tile_width)
        if isinstance(frame, torch.Tensor):
            return frame[..., rows, columns]
        return frame[rows, columns]

    def complete(self, image: torch.Tensor) -> torch.Tensor:
        """A crop (1, C, h, w), replicated at the right and bottom to the size of a tile."""
        bottom, right = self.tile_height - image.shape[-2], self.tile_width - image.shape[-1]
        if right or bottom:
            return F.pad(image, (0, right, 0, bottom), mode="replicate")
        return image.contiguous()  # one layout for all tiles

    def weights(self, index: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """(h, w) float32, what each pixel of a tile counts in the frame, in [0, 1]."""
        row, column = divmod(index, len(self.lefts))
        vertical = _weights(self.tops, self.tile_height, row, device)
        horizontal = _weights(self.lefts, self.tile_width, column, device)
        return vertical[:, None] * horizontal


class Mosaic:
    """Frames put together from the results of their tiles.

    Args:
        grid: the tiles.
    """

    def __init__(self, grid: TileGrid):
        self._grid = grid
        self._sum: torch.Tensor | None = None

    def add(self, index: int, tile: torch.Tensor) -> None:
        """Add the result of a tile, (B, C, tile_height, tile_width) float32."""
        grid = self._grid
        if len(grid) == 1:
            self._sum = tile[..., : grid.height, : grid.width]
            return
        if self._sum is None:
            self._sum = tile.new_zeros((*tile.shape[:2], grid.height, grid.width))
        place = grid.crop(self._sum, index)
        h, w = place.shape[-2:]
        place.addcmul_(tile[..., :h, :w], grid.weights(index, tile.device)[:h, :w])

    def frames(self) -> torch.Tensor:
        """(B, C, H, W), once all tiles have been added."""
        return self._sum


def _weights(starts: tuple[int, ...], size: int, index: int, device) -> torch.Tensor:
    """Weights (size,) along one axis of one of the tiles that begin at `starts`.

    Each tile takes over from the one before: with r_k the ramp from 0 to 1 within the overlap of
    the tiles k - 1 and k, the weight of tile k is r_k - r_(k+1).
    """
    pixels = torch.arange(starts[index], starts[index] + size, device=device)
    before = _ramp(pixels, starts, size, index) if index else torch.ones(size, device=device)
    after = _ramp(pixels, starts, size, index + 1) if index + 1 < len(starts) else 0.0
    return before - after


def _ramp(pixels: torch.Tensor, starts: tuple[int, ...], size: int, index: int) -> torch.Tensor:
    """A raised cosine from 0 to 1 in the middle of the overlap of tiles index - 1 and index."""
    first, last = starts[index], starts[index - 1] + size  # of the overlap
    length = min((last - first) // 2, starts[index] - starts[index - 1])
    begin = first + (last - first - length) // 2
    x = ((pixels - begin + 0.5) / max(length, 1)).clamp(0, 1)
    return ((0.5 - 0.5 * torch.cos(torch.pi * x)) * STEPS).round() / STEPS


# -- the choice of a grid --------------------------------------------------------------------------


def whole_frame(height: int, width: int, multiple: int) -> TileGrid:
    """One tile, of the frame's size rounded up to a multiple."""
    h, w = _round_up(height, multiple), _round_up(width, multiple)
    return TileGrid(height, width, h, w, (0,), (0,))


def grid_of_side(height: int, width: int, side: int, multiple: int, scale: float) -> TileGrid:
    """The fewest tiles with sides of at most `side` pixels, at least two multiples."""
    side = max(_round_up(side, multiple), 2 * multiple)
    sizes = []
    for length in (height, width):
        count = 1
        while _tile_length(length, count, multiple, scale) > side:
            count += 1
        sizes.append(count)
    return _grid(height, width, *sizes, multiple, scale)


def grid_of_area(height: int, width: int, area: int, multiple: int, scale: float) -> TileGrid:
    """The grid with the least work whose tiles have at most `area` pixels.

    No side is below `SMALLEST`, also where that is more than `area`, nor below `SHORT` where other
    tiles fit: a narrow tile sees little of where things come from.
    """
    options = []
    for length in (height, width):
        lengths = {1: _tile_length(length, 1, multiple, scale)}
        for count in range(2, length // multiple):
            if _tile_length(length, count, multiple, scale) < SMALLEST:
                break
            lengths[count] = _tile_length(length, count, multiple, scale)
        options.append(lengths.items())

    def order(choice):
        (rows, h), (columns, w) = choice
        fits = h * w <= area
        short = (rows > 1 and h < SHORT) + (columns > 1 and w < SHORT)
        if not fits:
            return True, h * w, rows * columns, rows
        return False, short, rows * columns * h * w, rows * columns, rows

    (rows, _), (columns, _) = min(product(*options), key=order)
    return _grid(height, width, rows, columns, multiple, scale)


def _grid(height, width, rows, columns, multiple, scale) -> TileGrid:
    h = _tile_length(height, rows, multiple, scale)
    w = _tile_length(width, columns, multiple, scale)
    tops, lefts = _starts(height, h, rows, multiple), _starts(width, w, columns, multiple)
    return TileGrid(height, width, h, w, tops, lefts)


def _tile_length(length: int, count: int, multiple: int, scale: float) -> int:
    """Side of each of `count` tiles along a side of a frame."""
    length = _round_up(length, multiple)
    if count == 1:
        return length
    overlap = min(OVERLAP / scale, length / count)  # at most the distance between tiles
    overlap = max(int(overlap) // multiple, 1) * multiple
    return _round_up(-(-(length + (count - 1) * overlap) // count), multiple)


def _starts(length: int, tile: int, count: int, multiple: int) -> tuple[int, ...]:
    """First pixels of the tiles, evenly spaced multiples."""
    free = (_round_up(length, multiple) - tile) // multiple
    starts = tuple([free * k // max(count - 1, 1) * multiple for k in range(count)])
    assert all(a < b <= a + tile for a, b in pairwise(starts))
    return starts


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
