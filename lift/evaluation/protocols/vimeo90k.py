"""Protocols `vimeo_triplet` and `vimeo_septuplet`: the official test lists of Vimeo-90K.

Source: Xue et al., "Video Enhancement with Task-Oriented Flow", IJCV 2019. The four inputs of the
septuplets are those of Kalluri et al., "FLAVR", WACV 2023.
"""

from pathlib import Path

from lift.evaluation.protocols import published
from lift.evaluation.protocols.layout import context, existing, listed, root_of, sample_of
from lift.evaluation.protocols.preparation import exactly
from lift.evaluation.samples import Sample, TestSet

TRIPLET, SEPTUPLET = "vimeo_triplet", "vimeo_septuplet"
LISTS = {TRIPLET: "tri_testlist.txt", SEPTUPLET: "sep_testlist.txt"}
LAYOUTS = {name: f"{LISTS[name]} and sequences/00001/0001/im1.png, im2.png, ..." for name in LISTS}


def _find(root: Path, count: int, name: str, frames: int, target: int, stride: int) -> list[Sample]:
    """Frame `target` from the frames beside it and every `stride`-th one beyond, all from 1."""
    root = root_of(root, (".", name), LISTS[name], name, LAYOUTS[name])
    inputs = context(target - 1, target + 1, stride, count, first=1, stop=frames + 1)
    sequences = root / "sequences"
    if not sequences.is_dir() and (root / "target").is_dir():  # the archive of test triplets alone
        sequences = root / "target"
    samples = []
    for line in listed(root / LISTS[name]):
        folder = sequences / line
        files = [folder / f"im{k}.png" for k in range(frames + 1)]
        for k in (*inputs[0], target):
            existing(files[k])
        samples.append(sample_of(line, "", files, target, inputs))
    return samples


def find_triplets(root: Path, count: int) -> list[Sample]:
    """im1, im3 -> im2, in the order of tri_testlist.txt."""
    return _find(root, count, TRIPLET, frames=3, target=2, stride=2)


def find_septuplets(root: Path, count: int) -> list[Sample]:
    """im1, im3, im5, im7 -> im4, in the order of sep_testlist.txt."""
    return _find(root, count, SEPTUPLET, frames=7, target=4, stride=2)


VIMEO_TRIPLET = TestSet(
    name=TRIPLET,
    description="3782 triplets of 448x256 (tri_testlist.txt), im2 from im1 and im3 at t = 0.5",
    find=find_triplets,
    prepare=exactly(256, 448, TRIPLET),
    count=3782,
    layout=LAYOUTS[TRIPLET],
    published={
        "RIFE": published.whole_set(published.RIFE, 35.61),
        "IFRNet": published.whole_set(published.IFRNET, 35.80),
        "IFRNet-L": published.whole_set(published.IFRNET, 36.20),
        "UPR-Net LARGE": published.whole_set(published.UPR_NET, 36.42),
        "EMA-VFI": published.whole_set(published.EMA_VFI, 36.64),
        "VFIMamba": published.whole_set(published.VFIMAMBA, 36.64),
    },
)
VIMEO_SEPTUPLET = TestSet(
    name=SEPTUPLET,
    description="7824 septuplets of 448x256 (sep_testlist.txt), im4 from im3 and im5 at t = 0.5, "
    "context im1 and im7",
    find=find_septuplets,
    prepare=exactly(256, 448, SEPTUPLET),
    count=7824,
    context_frames=4,
    layout=LAYOUTS[SEPTUPLET],
    published={
        "IFRNet, trained on septuplets": published.whole_set(published.THIRD_PARTY, 36.37),
        "FLAVR": published.whole_set(published.FLAVR, 36.25, inputs=4),
        "VRT": published.whole_set(published.VRT, 36.53, inputs=4),
        "ST-MFNet": published.whole_set(published.THIRD_PARTY, 36.51, inputs=4),
        "VFIT-B": published.whole_set(published.THIRD_PARTY, 36.96, inputs=4),
        "JNMR": published.whole_set(published.THIRD_PARTY, 37.19, inputs=4),
    },
)
