"""Speed and memory of streaming, as `lift interpolate --multi 2` runs it.

A step encodes one new frame and generates one; frames are tensors on the device. Generated frames
are first compared with those of the reference kernels in float32, then each variant (kernels,
options, frames of context) is timed alternately with the reference. Each variant is a test of its
own, so its row is written before the next one starts.

Peak memory is that of frames after everything is compiled. Replays of CUDA graphs allocate nothing,
so theirs is the peak since the model was built, recording included.

`file` is a whole run from video file to video file, with decoder, scene detection and encoder, and
how long its threads were at work.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import count, islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.harness import measure
from benchmarks.harness.parameters import fill_zeros

for needed in ("cv2", "safetensors"):  # a GPU machine may lack them; then streaming is skipped
    pytest.importorskip(needed)

import cv2  # noqa: E402

from benchmarks.harness.file_stages import stage_times  # noqa: E402
from lift.commands.demo import CLIP  # noqa: E402
from lift.io.decode import open_frames  # noqa: E402
from lift.io.encode import VideoWriter  # noqa: E402
from lift.model.factory import create_lift_model  # noqa: E402
from lift.profiling.stages import Tracer  # noqa: E402
from lift.video.interpolator import Interpolator  # noqa: E402
from lift.video.malloc import keep_freed_memory  # noqa: E402
from lift.video.schedule import MultiplierSchedule  # noqa: E402

SWITCHES = {
    "reference": {},
    "fused": {},
    "fused+compile": {"compiled": True},
    "fused+graph": {"cuda_graph": True},
    "fused+compile+graph": {"compiled": True, "cuda_graph": True},
}
SIZES = {
    "256": (256, 256),
    "448": (256, 448),
    "720p": (720, 1280),
    "1080p": (1080, 1920),
    "4K": (2160, 3840),
}
ROUNDING = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 1e-2}  # relative error always allowed
COMPARED = 2  # generated frames that are compared with the reference's
CHUNK = {"cpu": 1, "cuda": 4}  # frames per timing
ENERGY_SECONDS = 1.0


@dataclass(frozen=True)
class Case:
    device: str
    preset: str
    size: str
    dtype: str = "float32"
    contexts: tuple[int, ...] = (15, 2)

    def __str__(self) -> str:
        return "-".join([self.device, self.preset, self.size, self.dtype])

    @property
    def shape(self) -> tuple[int, int]:
        return shape_of(self.size)


def shape_of(size: str) -> tuple[int, int]:
    """Height and width, of a name of SIZES or of such as "48x64"."""
    return SIZES[size] if size in SIZES else tuple(int(n) for n in size.split("x"))


def cases(device: str, quick: bool, toy: bool) -> list[Case]:
    """The cases of a device, by priority."""
    if toy:
        return [Case(device, "tiny", "32x48", contexts=(3, 2))]
    if device == "cpu":
        return [
            Case(device, "tiny", "448"),
            Case(device, "tiny", "448", "bfloat16"),
            *([] if quick else [Case(device, "tiny", "720p")]),
        ]
    if quick:
        return [Case(device, "base", "1080p", "bfloat16"), Case(device, "tiny", "1080p", "float16")]
    return [
        *(
            Case(device, preset, size, dtype)
            for dtype in ("bfloat16", "float16")
            for size in ("1080p", "720p", "256", "4K")
            for preset in ("base", "tiny")
        ),
        Case(device, "base", "1080p", "float32"),
    ]


def names(case: Case) -> list[str]:
    """Variants of a case: kernels and options, then the frames of context."""
    forms = SWITCHES if case.device == "cuda" else ["reference", "fused"]
    return [f"{form} {context}" for context in case.contexts for form in forms]


def pytest_generate_tests(metafunc):
    quick, toy = (metafunc.config.getoption(name) for name in ("--quick", "--toy"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "case" in metafunc.fixturenames:
        pairs = [(case, name) for case in cases(device, quick, toy) for name in names(case)]
        pairs = measure.by_form(pairs, metafunc.config.getoption("--forms"))
        metafunc.parametrize(("case", "variant"), pairs, ids=lambda value: str(value))
    else:
        sizes = ["48x64"] if toy else ["448"] if quick else ["448", "720p"]
        pairs = [(size, name) for size in sizes for name in ("reference", "fused")]
        pairs = measure.by_form(pairs, metafunc.config.getoption("--forms"))
        metafunc.parametrize(("size", "kernels"), pairs)


def test_streaming(case, variant, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    found, facts = measured(case, variant, 1 if toy else 7 if quick else 11, energy=not quick)
    form, context = variant.split()
    record(
        found,
        operation="streaming",
        variant=form,
        fused=form != "reference",
        device=case.device,
        direction="forward",
        dtype=case.dtype,
        layout="channels_last",
        shape=[1, 3, *case.shape],
        flow=f"{case.preset}, {context} frames",
        required_bytes=None,
        frames_per_second=1 / found.median if found.times else None,
        **facts,
    )


def test_file(size, kernels, record, request, files_folder):
    toy = request.config.getoption("--toy")
    found, facts = files(size, 1 if toy else 3, files_folder, 6 if toy else None)
    record(
        found[kernels],
        operation="file",
        variant=kernels,
        fused=kernels == "fused",
        device="cuda" if torch.cuda.is_available() else "cpu",
        direction="forward",
        dtype="float32",
        layout="channels_last",
        shape=[1, 3, *shape_of(size)],
        flow="tiny, 15 frames",
        required_bytes=None,
        **facts[kernels],
    )


@pytest.fixture(scope="session")
def files_folder(tmp_path_factory):
    """Where files are interpolated."""
    pytest.importorskip("av")
    return tmp_path_factory.mktemp("files")


# -- a stream --------------------------------------------------------------------------------------


class Stream:
    """One variant of a case; every call generates the next frame."""

    def __init__(self, case: Case, variant: str, dtype: str | None = None):
        self.variant = variant
        form, context = variant.split()
        torch.manual_seed(0)
        model = create_lift_model(
            case.preset,
            pretrained=case.preset == "tiny",
            kernels="reference" if form == "reference" else "auto",
        )
        if case.preset != "tiny":
            fill_zeros(model)
        self.interpolator = Interpolator(
            model,
            int(context),
            case.device,
            dtype=getattr(torch, dtype or case.dtype),
            detect_scenes=False,
            **SWITCHES[form],
        )
        self.shown = self.interpolator.stream(_timed(case), MultiplierSchedule(2))

    def __call__(self) -> torch.Tensor:
        return next(shown.frame for shown in self.shown if shown.is_generated)


def _timed(case: Case) -> Iterator[tuple[torch.Tensor, Fraction]]:
    """Frames of a texture that moves back and forth, without end, with their timestamps."""
    (H, W), generator = case.shape, torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, H // 16 + 4, W // 16 + 4, generator=generator)
    texture = F.interpolate(coarse, (H + 16, W + 16), mode="bicubic").clamp(0, 1)[0]
    frames = [
        texture[:, 2 * k : 2 * k + H, 3 * k % 16 : 3 * k % 16 + W].contiguous().to(case.device)
        for k in (0, 1, 2, 3, 4, 3, 2, 1)
    ]
    for k in count():
        yield frames[k % len(frames)], Fraction(k)


# -- measuring -------------------------------------------------------------------------------------


def measured(
    case: Case, variant: str, rounds: int, energy: bool = False
) -> tuple[measure.VariantResult, dict]:
    """Check a variant, then time it alternately with the reference; its result and other facts.

    Args:
        energy: measure the energy per frame, for the streams with the most frames of context.
    """
    if case.device == "cpu":
        keep_freed_memory()  # as the command does
    form, context = variant.split()
    found, facts = measure.VariantResult(), {"energy_per_frame": None, "seconds_by_stage": None}
    stream = measure.attempted(found, variant, lambda: _examined(found, case, variant))
    if stream is None:
        return found, facts
    chunk, other = CHUNK[case.device], None
    if form != "reference":
        reference = baseline(case, int(context))
        other = "reference", lambda: [reference() for _ in range(chunk)]
    measure.time_with(
        found, form, lambda: [stream() for _ in range(chunk)], other, rounds, clock(case.device)
    )
    found.times = [seconds / chunk for seconds in found.times]
    if found.baseline:
        found.baseline["median"] /= chunk
    if energy and int(context) == max(case.contexts):
        facts["energy_per_frame"] = _energy(stream, case.device)
    if "+" not in form:
        facts["seconds_by_stage"] = _by_stage(stream, case.device, 2 if rounds == 1 else 5)
    return found, facts


@lru_cache(maxsize=1)  # the variants of a case and context are consecutive
def baseline(case: Case, context: int) -> Stream:
    """The reference, which the other variants are timed alternately with."""
    return Stream(case, f"reference {context}")


@lru_cache(maxsize=1)
def standard(case: Case, context: int) -> tuple[list[torch.Tensor], float]:
    """Frames of the reference in float32, and the tolerance of a variant.

    The tolerance is twice the error of the reference in the dtype of the case.
    """
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    stream = Stream(case, f"reference {context}", "float32")
    exact = [stream().clone() for _ in range(COMPARED)]
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    stream = Stream(case, f"reference {context}")
    return exact, 2 * _distance([stream() for _ in range(COMPARED)], exact) + ROUNDING[case.dtype]


def _distance(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    """Largest relative L2 distance of a frame; the norm is that of the frame minus its mean."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, exact, strict=True)]
    return max(((a - b).norm() / (b - b.mean()).norm()).item() for a, b in pairs)


