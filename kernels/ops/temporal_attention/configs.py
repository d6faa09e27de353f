"""Settings of the Triton kernels of windowed temporal attention: block sizes, warps and stages, by
card and class of shape.

`tuned.json` holds what was found for cards, each entry with its source ("static model" where nobody
has measured yet); a card or class that is not in it gets `default`. This is the one place where
settings are decided.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("configs.json")


@dataclass(frozen=True)
class ShapeClass:
    """What shapes have in common that like the same settings.

    Attributes:
        kernel: its name, such as "window_forward".
        places: of a window, padded: 1 and 4 for the kernels of locations, 16 and 64 for those of
            windows.
        frames: "one" query frame or "many".
        d: channels of a head.
        bits: of an element, 16 or 32.
    """

    kernel: str
    places: int
    frames: str
    d: int
    bits: int

    def __str__(self) -> str:
        return (
            f"{self.kernel} places={self.places} frames={self.frames} d={self.d} bits={self.bits}"
        )


def settings(shape: ShapeClass, card: str | None = None) -> dict[str, int]:
    """The settings of a kernel.

    Args:
        shape: the class of its shapes.
        card: its name as `torch.cuda.get_device_name` has it; None for the default.

    Returns:
        For windows BN (keys at a time), num_warps and num_stages; for locations VALUES (elements a
        program holds) and num_warps. With maxnreg where the compiler would sooner spill than take
        more registers than suit it.
    """
    return _table().get(card, {}).get(str(shape)) or default(shape)


# Warps and stages with which the backward of windows fits its registers in float32, where each
# product is three of TF32; by places, frames and d. No rule was found that a compiler keeps on
# every architecture and in every version: `make compile-oldest` and `benchmarks.static.compile
# --everything` with either Triton tell.
FLOAT32_BACKWARD = {
    (64, "one", 16): (4, 2),
    (64, "one", 32): (8, 1),
    (64, "one", 64): (8, 2),
    (64, "many", 16): (8, 1),
    (64, "many", 32): (8, 1),
    (64, "many", 64): (8, 2),
    (16, "one", 16): (1, 1),
    (16, "one", 32): (2, 1),
    (16, "one", 64): (2, 2),
    (16, "many", 16): (4, 1),
    (16, "many", 32): (4, 2),
    (16, "many", 64): (8, 2),
}


def default(shape: ShapeClass) -> dict[str, int]:
    """Large enough to keep memory busy, small enough not to spill from sm_75 to sm_120;
    `ahead_of_time --everything` tells.
    """
    half = shape.bits == 16
    if shape.kernel.startswith("location"):
        values = {
            "location_forward": 2048,
            "location_backward": 2048 if half else 1024,
            "location_backward_keys": 2048,
        }[shape.kernel]
        if shape.places == 4:
            values //= 4 if shape.kernel == "location_backward" and half else 2
        found = {
            "VALUES": values,
            "num_warps": 8 if shape.kernel == "location_backward_keys" and shape.places == 4 else 4,
        }
        if (
            shape.kernel == "location_forward"
            and shape.places == 4
            and shape.frames == "many"
            and half
        ):
            return found | {"maxnreg": 168}
        return (
            found | {"maxnreg": 128}
            if shape.kernel == "location_backward" and shape.places == 4
            else found
        )
    if shape.kernel == "window_forward":
        wide = half and shape.d == 32 and shape.frames == "one"
        large = shape.d == 64 and shape.places == 64
        warps = rows(shape) // 16 * (2 if large or shape.d == 64 and not half else 1)
        stages = (
            2
            if wide and shape.places == 64 or large and not half
            else 4
            if half and shape.d <= 32
            else 3
        )
        found = {
            "BN": min(shape.places, 32) if wide else 16,
            "num_warps": warps,
            "num_stages": stages,
        }
        return (
            found | {"maxnreg": 255}
            if large or not half and shape.d == 32 and shape.places == 64
            else found
        )
    if shape.kernel == "window_backward":
        if not half:
            warps, stages = FLOAT32_BACKWARD[shape.places, shape.frames, shape.d]
        else:
            warps, stages = (
                max(2, rows(shape) // (8 if shape.d == 64 else 16)),
                3 if shape.d == 16 and shape.places == 64 else 2,
            )
        found = {"BN": 16, "num_warps": warps, "num_stages": stages}
        # ptxas sooner spills a few bytes than leave its own idea of how many registers suit a block
        roomy = not half or shape.d == 64 or (shape.frames == "many") == (shape.d == 32)
        return found | {"maxnreg": 255} if roomy else found
    found = {"BN": 16, "num_warps": 4, "num_stages": 1 if half and shape.d == 16 else 2}
    return found if half and shape.d == 32 else found | {"maxnreg": 255}


def for_frames(shape: ShapeClass, found: dict[str, int], BT: int) -> dict[str, int]:
    """The settings found for a kernel, or others where sums of as many as BT key frames leave these
    too few registers.
    """
    if BT > 16 and shape == ShapeClass("window_backward", 64, "one", 32, 16):
        return {"BN": 16, "num_warps": 8, "num_stages": 1}
    if BT > 16 and shape == ShapeClass("window_forward", 64, "one", 32, 16):
        return {"BN": 16, "num_warps": 4, "num_stages": 4, "maxnreg": 255}
    if BT > 32 and shape == ShapeClass("location_backward", 1, "one", 32, 16):
        return found | {"maxnreg": 168}
    return found


def rows(shape: ShapeClass) -> int:
    """Queries that a program of the kernels of windows holds, or reads at a time where it holds
    keys.
    """
    found = shape.places if shape.frames == "one" else max(64, shape.places)
    if shape.kernel == "window_backward_keys" and (
        shape.d == 64 or shape.bits == 32
    ):  # a product of float32 is three of TF32
        return min(found, 32 if shape.d == 32 else 16)
    if shape.kernel == "window_backward_keys" and shape.d == 16:
        return min(found, 32)
    return found


def own_keys(shape: ShapeClass) -> bool:
    """Whether a backward has the registers to write the keys' gradients too, where no other program
    reads them.
    """
    if shape.frames == "many" or shape.kernel.startswith("location"):
        return shape.frames == "one" and shape.places == 1
    if shape.bits == 32:
        return shape.places == 16 and shape.d <= 32
    return shape.d <= 32 or shape.places == 16


@functools.cache
def _table() -> dict[str, dict[str, dict[str, int]]]:
    """{card: {class: settings}}."""
    if not TABLE.exists():
        return {}
    table = json.loads(TABLE.read_text())
    return {
        card: {entry["class"]: entry["settings"] for entry in found["entries"]}
        for card, found in table.items()
    }
