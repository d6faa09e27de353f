"""Protocols that cut windows from folders of frames: `davis`, `gopro` and `adobe240`.

Sources: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation" (DAVIS), CVPR 2016; Nah et al., "Deep Multi-scale Convolutional Neural Network for
Dynamic Scene Deblurring" (GoPro), CVPR 2017; Su et al., "Deep Video Deblurring for Hand-held
Cameras" (Adobe240), CVPR 2017. The windows are those of Kalluri et al., "FLAVR", WACV 2023.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lift.errors import LiftError
from lift.evaluation.protocols import published
from lift.evaluation.protocols.layout import context, folders_of, root_of, sample_of
from lift.evaluation.protocols.preparation import centre_cropped
from lift.evaluation.samples import Sample, TestSet
from lift.io.frame_folder import FrameFolder, is_frame_folder

WINDOW = 7  # frames of DAVIS
GAP = 8  # frames between the references of GoPro and Adobe240: seven targets
DAVIS_LAYOUT = "JPEGImages/480p/bear/00000.jpg, ..., or the folder 480p itself"
GOPRO_LAYOUT = "test/GOPR0384_11_00/000001.png, ... (or sharp/000001.png below the clip)"
ADOBE240_LAYOUT = "frame/test/IMG_0030/0.png, 1.png, ..."


def find_davis(root: Path, count: int) -> list[Sample]:
    """Frame 4 of 7 from 1, 3, 5, 7, windows every second frame; groups are the clips."""
    places = ("JPEGImages/480p", "480p", "DAVIS/JPEGImages/480p", ".")
    root = root_of(root, places, "*/*0.jpg", "davis", DAVIS_LAYOUT)
    samples = []
    for clip, files in _clips(root, "davis", DAVIS_LAYOUT):
        for first in range(0, len(files) - WINDOW + 1, 2):
            target = first + WINDOW // 2
            inputs = context(target - 1, target + 1, 2, count, first, first + WINDOW)
            samples.append(sample_of(f"{clip}/{files[target].stem}", clip, files, target, inputs))
    return samples


def find_gopro(root: Path, count: int) -> list[Sample]:
    """Seven frames between frames 8 apart of the test clips; groups are the clips."""
    root = root_of(root, ("test", "."), "*/**/*0.png", "gopro", GOPRO_LAYOUT)
    return _between(root, count, "gopro", GOPRO_LAYOUT)


def find_adobe240(root: Path, count: int) -> list[Sample]:
    """As `find_gopro`."""
    places = ("frame/test", "test", ".")
    root = root_of(root, places, "*/*0.png", "adobe240", ADOBE240_LAYOUT)
    return _between(root, count, "adobe240", ADOBE240_LAYOUT)


def _between(root: Path, count: int, protocol: str, layout: str) -> list[Sample]:
    samples = []
    for clip, files in _clips(root, protocol, layout):
        # as FLAVR: intervals with a further input frame on either side
        for left in range(GAP, len(files) - 2 * GAP, GAP):
            inputs = context(left, left + GAP, GAP, count, stop=len(files))
            for target in range(left + 1, left + GAP):
                name = f"{clip}/{files[target].stem}"
                samples.append(sample_of(name, clip, files, target, inputs))
    return samples


def _clips(root: Path, protocol: str, layout: str) -> Iterator[tuple[str, Sequence[Path]]]:
    """Name and frames of each clip, sharp frames where there are blurred ones too."""
    if (root / "train").is_dir() or (root / "test").is_dir():
        raise LiftError(f"{root} holds splits and not clips; protocol {protocol} reads {layout}")
    for folder in folders_of(root):
        frames = folder / "sharp" if (folder / "sharp").is_dir() else folder
        if is_frame_folder(frames):
            yield folder.name, FrameFolder(frames).files


DAVIS = TestSet(
    name="davis",
    description="windows of 7 frames, every second one of a clip, frame 4 from 3 and 5 at t = 0.5, "
    "context 1 and 7; centre crop of 848x480",
    find=find_davis,
    prepare=centre_cropped(480, 848, "davis"),
    count=2849,
    context_frames=4,
    layout=DAVIS_LAYOUT,
    published={
        "FLAVR": published.whole_set(published.FLAVR, 27.43, inputs=4),
        "VRT": published.whole_set(published.VRT, 27.88, inputs=4),
        "ST-MFNet": published.whole_set(published.THIRD_PARTY, 28.29, inputs=4),
        "VFIT-B": published.whole_set(published.THIRD_PARTY, 28.09, inputs=4),
    },
)


def _eightfold(name: str, find: Callable[[Path, int], list[Sample]], layout: str) -> TestSet:
    return TestSet(
        name=name,
        description="seven frames between references 8 apart, t = k/8, context every 8th frame, "
        "intervals with a further input frame on either side; centre crop of 512x512",
        find=find,
        prepare=centre_cropped(512, 512, name),
        context_frames=None,
        layout=layout,
    )


GOPRO = _eightfold("gopro", find_gopro, GOPRO_LAYOUT)
ADOBE240 = _eightfold("adobe240", find_adobe240, ADOBE240_LAYOUT)