def _examined(found: measure.VariantResult, case: Case, variant: str) -> Stream | None:
    """Build and compare a variant; measure its peak memory and its first frame.

    Returns None, and sets the failure, where its frames are wrong.
    """
    cuda, found.peak_of_recording = case.device == "cuda", measure.is_graph(variant)
    exact, found.tolerance = standard(case, int(variant.split()[1]))
    gc.collect()
    before = torch.cuda.memory_allocated() if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    stream = Stream(case, variant)
    frames = [stream()]
    if cuda:
        torch.cuda.synchronize()
    found.first = time.perf_counter() - start
    frames += [stream() for _ in range(COMPARED - 1)]
    found.error = _distance(frames, exact)
    if not found.error <= found.tolerance:
        found.failure = measure.wrong(found)
        return None
    if cuda:
        if not found.peak_of_recording:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(stream.interpolator.context_frames):
            stream()
        torch.cuda.synchronize()
        found.peak = torch.cuda.max_memory_allocated() - before
    return stream


def clock(device: str) -> Callable:
    """As `measure.timer`, by the wall clock: on a GPU the launches from Python count too."""

    def timed(task: Callable) -> Callable[[], float]:
        start = time.perf_counter()
        task()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        return lambda: seconds

    return timed


def _energy(stream: Stream, device: str) -> float | None:
    """Energy per generated frame (NVML), J; None where the GPU does not count it."""
    if device != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        torch.cuda.synchronize()
        clocked = clock(device)
        used, start, frames = (
            pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu),
            time.perf_counter(),
            0,
        )
        while time.perf_counter() - start < ENERGY_SECONDS:
            clocked(stream)
            frames += 1
        return (pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) - used) / 1e3 / frames
    except Exception:  # no such package, or a GPU without the counter
        return None


