"""What a stream on a GPU copies and waits for, counted without one: a frame up, a generated frame
down, and nothing else."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lift.profiling.dataless import dataless
from tests.support.device_traffic import device_traffic

for needed in ("cv2", "safetensors"):  # a machine with a GPU may have neither
    pytest.importorskip(needed)

from lift.model.factory import create_lift_model  # noqa: E402
from lift.video.interpolator import Interpolator  # noqa: E402
from lift.video.schedule import MultiplierSchedule  # noqa: E402
from lift.video.transfers import Download, Uploader, as_image, float_tensor  # noqa: E402
from tests.support.video_samples import moving_frames, write_folder  # noqa: E402

H, W, CONTEXT, PAIRS = 32, 48, 6, 2
DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(scope="module")
def model():
    return create_lift_model("tiny", layers=1, flow_blocks=1)


def interpolator(model, dtype=torch.float32, scenes=False, **options):
    return Interpolator(
        dataless(model), CONTEXT, "cuda", dtype=dtype, detect_scenes=scenes, **options
    )


def steady(found, shown, multi):
    """The traffic of PAIRS pairs in the middle of a stream, and the frames shown there."""
    start, seen = (CONTEXT + 1) * multi, []
    for k, frame in enumerate(shown):
        if k > start:
            seen.append(frame)
        if k == start:
            found.clear()
        if k == start + PAIRS * multi:
            return seen
    raise AssertionError("the stream is too short")


def frames(make, n=1000):
    return ((make(), Fraction(k, 24)) for k in range(n))


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype, scenes, multi, options",
    (
        (torch.float32, False, 2, {}),
        (torch.bfloat16, True, 2, {}),
        (torch.float32, True, 3, {}),
        (torch.bfloat16, False, 4, {"batch": 3, "reverse_average": True}),
    ),
    ids=str,
)
def test_one_frame_up_and_each_generated_frame_down(model, dtype, scenes, multi, options):
    with device_traffic() as found:
        smooth = interpolator(model, dtype, scenes, **options)
        shown = smooth.stream(
            frames(lambda: np.zeros((H, W, 3), np.uint8)), MultiplierSchedule(multi)
        )
        seen = steady(found, ((frame, Download(frame.frame)) for frame in shown), multi)
        assert found.synchronizations == []  # nothing waits but the writer
        for _, download in seen:
            download.wait()
    generated = sum(frame.is_generated for frame, _ in seen)
    once = (3 * H * W, True, False)
    assert generated == PAIRS * (multi - 1) == len(found.synchronizations)
    assert [(r.size, r.pinned, r.blocking) for r in found.uploads] == [once] * PAIRS
    assert [(r.size, r.pinned, r.blocking) for r in found.downloads] == [once] * generated
    assert found.waits == []


@pytest.mark.slow
@pytest.mark.parametrize("scenes", (False, True))
def test_frames_on_the_gpu_stay_there(model, scenes):
    """But for their bytes, where scene cuts are looked for: these are found on the host."""
    with device_traffic() as found:
        shown = interpolator(model, scenes=scenes).stream(
            frames(lambda: torch.empty(3, H, W, device="cuda")), MultiplierSchedule(2)
        )
        steady(found, shown, 2)
    assert found.uploads == [] and found.waits == []
    assert [r.blocking for r in found.downloads] == [False] * (PAIRS if scenes else 0)


@pytest.mark.slow
def test_a_folder_takes_a_copy_each_way_a_frame(model, tmp_path):
    """Reading and writing included: what a longer folder adds to the traffic of a shorter one."""
    counts = []
    for n in (6, 8):
        source = write_folder(tmp_path / f"{n}", moving_frames(n, H, W))
        with device_traffic() as found:
            summary = interpolator(model).video(source, tmp_path / f"out{n}")
        assert (summary.frames, summary.generated) == (2 * n - 1, n - 1)
        counts.append(
            [
                len(records)
                for records in (found.uploads, found.downloads, found.waits, found.synchronizations)
            ]
        )
    assert [b - a for a, b in zip(*counts, strict=True)] == [2, 2, 0, 2]


def test_numbers_are_exact_in_either_way():
    """The kernel's arguments are rounded to float32 once, as those of a copy are."""
    values = [0.0, 1 / 3, -7.0, 1e-9, 16777217.0, 0.1]
    copied = float_tensor(values, torch.device("cpu"))
    block = torch.zeros(len(values))
    torch._foreach_add_(list(block.unbind()), values)
    assert torch.equal(copied, block) and copied.dtype == torch.float32
    with device_traffic() as found:
        assert float_tensor(values, torch.device("cuda")).shape == (len(values),)
    assert found.uploads == []


def test_bytes_become_the_image_that_they_are():
    pixels = moving_frames(1, H, W)[0]
    image = as_image(Uploader(torch.device("cpu"))(pixels))
    assert image.is_contiguous() and image.dtype == torch.float32
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    assert torch.equal(image, planes.float().div_(255))


@pytest.mark.gpu
def test_transfers_carry_what_they_are_given():
    """While the GPU is behind, and with page-locked memory given out again and again."""
    device, up = torch.device("cuda"), Uploader(torch.device("cuda"))
    frames = moving_frames(16, 270, 480)
    busy = torch.randn(2048, 2048, device=device)
    coming = []
    for pixels in frames:
        for _ in range(20):
            busy = (busy @ busy).tanh()
        coming.append(Download(as_image(up(pixels))[0]))
    for download, pixels in zip(coming, frames, strict=True):
        assert np.array_equal(download.wait(), pixels)
    values = [1 / 3, -7.0, 0.1]
    assert torch.equal(float_tensor(values, device).cpu(), torch.tensor(values))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_stream_never_waits_for_the_gpu(model, dtype):
    smooth = Interpolator(model, CONTEXT, "cuda", dtype=dtype, detect_scenes=False)
    pixels = moving_frames(1, H, W)[0]
    shown = smooth.stream(frames(lambda: pixels), MultiplierSchedule(3))
    for _ in range(6 * CONTEXT):  # page-locked blocks and kernels are made
        next(shown)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3 * PAIRS):
            next(shown)
    finally:
        torch.cuda.set_sync_debug_mode("default")
