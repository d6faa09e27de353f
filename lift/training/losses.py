"""Training losses: Laplacian pyramid and census of the frame, and supervision of every flow scale.

Sources: Laplacian pyramid loss, Bojanowski et al., "Optimizing the Latent Space of Generative
Networks", ICML 2018, as frame interpolation uses it since Niklaus and Liu, CVPR 2018; census
(ternary) loss, Meister et al., "UnFlow", AAAI 2018.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lift import kernels
from lift.config import TrainConfig
from lift.data.clip import Batch
from lift.model.types import FlowEstimate, Prediction
from lift.training.distributed import mean_over_processes

LEVELS, COARSE_LEVELS = 5, 3  # bands of the Laplacian pyramid at full and at quarter resolution
MSE_FLOOR = 1e-5  # the MSE at 50 dB; smaller errors hardly count
VISIBLE = 0.99  # share of a coarse pixel that must be visible for its true flow to count


# -- Laplacian pyramid -----------------------------------------------------------------------------


def laplacian_loss(frame: torch.Tensor, target: torch.Tensor, levels: int = LEVELS) -> torch.Tensor:
    """Laplacian pyramid loss: the mean absolute difference of each band, summed over the bands.

    The low-pass rest counts as a band. The pyramid is linear, so one pyramid of the difference is
    enough.

    Args:
        frame, target: (B, C, H, W), any size.
        levels: bands; each halves the size.

    Returns:
        (), float32.
    """
    _check_same("laplacian_loss", frame, target)
    return _pyramid_losses(frame - target, None, levels)[0]


def laplacian_losses(
    prediction: Prediction, target: torch.Tensor, coarse_target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The Laplacian losses of the frame and of the quarter-resolution frame, as one pyramid.

    Args:
        prediction: with frame (B, 3, H, W) and coarse (B, 3, h, w).
        target: (B, 3, H, W).
        coarse_target: (B, 3, h, w), the target averaged down.

    Returns:
        (), (), float32, that of the coarse frame over its COARSE_LEVELS bands.
    """
    _check_same("laplacian_losses", prediction.frame, target)
    _check_same("laplacian_losses", prediction.coarse, coarse_target)
    difference, coarse = prediction.frame - target, prediction.coarse - coarse_target
    return _pyramid_losses(difference, coarse, LEVELS)