def _by_stage(stream: Stream, device: str, frames: int) -> dict[str, float]:
    """Seconds per generated frame and stage, synchronizing between stages.

    "rest" is everything outside the model: frame pairs, caches and the frames themselves.
    """
    sums: dict[str, float] = {}
    now, stage = time.perf_counter(), "rest"

    def entered(following: str) -> None:
        nonlocal now, stage
        if device == "cuda":
            torch.cuda.synchronize()
        time_ = time.perf_counter()
        sums[stage] = sums.get(stage, 0.0) + time_ - now
        now, stage = time_, "rest" if following == "loss" else following

    with Tracer(entered).watch(stream.interpolator.engine.model):
        now = time.perf_counter()
        for _ in range(frames):
            stream()
        entered("loss")
    return {name: seconds / frames for name, seconds in sums.items()}


# -- a file ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def files(
    size: str, rounds: int, folder: Path, length: int | None
) -> tuple[dict[str, measure.VariantResult], dict[str, dict]]:
    """The bundled clip (its first `length` frames) from file to file, alternating the kernels.

    Both write frames that differ by rounding only. The facts are those of the median round.
    """
    keep_freed_memory()
    source = _clip(folder / f"{size}.mp4", *shape_of(size), length)
    smooth = {
        name: Interpolator(
            create_lift_model(
                "tiny", pretrained=True, kernels="reference" if name == "reference" else "auto"
            ),
            device="cuda" if torch.cuda.is_available() else "cpu",
        )
        for name in ("reference", "fused")
    }
    found = {name: measure.VariantResult(tolerance=ROUNDING["float32"]) for name in smooth}
    exact = [_first_generated(smooth["reference"], source)]
    for name, one in smooth.items():
        start = time.perf_counter()
        found[name].error = _distance([_first_generated(one, source)], exact)
        found[name].first = time.perf_counter() - start
        if not found[name].error <= found[name].tolerance:
            found[name].failure = measure.wrong(found[name])
    runs: dict[str, list[tuple[float, dict]]] = {name: [] for name in smooth}
    for _ in range(rounds):
        for name, one in smooth.items():
            with stage_times() as stages:
                start = time.perf_counter()
                summary = one.video(source, folder / f"{name}.mp4", overwrite=True)
                seconds = time.perf_counter() - start
            facts = {"frames": summary.frames, "made": summary.generated}
            rate = summary.frames / seconds
            facts |= {"frames_per_second": rate, "seconds_by_thread": dict(stages)}
            runs[name].append((seconds, facts))
    for name, times in runs.items():
        found[name].times = [seconds for seconds, _ in times]
    return found, {
        name: sorted(times, key=lambda run: run[0])[len(times) // 2][1]
        for name, times in runs.items()
    }


def _first_generated(interpolator: Interpolator, source: Path) -> torch.Tensor:
    return next(
        shown.frame
        for shown in interpolator.stream(open_frames(source).timed(), MultiplierSchedule(2))
        if shown.is_generated
    )


def _clip(path: Path, height: int, width: int, length: int | None) -> Path:
    """The bundled clip, enlarged or reduced, or its first frames."""
    source = open_frames(CLIP)
    if length is None and (height, width) == (source.height, source.width):
        return CLIP
    with VideoWriter(path, width, height, source.fps, 1 / source.fps) as writer:
        for k, frame in enumerate(islice(source.frames(), length)):
            frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
            writer.write(frame, k / source.fps)
    return path
