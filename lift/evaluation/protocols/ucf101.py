"""Protocol `ucf101`: 379 triplets of 256 × 256 from UCF101, the field's test set.

Chosen by Liu et al., "Video Frame Synthesis using Deep Voxel Flow", ICCV 2017. A triplet is a
folder with a number for its name: frame_00.png, frame_01_gt.png (the truth) and frame_02.png.
"""

from pathlib import Path

from lift.errors import LiftError
from lift.evaluation.protocols.triplets import Published, Triplet, TripletProtocol

NAME = "ucf101"
FILES = ("frame_00.png", "frame_01_gt.png", "frame_02.png")
DESCRIPTION = (
    "379 triplets of 256x256 (Deep Voxel Flow's test set of UCF101), frame_01_gt from frame_00 and "
    "frame_02 at t = 0.5; PSNR over all pixels and channels with the MSE floored at 0.01, of 8-bit "
    "frames and of unrounded ones; SSIM of 8-bit frames, Gaussian sigma 1.5, population variance, "
    "channel mean; means over the triplets"
)


def find(root: Path) -> list[Triplet]:
    """The triplets in a folder, in the order of their numbers.

    Raises:
        LiftError: no folder with a number for its name, or a frame is missing.
    """
    try:
        folders = [path for path in root.iterdir() if path.name.isdecimal() and path.is_dir()]
    except OSError as error:
        raise LiftError(
            f"{root} cannot be read ({error.strerror}); give the folder of the test set"
        ) from None
    if not folders:
        raise LiftError(
            f"{root} has no triplet; protocol {NAME} needs folders 1, 11, 21, ... with "
            f"{', '.join(FILES)}"
        )
    triplets = []
    for folder in sorted(folders, key=lambda path: int(path.name)):
        files = [folder / name for name in FILES]
        if missing := [path.name for path in files if not path.is_file()]:
            raise LiftError(f"{folder} has no {missing[0]}; copy the test set again")
        triplets.append(Triplet(folder.name, *files))
    return triplets


PROTOCOL = TripletProtocol(
    NAME,
    DESCRIPTION,
    find,
    size=(256, 256),
    count=379,
    published={
        "RIFE": Published(35.28, 0.969, "Huang et al., ECCV 2022"),
        "IFRNet": Published(35.29, 0.969, "Kong et al., CVPR 2022"),
        "EMA-VFI": Published(35.48, 0.970, "Zhang et al., CVPR 2023"),
        "UPR-Net LARGE": Published(35.47, 0.970, "Jin et al., CVPR 2023"),
    },
)
