"""Protocol `snufilm`: four splits of rising motion, 310 triplets each.

Source: Choi et al., "Channel Attention Is All You Need for Video Frame Interpolation", AAAI 2020.
The frames between which a triplet lies are 2, 4, 8 or 16 apart; context are the frames at the same
distance before and after them, where the set has them.
"""

import re
from pathlib import Path

from lift.data.clip import frames_around
from lift.errors import LiftError
from lift.evaluation.protocols import published
from lift.evaluation.protocols.layout import existing, listed, root_of
from lift.evaluation.samples import Frame, Published, Sample, TestSet

NAME = "snufilm"
SPLITS = ("easy", "medium", "hard", "extreme")
PREFIX = "data/SNU-FILM/"  # of every path in the lists
LISTS = ("eval_modes", ".")
LAYOUT = (
    "test-easy.txt, test-medium.txt, test-hard.txt, test-extreme.txt (or eval_modes/test-*.txt) "
    "and test/GOPRO_test/..., test/YouTube_test/..."
)


def find(root: Path, count: int) -> list[Sample]:
    """The triplets of all splits, in the order of the lists; groups are the splits."""
    lists = root_of(root, LISTS, "test-easy.txt", NAME, LAYOUT)
    samples = []
    for split in SPLITS:
        for number, line in enumerate(listed(lists / f"test-{split}.txt"), 1):
            paths = line.split()
            if len(paths) != 3:
                raise LiftError(
                    f"{lists / f'test-{split}.txt'}: line {number} must have three paths; copy the "
                    "test set again"
                )
            frame0, truth, frame1 = (existing(_located(root, path)).path for path in paths)
            samples.append(_sample(split, frame0, truth, frame1, count))
    return samples


def _located(root: Path, path: str) -> Path:
    """The file that a list names, wherever below the root the set was unpacked."""
    short = path.removeprefix(PREFIX)
    places = (root / path, root / short, root / short.removeprefix("test/"))
    return next((place for place in places if place.is_file()), root / short)


def _sample(split: str, frame0: Path, truth: Path, frame1: Path, count: int) -> Sample:
    before, after = frames_around(count)
    first, target, last = (_number(path) for path in (frame0, truth, frame1))
    gap = last - first
    if not first < target < last:
        raise LiftError(f"{truth} is not between {frame0.name} and {frame1.name}; copy the lists")
    earlier = _neighbours(frame0, -gap, before - 1)[::-1]
    later = _neighbours(frame1, gap, after - 1)
    inputs = [*earlier, frame0, frame1, *later]
    return Sample(
        name=f"{split}/{truth.parent.name}/{truth.stem}",
        group=split,
        inputs=tuple(map(Frame, inputs)),
        times=tuple((_number(path) - first) / gap for path in inputs),
        left=len(earlier),
        truth=Frame(truth),
        t=(target - first) / gap,
    )


def _number(path: Path) -> int:
    digits = re.search(r"\d+$", path.stem)
    if digits is None:
        raise LiftError(f"{path} has no number at the end of its name; copy the test set again")
    return int(digits.group())


def _neighbours(path: Path, step: int, most: int) -> list[Path]:
    """Frames at a distance of step, 2 step, ... that exist, until one is missing."""
    digits = re.search(r"\d+$", path.stem).group()
    found = []
    for k in range(1, most + 1):
        number = int(digits) + k * step
        stem = path.stem[: -len(digits)] + str(number).zfill(len(digits))
        neighbour = path.with_name(stem + path.suffix)
        if number < 0 or not neighbour.is_file():
            break
        found.append(neighbour)
    return found


def _published(source: str, *psnrs: float) -> tuple[Published, ...]:
    return published.by_group(source, **dict(zip(SPLITS, psnrs, strict=True)))


SNUFILM = TestSet(
    name=NAME,
    description="310 triplets in each of four splits (easy, medium, hard, extreme: references 2, "
    "4, 8, 16 frames apart), the middle frame at t = 0.5, context at the same distance",
    find=find,
    count=1240,
    context_frames=None,
    layout=LAYOUT,
    published={
        "RIFE": _published(published.EMA_VFI_RERUN, 39.80, 35.76, 30.36, 25.27),
        "IFRNet": _published(published.IFRNET, 40.03, 35.94, 30.41, 25.05),
        "IFRNet-L": _published(published.IFRNET, 40.10, 36.12, 30.63, 25.27),
        "UPR-Net LARGE": _published(published.UPR_NET, 40.44, 36.29, 30.86, 25.63),
        "EMA-VFI": _published(published.EMA_VFI, 39.98, 36.09, 30.94, 25.69),
        "VFIMamba": _published(published.VFIMAMBA, 40.51, 36.40, 30.99, 25.79),
    },
)
