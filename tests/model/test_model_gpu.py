"""The model on a GPU: streams with fused kernels and CUDA graphs, and resumed training."""

import csv

import pytest
import torch

from lift.config import tiny
from lift.model.lift import LIFT
from tests.support.models import wake

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module", autouse=True)
def whole_products():
    """TF32 rounds more than anything that is compared here."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def made(kernels: str, **options) -> list[torch.Tensor]:
    """Frames that a stream makes, three from two, with context of five."""
    interpolator = pytest.importorskip("lift.video.interpolator").Interpolator
    torch.manual_seed(0)
    model = wake(LIFT(tiny(), kernels)).cuda().eval()
    scene = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 15), (76, 120), mode="bicubic")[
        0
    ].clamp(0, 1)
    frames = [scene[:, 2:66, 3 * i : 3 * i + 100] for i in range(6)]
    shown = interpolator(model, context_frames=5, detect_scenes=False, **options).frames(frames, 3)
    return [frame for k, frame in enumerate(shown) if k % 3]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_recorded_streams_are_the_plain_ones(kernels, dtype):
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    for found, plain in zip(
        made(kernels, dtype=dtype, cuda_graph=True), made(kernels, dtype=dtype), strict=True
    ):
        torch.testing.assert_close(found, plain, atol=tolerance, rtol=0)


def test_streams_with_the_fused_kernels_are_the_references():
    for found, reference in zip(made("auto"), made("reference"), strict=True):
        torch.testing.assert_close(found, reference, atol=1e-3, rtol=0)


@pytest.mark.parametrize("amp", ["off", "bfloat16", "float16"])
def test_training_that_is_interrupted_ends_like_training_that_is_not(amp, tmp_path, monkeypatch):
    """Up to the order of sums, which a GPU does not keep."""
    for name in ("cv2", "safetensors"):
        pytest.importorskip(name)
    from lift.training.loop import train
    from tests.support.training_runs import run_config, stop_after

    def run(name):
        return train(run_config(tmp_path / name, device="cuda", amp=amp))

    def losses(name):
        with open(tmp_path / name / "curve.csv", newline="") as file:
            return [float(row["loss"]) for row in csv.DictReader(file) if row.get("loss")]

    assert run("whole").step == 6
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert run("interrupted").step == 3
    assert run("interrupted").step == 6
    tolerance = 1e-3 if amp == "off" else 5e-2
    assert losses("whole")
    assert losses("interrupted") == pytest.approx(losses("whole"), rel=tolerance)
