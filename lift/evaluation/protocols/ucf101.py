"""Protocol `ucf101`: 379 triplets of 256 × 256 from UCF101, the field's test set.

Chosen by Liu et al., "Video Frame Synthesis using Deep Voxel Flow", ICCV 2017. A triplet is a
folder with a number for its name: frame_00.png, frame_01_gt.png (the truth) and frame_02.png.
"""

from pathlib import Path

from lift.errors import LiftError
from lift.evaluation.protocols import published
from lift.evaluation.protocols.layout import existing, folders_of, root_of
from lift.evaluation.protocols.preparation import exactly
from lift.evaluation.samples import Sample, TestSet

NAME = "ucf101"
FILES = ("frame_00.png", "frame_01_gt.png", "frame_02.png")
LAYOUT = f"folders 1, 11, 21, ... with {', '.join(FILES)}"
DESCRIPTION = (
    "379 triplets of 256x256 (Deep Voxel Flow's test set of UCF101), frame_01_gt from frame_00 and "
    "frame_02 at t = 0.5; PSNR over all pixels and channels with the MSE floored at 0.01, of 8-bit "
    "frames and of unrounded ones; SSIM of 8-bit frames, Gaussian sigma 1.5, population variance, "
    "channel mean; means over the triplets"
)


def find(root: Path, count: int) -> list[Sample]:
    """The triplets in a folder, in the order of their numbers.

    Raises:
        LiftError: no folder with a number for its name, or a frame is missing.
    """
    root = root_of(root, (".", "ucf101_interp_ours"), "[0-9]*", NAME, LAYOUT)
    folders = [folder for folder in folders_of(root) if folder.name.isdecimal()]
    if not folders:
        raise LiftError(f"{root} has no triplet; protocol {NAME} reads {LAYOUT}")
    samples = []
    for folder in folders:
        frame0, truth, frame1 = (existing(folder / name) for name in FILES)
        samples.append(Sample(folder.name, "", (frame0, frame1), (0.0, 1.0), 0, truth))
    return samples


UCF101 = TestSet(
    name=NAME,
    description=DESCRIPTION,
    find=find,
    prepare=exactly(256, 256, NAME),
    count=379,
    layout=LAYOUT,
    published={
        "RIFE": published.whole_set(published.RIFE, 35.28, 0.969),
        "IFRNet": published.whole_set(published.IFRNET, 35.29, 0.969),
        "IFRNet-L": published.whole_set(published.IFRNET, 35.42),
        "EMA-VFI": published.whole_set(published.EMA_VFI, 35.48, 0.970),
        "UPR-Net LARGE": published.whole_set(published.UPR_NET, 35.47, 0.970),
        "VFIMamba": published.whole_set(published.VFIMAMBA, 35.45),
    },
)
