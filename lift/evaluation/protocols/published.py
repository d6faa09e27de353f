"""Where the published scores come from."""

from lift.evaluation.samples import Published

RIFE = "Huang et al., ECCV 2022"
IFRNET = "Kong et al., CVPR 2022"
UPR_NET = "Jin et al., CVPR 2023"
EMA_VFI = "Zhang et al., CVPR 2023"  # with flip ensemble
VFIMAMBA = "Zhang et al., NeurIPS 2024"  # also trained on X-TRAIN
FLAVR = "Kalluri et al., WACV 2023"
VRT = "Liang et al., TIP 2024"
EMA_VFI_RERUN = "re-run with down-scaled flow by Zhang et al., CVPR 2023"
THIRD_PARTY = "a third-party table"


def whole_set(
    source: str, psnr: float, ssim: float | None = None, inputs: int = 2
) -> tuple[Published, ...]:
    """A score on the whole set, as the tuple that `TestSet.published` holds."""
    return (Published(psnr, ssim, source, inputs=inputs),)


def by_group(source: str, **psnrs: float) -> tuple[Published, ...]:
    """PSNR by group."""
    return tuple(Published(psnr, None, source, group) for group, psnr in psnrs.items())
