"""Protocol `middlebury`: twelve sequences with a true frame between two.

Source: Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011, the set
OTHER. Further frames (frame07 ... frame14) are context where the color set with all frames was
unpacked.
"""

from pathlib import Path

from lift.errors import LiftError
from lift.evaluation.protocols.layout import context, existing, folders_of, root_of
from lift.evaluation.samples import Frame, Sample, TestSet

NAME = "middlebury"
LEFT, RIGHT = 10, 11
LAYOUT = (
    "other-data/Beanbags/frame10.png, frame11.png and other-gt-interp/Beanbags/frame10i11.png, 12 "
    "sequences"
)


def find(root: Path, count: int) -> list[Sample]:
    """frame10i11 of every sequence with a true frame, in the order of names."""
    root = root_of(root, (".",), "other-gt-interp", NAME, LAYOUT)
    samples = []
    for folder in folders_of(root / "other-gt-interp"):
        data = root / "other-data" / folder.name
        frames = [data / f"frame{k:02d}.png" for k in range(20)]
        for k in (LEFT, RIGHT):
            existing(frames[k])
        first, stop = LEFT, RIGHT + 1
        while frames[first - 1].is_file():
            first -= 1
        while stop < len(frames) and frames[stop].is_file():
            stop += 1
        truth = existing(folder / "frame10i11.png").path
        indices, times, left = context(LEFT, RIGHT, 1, count, first, stop)
        paths = tuple(Frame(frames[k]) for k in indices)
        samples.append(Sample(folder.name, "", paths, tuple(times), left, Frame(truth)))
    if not samples:
        raise LiftError(f"{root} has no sequence; protocol {NAME} reads {LAYOUT}")
    return samples


MIDDLEBURY = TestSet(
    name=NAME,
    description="12 sequences (OTHER), frame10i11 from frame10 and frame11 at t = 0.5, context "
    "frame09, frame12, ... where there are; IE: root mean square of 8-bit differences; MAE: the "
    "mean absolute difference that RIFE's script prints as IE",
    find=find,
    count=12,
    context_frames=8,
    metrics=("nie", "mae"),
    layout=LAYOUT,
)
