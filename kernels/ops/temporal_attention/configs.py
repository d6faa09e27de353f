"""Configs of the Triton kernels of `temporal_attention`: block sizes, warps and stages.

`configs.json` has configs by GPU and class of shapes, each with its source ("static model" where
nobody has measured yet). Other GPUs and classes get `default`.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("configs.json")


@dataclass(frozen=True)
class ShapeClass:
    """Shapes that share a config.

    Attributes:
        kernel: "window_fwd", "window_bwd" or "window_bwd_dkv", or with "small_window" instead.
        positions: of a padded window: 1 or 4 for the small-window kernels, else 16 or 64.
        frames: "one" query frame or "many".
        d: channels per head, padded to one of `D`.
        bits: of an element, 16 or 32.
    """

    kernel: str
    positions: int
    frames: str
    d: int
    bits: int

    def __str__(self) -> str:
        return (
            f"{self.kernel} positions={self.positions} frames={self.frames} d={self.d} "
            f"bits={self.bits}"
        )

    @property
    def is_small_window(self) -> bool:
        return self.kernel.startswith("small_window")


def config(shape: ShapeClass, gpu: str | None = None) -> dict[str, int]:
    """The config of a kernel.

    Args:
        gpu: its name as in `torch.cuda.get_device_name`; None for the default.

    Returns:
        num_warps, and BN (keys per step) and num_stages, or for small windows VALUES (elements that
        a program holds). With maxnreg where the compiler would rather spill than use more registers
        than it thinks best.
    """
    return _table().get(gpu, {}).get(str(shape)) or default(shape)


# -- defaults: large enough to keep memory busy, no spill from sm_75 to sm_120 ---------------------

# `make compile-oldest` and `benchmarks.static.compile --everything` with either Triton check them.
# No rule was found that a compiler follows on every architecture and in every version.

# (VALUES, num_warps, maxnreg) by kernel, positions and bits
SMALL_WINDOW = {
    ("small_window_fwd", 1, 16): (2048, 4, None),
    ("small_window_fwd", 1, 32): (2048, 4, None),
    ("small_window_fwd", 4, 16): (1024, 4, None),
    ("small_window_fwd", 4, 32): (1024, 4, None),
    ("small_window_bwd", 1, 16): (2048, 4, None),
    ("small_window_bwd", 1, 32): (1024, 4, None),
    ("small_window_bwd", 4, 16): (512, 4, 128),
    ("small_window_bwd", 4, 32): (512, 4, 128),
    ("small_window_bwd_dkv", 1, 16): (2048, 4, None),
    ("small_window_bwd_dkv", 1, 32): (2048, 4, None),
    ("small_window_bwd_dkv", 4, 16): (1024, 8, None),
    ("small_window_bwd_dkv", 4, 32): (1024, 8, None),
}
SMALL_WINDOW_MANY_QUERY_FRAMES = {("small_window_fwd", 4, 16): (1024, 4, 168)}
# (BN, num_warps, num_stages, maxnreg) by bits, positions and frames, for each number of
# channels in D
D = (16, 32, 64, 128)
WINDOW_FWD = {
    (16, 16, "one"): ((16, 1, 4, None), (16, 1, 4, None), (16, 1, 3, None), (16, 1, 3, None)),
    (16, 16, "many"): ((16, 4, 4, None), (16, 4, 4, None), (16, 4, 3, None), (16, 4, 3, None)),
    (16, 64, "one"): ((16, 4, 4, None), (32, 4, 2, None), (16, 8, 3, 255), (16, 8, 3, 255)),
    (16, 64, "many"): ((16, 4, 4, None), (16, 4, 4, None), (16, 8, 3, 255), (16, 8, 3, 255)),
    (32, 16, "one"): ((16, 1, 3, None), (16, 1, 3, None), (16, 2, 3, None), (16, 2, 3, None)),
    (32, 16, "many"): ((16, 4, 3, None), (16, 4, 3, None), (16, 8, 3, None), (16, 8, 3, None)),
    (32, 64, "one"): ((16, 4, 3, None), (16, 4, 3, 255), (16, 8, 2, 255), (16, 8, 2, 255)),
    (32, 64, "many"): ((16, 4, 3, None), (16, 4, 3, 255), (16, 8, 2, 255), (16, 8, 2, 255)),
}
# float32 products are three TF32 products, which need the most registers
WINDOW_BWD = {
    (16, 16, "one"): ((16, 2, 2, 255), (16, 2, 2, None), (16, 2, 2, 255), (16, 2, 2, 255)),
    (16, 16, "many"): ((16, 4, 2, None), (16, 4, 2, 255), (16, 8, 2, 255), (16, 8, 2, 255)),
    (16, 64, "one"): ((16, 4, 3, 255), (16, 4, 2, None), (16, 8, 2, 255), (16, 8, 2, 255)),
    (16, 64, "many"): ((16, 4, 3, None), (16, 4, 2, 255), (16, 8, 2, 255), (16, 8, 2, 255)),
    (32, 16, "one"): ((16, 1, 1, 255), (16, 2, 1, 255), (16, 2, 2, 255), (16, 2, 2, 255)),
    (32, 16, "many"): ((16, 4, 1, 255), (16, 4, 2, 255), (16, 8, 2, 255), (16, 8, 2, 255)),
    (32, 64, "one"): ((16, 4, 2, 255), (16, 8, 1, 255), (16, 8, 2, 255), (16, 8, 2, 255)),
    (32, 64, "many"): ((16, 8, 1, 255), (16, 8, 1, 255), (16, 8, 2, 255), (16, 8, 2, 255)),
}
# the same for all positions and frames
WINDOW_BWD_DKV = {
    16: ((16, 4, 1, 255), (16, 4, 2, None), (16, 4, 2, 255), (16, 4, 2, 255)),
    32: ((16, 4, 2, 255), (16, 4, 2, 255), (16, 4, 2, 255), (16, 4, 2, 255)),
}
WINDOW = {"window_fwd": WINDOW_FWD, "window_bwd": WINDOW_BWD}

# Changes for more key frames than a number: their sums take registers from the rest.
MANY_KEY_FRAMES = {
    ShapeClass("window_fwd", 64, "one", 32, 16): (
        16,
        {"BN": 16, "num_warps": 4, "num_stages": 4, "maxnreg": 255},
    ),
    ShapeClass("window_fwd", 16, "one", 128, 16): (32, {"num_warps": 2}),
    ShapeClass("window_bwd", 64, "one", 32, 16): (
        16,
        {"BN": 16, "num_warps": 8, "num_stages": 1},
    ),
    ShapeClass("small_window_bwd", 1, "one", 32, 16): (32, {"maxnreg": 168}),
}


def default(shape: ShapeClass) -> dict[str, int]:
    """The config of a kernel on a GPU that the table does not have."""
    if shape.is_small_window:
        key = (shape.kernel, shape.positions, shape.bits)
        row = SMALL_WINDOW[key]
        if shape.frames == "many":
            row = SMALL_WINDOW_MANY_QUERY_FRAMES.get(key, row)
        names = ("VALUES", "num_warps", "maxnreg")
    else:
        if shape.kernel == "window_bwd_dkv":
            by_channels = WINDOW_BWD_DKV[shape.bits]
        else:
            by_channels = WINDOW[shape.kernel][shape.bits, shape.positions, shape.frames]
        row = by_channels[D.index(shape.d)]
        names = ("BN", "num_warps", "num_stages", "maxnreg")
    return {name: x for name, x in zip(names, row, strict=True) if x is not None}


def for_key_frames(shape: ShapeClass, found: dict[str, int], BT: int) -> dict[str, int]:
    """The config `found` for a kernel, with the changes that BT key frames need."""
    most, change = MANY_KEY_FRAMES.get(shape, (BT, {}))
    return found | change if BT > most else found


# -- the split of the work -------------------------------------------------------------------------


def query_rows(shape: ShapeClass) -> int:
    """Queries that a program of the window kernels holds, or loads per step if it holds keys."""
    rows = shape.positions if shape.frames == "one" else max(64, shape.positions)
    if shape.kernel != "window_bwd_dkv":
        return rows
    most = {(16, 16): 32, (16, 32): rows, (32, 32): 32}  # by bits and channels
    return min(rows, most.get((shape.bits, shape.d), 16))


def writes_dkv(shape: ShapeClass) -> bool:
    """Whether the backward that computes dq also writes dk and dv.

    Only where no other program reads the keys, and where the registers suffice.
    """
    if shape.frames == "many":
        return False
    if shape.is_small_window:
        return shape.positions == 1
    if shape.bits == 32:
        return shape.positions == 16 and shape.d <= 32
    return shape.d <= 32 or (shape.positions == 16 and shape.d <= 64)


@functools.cache
def _table() -> dict[str, dict[str, dict[str, int]]]:
    """{GPU: {class: config}}."""
    if not TABLE.exists():
        return {}
    table = json.loads(TABLE.read_text())
    return {
        gpu: {entry["class"]: entry["config"] for entry in found["entries"]}
        for gpu, found in table.items()
    }
