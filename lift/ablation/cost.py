"""What one generated frame costs in a stream: arithmetic, traffic and time at 448 × 256."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from itertools import count

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from lift import kernels
from lift.config import ModelConfig
from lift.model.lift import LIFT
from lift.video.interpolator import Interpolator
from lift.video.schedule import MultiplierSchedule

HEIGHT, WIDTH = 256, 448
ROUNDS = 5  # timed frames; their median counts


def stream_cost(model: LIFT, context_frames: int) -> dict[str, float | None]:
    """Cost of the next generated frame of a stream that doubles the frame rate.

    Args:
        model: on the device where time is measured, with kernels that a flag may choose.
        context_frames: input frames of the generated frame.

    Returns:
        "flops": floating-point operations of convolutions and matrix products, counted with the
        reference kernels, which consist of them; "milliseconds": the median of a few frames, of
        the processor's time on a CPU, so that other programs do not count; "bytes": what a GPU
        reads and writes, counted (see `lift.profiling.launches`), None where it cannot be.
    """
    stream = _stream(model, context_frames)
    clock = _clock(next(model.parameters()).device)
    times = []
    for _ in range(ROUNDS):
        start = clock()
        next(stream)
        times.append(1e3 * (clock() - start))
    with kernels.use("reference"), FlopCounterMode(display=False) as counter:
        next(stream)
    flops = float(counter.get_total_flops())
    return {
        "flops": flops,
        "milliseconds": statistics.median(times),
        "bytes": traffic(model.config, context_frames),
    }


def traffic(config: ModelConfig, context_frames: int) -> int | None:
    """Bytes that a GPU reads and writes for a generated frame, in bfloat16.

    None without Triton, whose kernels are counted, and on other systems than Linux.
    """
    if find_spec("triton") is None or sys.platform != "linux":
        return None
    from lift.profiling import launches

    return launches.frame(config, HEIGHT, WIDTH, context_frames, torch.bfloat16).totals[1]


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds of work up to now on a device."""
    if device.type != "cuda":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def _stream(model: LIFT, context_frames: int) -> Iterator[torch.Tensor]:
    """Generated frames, of which the next has all its context frames, without end."""
    interpolator = Interpolator(model, context_frames, detect_scenes=False)
    device = next(model.parameters()).device
    outputs = interpolator.stream(_frames(device), MultiplierSchedule(2))
    generated = (output.frame for output in outputs if output.is_generated)
    for _ in range(context_frames):
        next(generated)
    return generated


def _frames(device: torch.device) -> Iterator[tuple[torch.Tensor, Fraction]]:
    """A texture that moves back and forth, without end, with timestamps."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, HEIGHT // 16 + 4, WIDTH // 16 + 4, generator=generator)
    texture = F.interpolate(coarse, (HEIGHT + 16, WIDTH + 16), mode="bicubic").clamp(0, 1)[0]
    frames = [
        texture[:, 2 * k : 2 * k + HEIGHT, 3 * k : 3 * k + WIDTH].contiguous().to(device)
        for k in (0, 1, 2, 3, 4, 3, 2, 1)
    ]
    for k in count():
        yield frames[k % len(frames)], Fraction(k)
