"""Bytes and arithmetic that an operation cannot do without: the numerator of its roofline.

An operation must read its inputs and write its results once, and compute what its definition says.
"""

from dataclasses import dataclass

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOAT = 4  # bytes of what is float32 whatever the dtype of the images


@dataclass(frozen=True)
class Work:
    """The least work of one pass.

    Attributes:
        read, written: bytes.
        operations: additions and multiplications of float32 numbers.
        specials: exponentials, logarithms and divisions.
        products: additions and multiplications in matrix products.
    """

    read: int = 0
    written: int = 0
    operations: int = 0
    specials: int = 0
    products: int = 0

    @property
    def bytes(self) -> int:
        return self.read + self.written


def warp_blend(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W). Both images are read whole, also where a flow reads one place only.

    Per pixel of two images: 28 operations for coordinates, fractions and weights, 10 for the blend,
    15 per channel for eight weighted corners. Backward, per channel: 16 for eight weighted
    gradients and 16 for eight sums of gradient times corner; 30 per pixel turn these sums into the
    gradients of flows and visibilities.
    """
    B, C, H, W = shape
    pixels, value = B * H * W, BYTES[dtype]
    inputs, image = pixels * (2 * C * value + 6 * FLOAT), pixels * C * value
    if not backward:
        return Work(inputs, image, pixels * (38 + 15 * C), pixels * 6)
    return Work(inputs + image, inputs, pixels * (38 + 30 + 32 * C), pixels * 8)


def grid_sample(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W, h, w): input and size of the grid; (B, C, H, W) if they are equal.

    Bilinear. Per pixel: 16 operations for coordinates, fractions and weights, 7 per channel for
    four corners. Backward, per channel: 8 for the gradient of the input and 8 for the sums from
    which the gradient of the grid follows (10 per pixel).
    """
    B, C, H, W = shape[:4]
    h, w = shape[4:] or (H, W)
    pixels, value = B * h * w, BYTES[dtype]
    # A small grid cannot read more than four pixels of the input each.
    source = B * C * value * min(H * W, 4 * h * w)
    grid, image = pixels * 2 * FLOAT, pixels * C * value
    if not backward:
        return Work(source + grid, image, pixels * (16 + 7 * C))
    return Work(source + grid + image, B * C * H * W * value + grid, pixels * (26 + 16 * C))


def temporal_attention(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, Tq, Tk, H, W, heads, d, window), with both bias tables, no shift and no mask.

    Per pair of query and key: 2 d operations for the score and 2 d for the value, an exponential
    and 5 operations of softmax. Backward computes the score again: five such products in all, and
    6 operations.
    """
    B, Tq, Tk, H, W, heads, d, window = shape
    value, places = BYTES[dtype], H * W * heads * d * B
    pairs = B * heads * Tq * Tk * window_pairs(H, window) * window_pairs(W, window)
    tables = FLOAT * heads * (B * Tq * Tk + (2 * window - 1) ** 2)
    queries, keys = Tq * places * value, 2 * Tk * places * value
    if not backward:
        written = queries + FLOAT * B * Tq * Tk
        return Work(queries + keys + tables, written, 5 * pairs, pairs, 4 * d * pairs)
    read, written = 2 * queries + keys + tables, queries + keys + tables
    return Work(read, written, 6 * pairs, pairs, 10 * d * pairs)


def window_pairs(size: int, window: int) -> int:
    """Pairs of positions along a side that share a window."""
    return size // window * window**2 + (size % window) ** 2


def correlation(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W, radius), normalized inputs, a float32 result.

    Displacements over the edge are counted. Per position: 2 C operations per displacement and 2 C
    for the norm of each map. Backward: 2 C per displacement and map, and 5 C per map to remove the
    component along it.
    """
    B, C, H, W, radius = shape
    places, value, D = B * H * W, BYTES[dtype], (2 * radius + 1) ** 2
    maps, result = 2 * C * places * value, D * places * FLOAT
    if not backward:
        return Work(maps, result, places * (2 * C * D + 4 * C + 2 * D), 2 * places)
    return Work(maps + result, maps, places * (4 * C * D + 14 * C), 2 * places)


def lucas_kanade(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W). Both images are read whole. There is no backward.

    Per pixel: 28 operations for coordinates, fractions and weights, 48 for the window (six sums,
    each by two boxes of three in two directions), 20 for the solution, 12 for error and weight, 6
    for the weighted motion, 36 for three boxes of seven, 4 for the result. Per channel: 14 for
    eight weighted corners, 3 for mean and difference, 4 for the gradient, 12 for six products.
    """
    B, C, H, W = shape
    pixels, value = B * H * W, BYTES[dtype]
    read = pixels * (2 * C * value + 4 * FLOAT) + B * FLOAT
    return Work(read, pixels * 2 * FLOAT, pixels * (154 + 33 * C), pixels)
