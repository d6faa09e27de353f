"""How large tiles may be: the memory that is free, and what a model needs for each pixel.

The estimate counts the largest tensors that exist at once, which are those of the refinement at
full resolution, and what a stream keeps of every frame. It is an upper bound, above what is
counted by up to one half; see tests/video/test_memory_budget.py. Libraries, decoders and encoders
come on top, 0.5 to 1 GB on a CPU.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lift.errors import LiftError
from lift.kernels import dispatch
from lift.model.adjacent import gaps_per_side
from lift.model.lift import LIFT

USUAL_AREA = 1024 * 768  # pixels of a tile on a CPU for models that need more a pixel
# bytes in use for a tile at a time: so a pair of 4096x2304 frames takes less than 2.5 GB with tiny
CPU_BUDGET = 528 * 2**20
SHARE = 0.8  # of the free memory that a stream may use
# not measured on a GPU yet
GPU_OVERHEAD = 1.3  # workspaces of libraries, and blocks of memory between others
GRAPH_OVERHEAD = 1.6  # arguments and results of recordings, which stay
ROOT = Path("/")  # of the files in which Linux says what is free
ALLOCATION_FAILED = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "ALLOC_FAILED",
)


class OutOfMemory(LiftError):
    """Frames do not fit into the memory.

    Attributes:
        tile: height and width in pixels of the tiles in use; of the frames where they are whole.
    """

    def __init__(self, message: str, tile: tuple[int, int]):
        super().__init__(message)
        self.tile = tile


@contextmanager
def out_of_memory_error(
    frame: tuple[int, int], tile: tuple[int, int], device: torch.device
) -> Iterator[None]:
    """Raise an `OutOfMemory` instead of the errors of allocators.

    Args:
        frame, tile: height and width of the frames and of the tiles in use.
        device: where the memory is missing.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # tensors in them would stay allocated
    else:
        return
    (height, width), (h, w) = frame, tile
    of_tiles = "" if h >= height and w >= width else f", in tiles of {w}x{h},"
    place = "the GPU's memory" if device.type == "cuda" else "memory"
    raise OutOfMemory(
        f"frames of {width}x{height}{of_tiles} do not fit into {place}; choose a smaller --tile, "
        "a smaller --scale such as 0.5, or a smaller --context_frames",
        tile,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in ALLOCATION_FAILED)


# -- what a model needs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class BytesPerPixel:
    """Memory for each pixel of the frames, bytes.

    Attributes:
        kept: of every pixel of a frame: what a stream keeps between frames, and the output.
        images: kept too, where frames are not cut into tiles: the images of the references.
        working: of every pixel of a tile, while it is computed.
    """

    kept: float
    images: float
    working: float


def bytes_per_pixel(
    model: LIFT,
    device: torch.device,
    dtype: torch.dtype,
    context_frames: int,
    batch: int = 1,
    scale: float = 1.0,
) -> BytesPerPixel:
    """Memory that a stream through a model needs.

    Args:
        model: of any preset.
        device: where it runs.
        dtype: of its activations.
        context_frames, batch, scale: as of `Interpolator`.
    """
    c, size = model.config, dtype.itemsize
    channels = c.c4 / 16 + c.c8 / 64 + c.c16 / 256 + c.corr_channels * (1 / 16 + 1 / 64 + 1 / 256)
    features = channels * size + 4 / 4 + 16 / 16 + 4 / 64  # small images in float32
    maps = {"attention": 2 * c.layers, "average": 1, "none": 0}[c.context_mode]
    keys_values = maps * c.attn_channels * size / 256
    motion = c.hidden4 * size / 16 + 24 * (1 / 16 + 1 / 64 + 1 / 256)
    cost_volumes = 4 * ((2 * c.radius16 + 1) ** 2 / 256 + 1 / 16 + 1 / 64)
    ahead = context_frames // 2 + 2  # frames whose features wait, and both references
    gaps = gaps_per_side(context_frames, c.path_frames) + 1
    kept = context_frames * keys_values + ahead * features + gaps * (motion + cost_volumes)
    return BytesPerPixel(
        kept=kept * scale**2 + batch * 12,
        images=ahead * 12,
        working=2 * 13 + 1 + batch * _refinement(model, device, size) + (scale < 1) * 14,
    )


def _refinement(model: LIFT, device: torch.device, size: int) -> float:
    """Bytes for each pixel in the refinement: its inputs twice, and six of its activations.

    Without a fused kernel both warped images and all maps are there in float32 as well.
    """
    c = model.config
    inputs = 9 + 8 / c.refine_stride**2
    working = (2 * inputs + 6 * c.refine_channels / c.refine_stride**2) * size
    return working if _is_fused(model, device) else working + 240


def _is_fused(model: LIFT, device: torch.device) -> bool:
    def empty(channels: int, side: int) -> torch.Tensor:
        return torch.zeros(1, channels, side, side, device=device)

    missing = empty(2, 8) if model.config.align2 else None
    images = empty(3, 16), empty(3, 16)
    stride, dtype = model.config.refine_stride, torch.float32
    backend = getattr(model, "backend", None)
    with torch.no_grad():
        arguments = *images, empty(6, 8), missing, stride, dtype
        return dispatch.select("refine_inputs", backend, *arguments).fused


# -- what is free ----------------------------------------------------------------------------------


def tile_area(
    need: BytesPerPixel, pixels: int, device: torch.device, *, recorded: bool = False
) -> int:
    """The largest tile for frames of a size, in pixels; that of the frame where it fits.

    Args:
        need: what a pixel needs.
        pixels: of a frame.
        device: where the model runs.
        recorded: whether its calls are recorded as CUDA graphs.
    """
    free, working = free_memory(device), need.working
    if device.type == "cuda":
        working *= GPU_OVERHEAD * (GRAPH_OVERHEAD if recorded else 1)
    budget = float("inf") if free is None else SHARE * free
    most = float("inf") if device.type == "cuda" else max(CPU_BUDGET, need.working * USUAL_AREA)
    if working * pixels <= most and (need.kept + need.images + working) * pixels <= budget:
        return pixels
    left = max(budget - need.kept * pixels, 0)
    return min(int(min(left, most) / working), pixels)


def free_memory(device: torch.device) -> int | None:
    """Bytes that may still be allocated on a device; None where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    limits = [_available(), *_left_in_groups()]
    limits = [limit for limit in limits if limit is not None]
    return min(limits) if limits else None


def _available() -> int | None:
    """What Linux calls available: free, or to be had without swapping."""
    for line in _lines(ROOT / "proc/meminfo"):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return None


def _left_in_groups() -> Iterator[int]:
    """What the control groups of this process, as of a container, leave of their limits."""
    folder = ROOT / "sys/fs/cgroup"
    groups = {folder, folder / "memory"}  # as a container sees them
    for line in _lines(ROOT / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            own = folder / controllers / path.strip("/")
            groups.update(place for place in (own, *own.parents) if place.is_relative_to(folder))
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for group in sorted(groups):
        for limit, usage, cache in names:
            limit, usage = (next(iter(_lines(group / name)), "") for name in (limit, usage))
            if limit.isdecimal() and usage.isdecimal():
                statistics = dict(line.split() for line in _lines(group / "memory.stat"))
                yield max(int(limit) - int(usage) + int(statistics.get(cache, 0)), 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # not this system's
        return []
