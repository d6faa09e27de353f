"""Settings of the Triton kernels of windowed temporal attention: block sizes, warps and stages, by card and class of shape.

`tuned.json` holds what was found for cards, each entry with its source ("static model" where nobody has measured yet); a card or class
that is not in it gets `default`. This is the one place where settings are decided.
"""
import functools
import json
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("tuned.json")


@dataclass(frozen=True)
class ShapeClass:
    """What shapes have in common that like the same settings.

    Attributes:
        kernel: its name, such as "window_forward".
        places: of a window, padded: 1 and 4 for the kernels of locations, 16 and 64 for those of windows.
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
        return f"{self.kernel} places={self.places} frames={self.frames} d={self.d} bits={self.bits}"


def settings(shape: ShapeClass, card: str | None = None) -> dict[str, int]:
    """The settings of a kernel.

    Args:
        shape: the class of its shapes.
        card: its name as `torch.cuda.get_device_name` has it; None for the default.

    Returns:
        For windows BN (keys at a time), num_warps and num_stages; for locations VALUES (elements a program holds) and num_warps.
    """
    return _table().get(card, {}).get(str(shape)) or default(shape)


def default(shape: ShapeClass) -> dict[str, int]:
    """What no card spills with (compiled for sm_80 to sm_120), large enough to keep memory busy."""
    if shape.kernel.startswith("location"):
        return {"VALUES": 2048 if shape.places == 1 else 1024, "num_warps": 4}
    forward, half = shape.kernel == "window_forward", shape.bits == 16
    BN = min(shape.places, 32) if forward and half and shape.d == 32 else 16
    stages = (4 if forward else 2) if half and shape.d <= 32 else 3 if forward else 2
    warps = rows(shape) // 16
    if shape.kernel == "window_backward":
        if not half and shape.places == 64:
            warps, stages = 2 * warps, 1
        elif shape.places == 16 and shape.frames == "one":
            warps = 2
    return {"BN": BN, "num_warps": warps, "num_stages": stages}


def rows(shape: ShapeClass) -> int:
    """Queries that a program of the kernels of windows holds."""
    return shape.places if shape.frames == "one" else max(64, shape.places)


def own_keys(shape: ShapeClass) -> bool:
    """Whether a backward has the registers to write the keys' gradients too, where no other program reads them."""
    if shape.frames == "many" or shape.kernel.startswith("location"):
        return shape.frames == "one" and shape.places == 1
    return shape.places * shape.d * shape.bits <= 64 * 32 * 16 and shape.d * shape.bits < 64 * 32


@functools.cache
def _table() -> dict[str, dict[str, dict[str, int]]]:
    """{card: {class: settings}}."""
    if not TABLE.exists():
        return {}
    table = json.loads(TABLE.read_text())
    return {card: {entry["class"]: entry["settings"] for entry in found["entries"]} for card, found in table.items()}
