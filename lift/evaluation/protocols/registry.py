"""The test sets by name."""

from lift.evaluation.protocols.middlebury import MIDDLEBURY
from lift.evaluation.protocols.sequences import FRAMES, SEED
from lift.evaluation.protocols.snufilm import SNUFILM
from lift.evaluation.protocols.ucf101 import UCF101
from lift.evaluation.protocols.vimeo90k import VIMEO_SEPTUPLET, VIMEO_TRIPLET
from lift.evaluation.protocols.windows import ADOBE240, DAVIS, GOPRO
from lift.evaluation.protocols.x4k1000fps import XTEST_2K, XTEST_4K
from lift.evaluation.protocols.xiph import XIPH_2K, XIPH_4K
from lift.evaluation.samples import TestSet

TEST_SETS: dict[str, TestSet] = {
    each.name: each
    for each in (
        VIMEO_TRIPLET,
        VIMEO_SEPTUPLET,
        UCF101,
        SNUFILM,
        XIPH_2K,
        XIPH_4K,
        XTEST_2K,
        XTEST_4K,
        MIDDLEBURY,
        DAVIS,
        GOPRO,
        ADOBE240,
        SEED,
        FRAMES,
    )
}
