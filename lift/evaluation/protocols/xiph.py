"""Protocols `xiph_2k` and `xiph_4k`: eight clips of 4096 × 2160, every second frame.

Source: Niklaus and Liu, "Softmax Splatting for Video Frame Interpolation", CVPR 2020.
"""

from pathlib import Path

from lift.evaluation.protocols import published
from lift.evaluation.protocols.layout import context, existing, root_of, sample_of
from lift.evaluation.protocols.preparation import (
    Prepare,
    area_resized,
    both,
    centre_cropped,
    exactly,
)
from lift.evaluation.samples import Sample, TestSet

CLIPS = (
    "BoxingPractice",
    "Crosswalk",
    "DrivingPOV",
    "FoodMarket",
    "FoodMarket2",
    "RitualDance",
    "SquareAndTimelapse",
    "Tango",
)
FRAMES = 100
TARGETS = range(2, 99, 2)
LAYOUT = f"{CLIPS[0]}-001.png ... {CLIPS[-1]}-100.png, 4096x2160, 100 frames of each of 8 clips"


def find(root: Path, count: int) -> list[Sample]:
    """Frames 2, 4, ... 98 of each clip from the odd frames; groups are the clips."""
    root = root_of(root, (".", "netflix", "frames"), f"{CLIPS[0]}-001.png", "xiph", LAYOUT)
    samples = []
    for clip in CLIPS:
        files = [root / f"{clip}-{k:03d}.png" for k in range(FRAMES + 1)]
        for target in TARGETS:
            inputs = context(target - 1, target + 1, 2, count, first=1, stop=FRAMES + 1)
            for k in (target, *inputs[0]):
                existing(files[k])
            samples.append(sample_of(f"{clip}/{target:03d}", clip, files, target, inputs))
    return samples


def _xiph(name: str, prepared: str, prepare: Prepare, scores: dict) -> TestSet:
    return TestSet(
        name=name,
        description="frames 2, 4, ... 98 of the first 100 of 8 clips, frame k from k-1 and k+1 at "
        f"t = 0.5, context k±3, k±5, ...; {prepared}",
        find=find,
        prepare=both(exactly(2160, 4096, name), prepare),
        count=len(CLIPS) * len(TARGETS),
        context_frames=None,
        layout=LAYOUT,
        published=scores,
    )


XIPH_2K = _xiph(
    "xiph_2k",
    "area-resized to 2048x1080",
    area_resized(1080, 2048, "xiph_2k"),
    {
        "RIFE": published.whole_set(published.EMA_VFI_RERUN, 36.19),
        "IFRNet": published.whole_set(published.EMA_VFI_RERUN, 36.00),
        "EMA-VFI": published.whole_set(published.EMA_VFI, 36.90),
    },
)
XIPH_4K = _xiph(
    "xiph_4k",
    "centre crop of 2048x1080 from 4096x2160",
    centre_cropped(1080, 2048, "xiph_4k"),
    {
        "RIFE": published.whole_set(published.EMA_VFI_RERUN, 33.76),
        "IFRNet": published.whole_set(published.EMA_VFI_RERUN, 33.99),
        "EMA-VFI": published.whole_set(published.EMA_VFI, 34.67),
    },
)