def _pyramid_losses(
    difference: torch.Tensor, coarse: torch.Tensor | None, levels: int
) -> tuple[torch.Tensor, ...]:
    """The loss of a difference (B, C, H, W), and that of one of 1/4 of its size, if there is one.

    The second joins the pyramid where it has its size.
    """
    rest = difference.float().flatten(0, 1)[:, None]  # (B C, 1, H, W): one kernel for all channels
    kernel, size = _binomial(rest), rest.numel()
    # A mean is over fewer pixels in each further level, here of values as much larger, so that one
    # sum is over the bands of all levels.
    kernels_by_ratio, alone, joined = {}, [], []
    for level in range(levels):
        if coarse is not None and level == 2:
            joined_size = len(rest) * coarse.shape[-2] * coarse.shape[-1]
            rest = torch.cat((rest, coarse.float().flatten(0, 1)[:, None]))
        h, w = rest.shape[-2:]
        ratio = h * w / ((h + 1) // 2 * ((w + 1) // 2))
        if ratio not in kernels_by_ratio:
            kernels_by_ratio[ratio] = kernel * ratio, kernel * (-4 / ratio)
        reducing, expanding = kernels_by_ratio[ratio]
        down = _reduce(rest, reducing)
        bands = alone if coarse is None or level < 2 else joined
        bands.append(rest + _expand(down, expanding, (h, w)))
        rest = down
    (alone if coarse is None else joined).append(rest)
    total = torch.cat([x.flatten() for x in alone]).abs().sum()
    if coarse is None:
        return (total / size,)
    first, second = torch.cat([x.view(2, -1) for x in joined], 1).abs().sum(1).unbind()
    return (total + first) / size, second / joined_size


def _binomial(like: torch.Tensor) -> torch.Tensor:
    """(1, 1, 5, 5): 1 4 6 4 1 in each direction, of sum 1, exactly.

    Created on the device: a copy from the host would wait for a GPU, and fail in a CUDA graph.
    """
    kernel = like.new_full((1, 1, 5, 5), 1 / 256)
    for rows in (kernel, kernel.mT):
        rows[..., 1:4].mul_(4)
        rows[..., 2].mul_(1.5)
    return kernel


def _reduce(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) -> (N, 1, H / 2, W / 2) rounded up: every second pixel of the blurred image.

    It is scaled by the sum of the kernel.
    """
    return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernel, stride=2)


def _expand(image: torch.Tensor, kernel: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, 1, h, w) -> (N, 1, H, W), the inverse of the sampling in `_reduce`.

    A kernel of sum 4 keeps the scale: a quarter of the pixels are given.
    """
    h, w = image.shape[-2:]
    return F.conv_transpose2d(
        F.pad(image, (1, 1, 1, 1), mode="replicate"),
        kernel,
        stride=2,
        padding=4,
        output_padding=(size[0] + 1 - 2 * h, size[1] + 1 - 2 * w),
    )


# -- PSNR ------------------------------------------------------------------------------------------


def psnr_loss(frame: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean over frames of log(1 + MSE / 1e-5), which is 0 for equal frames.

    It falls as the mean PSNR of frames rises, up to about 50 dB. A frame that is nearly right
    counts as much as one that is far off, while errors of the latter decide a mean of differences.
    (PSNR as the loss of restoration: Chen et al., "Simple Baselines for Image Restoration",
    ECCV 2022.)

    Args:
        frame, target: (B, C, H, W), in [0, 1].

    Returns:
        (), float32.
    """
    _check_same("psnr_loss", frame, target)
    error = F.mse_loss(frame.float(), target.float(), reduction="none").flatten(1).mean(1)
    return (error / MSE_FLOOR).log1p().mean()


# -- census ----------------------------------------------------------------------------------------


def census_loss(frame: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Soft Hamming distance of the ternary 7 x 7 census transforms.

    It ignores brightness and is robust to outliers.

    Args:
        frame, target: (B, 3, H, W), RGB in [0, 1], larger than 3 pixels each way.

    Returns:
        (), float32, in [0, 1): the mean over all pairs of pixels at most 3 apart in x and y.
    """
    _check_same("census_loss", frame, target)
    return kernels.census(frame.float(), target.float())


# -- supervision of the coarser scales -------------------------------------------------------------


def area_down(
    image: torch.Tensor, scale: int, size: tuple[int, int] | None = None, mode: str = "replicate"
) -> torch.Tensor:
    """Average over squares of `scale` pixels.

    Args:
        image: (B, C, H, W).
        scale: full-resolution pixels per pixel of the result.
        size: (h, w) of the result; H / scale and W / scale rounded up when None. The image is
            padded at the right and the bottom.
        mode: how the padding is filled: replicate, or constant for zeros.

    Returns:
        (B, C, h, w), float32.
    """
    H, W = image.shape[-2:]
    h, w = size or (-(-H // scale), -(-W // scale))
    image = image.float()
    if (h * scale, w * scale) != (H, W):
        image = F.pad(image, (0, w * scale - W, 0, h * scale - H), mode=mode)
    return F.avg_pool2d(image, scale)


@dataclass(frozen=True)
class CoarseTruth:
    """A batch at 1/4, 1/8 or 1/16, averaged down; H and W are padded to a multiple of 16 before.

    Attributes:
        maps: (B, 15, h, w), all of the following.
        images: (B, 9, h, w), the left and the right reference and the target, their edge repeated.
        flow: (B, 4, h, w), as `Batch.flow`, in pixels of this scale; zeros beyond the edge.
        visible: (B, 2, h, w), as `Batch.visible`, 0 where the flow is unknown and beyond the edge.
    """

    maps: torch.Tensor

    images = property(lambda self: self.maps[:, :9])
    flow = property(lambda self: self.maps[:, 9:13])
    visible = property(lambda self: self.maps[:, 13:])

    def cropped(self, h: int, w: int) -> "CoarseTruth":
        """Without the padding at the right and the bottom."""
        return CoarseTruth(self.maps[..., :h, :w])


def coarse_truths(batch: Batch) -> dict[int, CoarseTruth]:
    """The truth for the estimates of each scale, by full-resolution pixels per pixel: 4, 8, 16."""
    size = tuple([4 * -(-n // 16) for n in batch.target.shape[-2:]])
    parts = [x.float() for x in (*batch.clip.references, batch.target, batch.flow, batch.visible)]
    if (4 * size[0], 4 * size[1]) == tuple(batch.target.shape[-2:]):
        truth = area_down(torch.cat(parts, 1), 4, size)  # one launch for all
    else:
        modes = ("replicate",) * 3 + ("constant",) * 2
        downs = (area_down(x, 4, size, mode) for x, mode in zip(parts, modes, strict=True))
        truth = torch.cat([*downs], 1)
    truth[:, 13:].mul_(batch.flow_known.view(-1, 1, 1, 1))
    truths = {}
    for scale in (4, 8, 16):
        if scale > 4:
            truth = F.avg_pool2d(truth, 2)
        truth[:, 9:13].mul_(0.25 if scale == 4 else 0.5)  # in pixels of the scale
        truths[scale] = CoarseTruth(truth)
    return truths


def estimates(prediction: Prediction) -> tuple[FlowEstimate, ...]:
    """Every scale of the cascade, the quarter resolution last."""
    return (*prediction.cascade, FlowEstimate(prediction.state, 4))


def cascade_loss(prediction: Prediction, truths: dict[int, CoarseTruth]) -> torch.Tensor:
    """Mean absolute error of the references warped and blended by each scale's own estimate.

    The errors of all scales are summed.

    Args:
        prediction: of the batch.
        truths: as `coarse_truths` returns.
    """
    blends, targets, weights = [], [], []
    for e in estimates(prediction):
        image0, image1, target = truths[e.scale].cropped(*e.state.shape[-2:]).images.split(3, 1)
        motion = e.state.float().split((2, 2, 1, 1), 1)
        blends.append(kernels.warp_blend(image0, image1, *motion).flatten(2))
        targets.append(target.flatten(2))
        weights.append(target.new_full(targets[-1].shape[2:], 1 / target.numel()))
    # the points of all scales, one after another: one weighted sum is the sum of the means
    error = torch.cat(blends, 2) - torch.cat(targets, 2)
    return (error.abs() * torch.cat(weights)).sum()


def flow_loss(
    prediction: Prediction, truths: dict[int, CoarseTruth]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Supervision by the true motion, where a clip has it.

    Args:
        prediction: of the batch.
        truths: as `coarse_truths` returns.

    Returns:
        flow: (), the end-point error in pixels of each scale, the mean over points that are
            visible, summed over the scales.
        visibility: (), the cross-entropy of the blend weights over points that only one reference
            sees, summed over the scales. Points that both see are left to the other losses: there
            the better weight depends on how good each flow is.
    """
    found = [e.state for e in estimates(prediction)]
    true = [truths[e.scale].cropped(*e.state.shape[-2:]) for e in estimates(prediction)]
    # the points of all scales, one after another: (B, channels, points)
    flows, logits = torch.cat([x.flatten(2) for x in found], 2).float().split((4, 2), 1)
    true_flows, seen = torch.cat([x.maps[:, 9:].flatten(2) for x in true], 2).split((4, 2), 1)

    squares = F.mse_loss(flows, true_flows, reduction="none").unflatten(1, (2, 2))
    distance = (squares.sum(2) + 1e-6).sqrt()  # (B, 2, points)
    log_weights = F.log_softmax(F.logsigmoid(logits), 1)
    visible = seen > VISIBLE  # (B, 2, points)
    only = visible & (seen.flip(1) < 1 - VISIBLE)  # visible in one reference only

    addends = torch.stack((distance * visible, -log_weights * only, visible, only))
    scales = addends.split([x[0, 0].numel() for x in found], 3)
    sums = torch.stack([x.sum((1, 2, 3)) for x in scales])  # (scales, 4)
    counts = sums[:, 2:].detach()  # or autograd would compute their gradients too
    if torch.is_grad_enabled():  # in training: the points of all processes are those of one batch
        counts = mean_over_processes(counts)
    return (sums[:, :2] / counts.clamp(min=1e-3)).sum(0).unbind()


# -- all together ----------------------------------------------------------------------------------


def total_loss(
    prediction: Prediction, batch: Batch, config: TrainConfig
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The weighted sum of all losses.

    Args:
        prediction: of `batch.clip` at `batch.t`.
        batch: the truth.
        config: the loss weights; `flow_weight` is also that of the visibility; 0 leaves a
            loss out.

    Returns:
        loss: (), float32.
        scalars: name -> (), detached: loss, each loss before its weight, and the PSNR of the batch
            in dB.
    """
    frame, target = prediction.frame, batch.target
    weights = {
        "laplacian": 1.0,
        "psnr_loss": config.psnr_weight,
        "census": config.census_weight,
        "coarse": config.coarse_weight,
        "cascade": config.cascade_weight,
        "flow": config.flow_weight,
        "visibility": config.flow_weight,
    }
    truths = {}
    if config.coarse_weight or config.cascade_weight or config.flow_weight:
        truths = coarse_truths(batch)
    parts = {}
    if config.coarse_weight:
        small = truths[4].cropped(*prediction.coarse.shape[-2:]).images[:, 6:]
        parts["laplacian"], parts["coarse"] = laplacian_losses(prediction, target, small)
    else:
        parts["laplacian"] = laplacian_loss(frame, target)
    if config.psnr_weight:
        parts["psnr_loss"] = psnr_loss(frame, target)
    if config.census_weight:
        parts["census"] = census_loss(frame, target)
    if config.cascade_weight:
        parts["cascade"] = cascade_loss(prediction, truths)
    if config.flow_weight:
        parts["flow"], parts["visibility"] = flow_loss(prediction, truths)
    loss = parts["laplacian"]
    for name in [*parts][1:]:
        loss = torch.add(loss, parts[name], alpha=weights[name])
    scalars = {"loss": loss.detach()} | {name: part.detach() for name, part in parts.items()}
    scalars["psnr"] = batch_psnr(frame.detach(), target).mean()
    return loss, scalars


def batch_psnr(frame: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each image of a batch, (B, C, H, W) in [0, 1] -> (B,); at most 100."""
    error = F.mse_loss(frame.float().clamp(0, 1), target.float(), reduction="none")
    error = error.flatten(1).mean(1)
    return -10 * torch.log10(error.clamp(min=1e-10))


def _check_same(name: str, frame: torch.Tensor, target: torch.Tensor) -> None:
    if frame.ndim != 4 or frame.shape != target.shape:
        raise ValueError(
            f"{name}: frame and target must have one shape (B, C, H, W), "
            f"got {tuple(frame.shape)} and {tuple(target.shape)}"
        )
