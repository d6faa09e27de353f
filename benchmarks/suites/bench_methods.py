"""One frame between two by several methods, in turn, in one run with one number of threads.

Frame averaging and DIS (OpenCV, `lift.evaluation.baselines`) take and return 8-bit arrays and run
on the CPU. The networks take and return tensors on the device: LIFT from two frames, everything
computed anew; LIFT in a stream with fifteen frames of context, per generated frame, where features
of earlier frames are known; and a net of RIFE's size with random weights, whose frames mean
nothing (`benchmarks.harness.rife_sized`). Frames are padded where a method needs it, and the time
of that counts.

A method is run twice first; frames that differ by more than rounding get no time, since then the
work is not the same in every round.
"""

import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.harness import measure
from benchmarks.harness.rife_sized import MULTIPLE, RifeSized

cv2 = pytest.importorskip("cv2")
pytest.importorskip("safetensors")

from benchmarks.suites import bench_streaming  # noqa: E402
from lift.data.clip import pair  # noqa: E402
from lift.evaluation import baselines  # noqa: E402
from lift.model.factory import create_lift_model  # noqa: E402
from lift.video.engine import Engine  # noqa: E402
from lift.video.malloc import keep_freed_memory  # noqa: E402

CONTEXT_FRAMES = 15
NAMES = ("averaging", "DIS", "LIFT, 2 frames", f"LIFT, stream of {CONTEXT_FRAMES}", "RIFE-sized")
SEED = 0
SAME = 1e-4  # relative L2 distance of two frames that rounding explains


def pytest_generate_tests(metafunc):
    pairs = measure.by_form([(None, name) for name in NAMES], metafunc.config.getoption("--forms"))
    metafunc.parametrize("method", [name for _, name in pairs])


def test_methods(method, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, rounds = ("64x96", 1) if toy else ("720p", 3 if quick else 7)
    record(
        measured(size, device, rounds)[method],
        operation="methods",
        variant=method,
        fused=False,  # whole methods, of which none is a kernel
        device=device,
        direction="forward",
        dtype="float32",
        layout="channels_last",
        shape=[1, 3, *bench_streaming.shape_of(size)],
        flow="tiny, one frame between two",
        required_bytes=None,
    )


@lru_cache(maxsize=1)  # all methods are timed in turn, once
def measured(size: str, device: str, rounds: int) -> dict[str, measure.VariantResult]:
    """Check and time all methods alternately."""
    keep_freed_memory()  # as the command does
    cv2.setNumThreads(torch.get_num_threads())
    found, tasks = {}, {}
    for name, task in methods(size, device).items():
        found[name] = result = measure.VariantResult(tolerance=SAME)
        start = time.perf_counter()
        first = task()
        result.first = time.perf_counter() - start
        if name.startswith("LIFT, stream"):  # every call is another frame; fill its context
            result.error = 0.0
            for _ in range(CONTEXT_FRAMES):
                task()
        else:
            result.error = _distance(task(), first)
        if result.error <= result.tolerance:
            tasks[name] = task
        else:
            result.failure = measure.wrong(result)
    times = measure.in_turn(tasks, rounds, bench_streaming.clock(device))
    for name, each in times.items():
        found[name].times = each
    return found


def methods(size: str, device: str) -> dict[str, Callable]:
    """The methods by name; a call generates one frame."""
    height, width = bench_streaming.shape_of(size)
    frame0, frame1 = images(height, width)
    tensors = [
        torch.from_numpy(frame).permute(2, 0, 1)[None].float().div(255).to(device)
        for frame in (frame0, frame1)
    ]
    case = bench_streaming.Case(device, "tiny", size, contexts=(CONTEXT_FRAMES,))
    tasks = (
        lambda: baselines.average(frame0, frame1, 0.5),
        lambda: baselines.dis(frame0, frame1, 0.5),
        lift(tensors, device),
        bench_streaming.Stream(case, f"fused {CONTEXT_FRAMES}"),
        rife_sized(tensors, device),
    )
    return dict(zip(NAMES, tasks, strict=True))


def images(height: int, width: int) -> list[np.ndarray]:
    """Two frames (H, W, 3) uint8 of a texture that moves by a few pixels."""
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (width + 16, height + 16), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(texture[k : k + height, 2 * k : 2 * k + width]) for k in (0, 5)]


def lift(tensors: list[torch.Tensor], device: str) -> Callable[[], torch.Tensor]:
    """LIFT `tiny` from two frames (1, 3, H, W), both encoded in every call."""
    model = Engine(create_lift_model("tiny", pretrained=True), torch.device(device)).model
    clip, t = pair(*tensors), torch.tensor([0.5], device=device)

    @torch.inference_mode()
    def generate() -> torch.Tensor:
        return model(clip, t, with_attention=False).frame

    return generate


def rife_sized(tensors: list[torch.Tensor], device: str) -> Callable[[], torch.Tensor]:
    """The net of RIFE's size, on frames that are padded to multiples of 32 in every call."""
    torch.manual_seed(SEED)
    net = RifeSized().to(device).eval().to(memory_format=torch.channels_last)
    H, W = tensors[0].shape[2:]
    padding = (0, -W % MULTIPLE, 0, -H % MULTIPLE)

    @torch.inference_mode()
    def generate() -> torch.Tensor:
        padded = [F.pad(x, padding).to(memory_format=torch.channels_last) for x in tensors]
        return net(*padded)[..., :H, :W]

    return generate


def _distance(found, exact) -> float:
    """Relative L2 distance of two frames, arrays or tensors."""
    a, b = (torch.as_tensor(x).double() for x in (found, exact))
    return ((a - b).norm() / b.norm()).item()
