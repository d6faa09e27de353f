"""Protocols `xtest_4k` and `xtest_2k`: seven frames between frames 0 and 32 of 15 fast clips.

Source: Sim et al., "XVFI: eXtreme Video Frame Interpolation", ICCV 2021. Three evaluators are in
use on the same 105 samples, and each has its columns here:

- XVFI's own, 4K: PSNR of 8-bit frames (`psnr`), SSIM of channels (`ssim`, there with a uniform
  window), tOF.
- UPR-Net's, 4K: unrounded frames (`psnr_float`, `ssim_rife`).
- EMA-VFI's, 4K and 2K: 8-bit frames (`psnr`, `ssim_rife`). It leaves the resized truth of 2K
  unrounded; here every frame has 8 bits.
"""

from pathlib import Path

from lift.errors import LiftError
from lift.evaluation.protocols import published
from lift.evaluation.protocols.layout import context, existing, folders_of, root_of, sample_of
from lift.evaluation.protocols.preparation import Prepare, area_resized, both, exactly
from lift.evaluation.samples import Sample, TestSet

LAST = 32  # the right reference
MULTIPLE = 8
LAYOUT = "test/Type1/TEST01_.../0000.png ... 0032.png, 4096x2160, 15 clips in Type1 to Type3"


def find(root: Path, count: int) -> list[Sample]:
    """Frames 4, 8, ... 28 of each clip from frames 0 and 32; groups are Type1, Type2 and Type3."""
    root = root_of(root, ("test", "."), "Type*/*/0000.png", "xtest", LAYOUT)
    inputs = context(0, LAST, LAST, 2, stop=LAST + 1)
    samples = []
    for kind in folders_of(root):
        for clip in folders_of(kind):
            files = [clip / f"{k:04d}.png" for k in range(LAST + 1)]
            for target in range(LAST // MULTIPLE, LAST, LAST // MULTIPLE):
                for k in (0, target, LAST):
                    existing(files[k])
                name = f"{kind.name}/{clip.name}/{target:04d}"
                samples.append(sample_of(name, kind.name, files, target, inputs))
    if not samples:
        raise LiftError(f"{root} has no clip; protocol xtest reads {LAYOUT}")
    return samples


def _xtest(name: str, prepared: str, prepare: Prepare, scores: dict) -> TestSet:
    return TestSet(
        name=name,
        description="frames 4, 8, ... 28 of 15 clips at 1000 frames/s from frames 0 and 32, "
        f"t = k/8; {prepared}",
        find=find,
        prepare=prepare,
        count=105,
        layout=LAYOUT,
        metrics=("tof",),
        published=scores,
    )


XTEST_4K = _xtest(
    "xtest_4k",
    "4096x2160",
    exactly(2160, 4096, "xtest_4k"),
    {
        "RIFE": published.whole_set(published.EMA_VFI, 30.58),
        "IFRNet": published.whole_set(published.EMA_VFI_RERUN, 30.46),
        "UPR-Net LARGE": published.whole_set(published.UPR_NET, 30.50),
        "EMA-VFI": published.whole_set(published.EMA_VFI, 31.46),
    },
)
XTEST_2K = _xtest(
    "xtest_2k",
    "area-resized to 2048x1080",
    both(exactly(2160, 4096, "xtest_2k"), area_resized(1080, 2048, "xtest_2k")),
    {
        "RIFE": published.whole_set(published.EMA_VFI_RERUN, 31.43),
        "IFRNet": published.whole_set(published.EMA_VFI_RERUN, 31.53),
        "EMA-VFI": published.whole_set(published.EMA_VFI, 32.85),
    },
)
