"""Training losses: Laplacian pyramid and census of the frame, and supervision of every flow scale.

Sources: Laplacian pyramid loss, Bojanowski et al., "Optimizing the Latent Space of Generative
Networks", ICML 2018, as frame interpolation uses it since Niklaus and Liu, CVPR 2018; census
(ternary) loss, Meister et al., "UnFlow", AAAI 2018.
"""

import torch
import torch.nn.functional as F

from lift import kernels
from lift.config import TrainConfig
from lift.data.clip import Batch
from lift.model.alignment import luma
from lift.model.types import FlowEstimate, Prediction

LEVELS, COARSE_LEVELS = 5, 3  # bands of the Laplacian pyramid at full and at quarter resolution
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
    rest = (
        (frame - target).float().flatten(0, 1).unsqueeze(1)
    )  # (B C, 1, H, W): one kernel for all channels
    kernel, loss = _binomial(rest), 0.0
    for _ in range(levels):
        down = _reduce(rest, kernel)
        loss = loss + (rest - _expand(down, kernel, rest.shape[-2:])).abs().mean()
        rest = down
    return loss + rest.abs().mean()


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
    """(N, 1, H, W) -> (N, 1, H / 2, W / 2) rounded up: every second pixel of the blurred image."""
    return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernel, stride=2)


def _expand(image: torch.Tensor, kernel: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, 1, h, w) -> (N, 1, H, W), the inverse of the sampling in `_reduce`."""
    wide = F.conv_transpose2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 4 * kernel, stride=2)
    return wide[..., 4 : 4 + size[0], 4 : 4 + size[1]]


# -- census ----------------------------------------------------------------------------------------

# Half of the 7 x 7 window: the offset (-y, -x) pairs the same pixels as (y, x).
_OFFSETS = tuple((y, x) for y in range(4) for x in range(-3, 4) if y > 0 or x > 0)


def census_loss(frame: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Soft Hamming distance of the ternary 7 x 7 census transforms.

    It ignores brightness and is robust to outliers.

    Args:
        frame, target: (B, 3, H, W), RGB in [0, 1], larger than 3 pixels each way.

    Returns:
        (), float32, in [0, 1): the mean over all pairs of pixels at most 3 apart in x and y.
    """
    _check_same("census_loss", frame, target)
    if frame.shape[1] != 3 or min(frame.shape[-2:]) < 4:
        raise ValueError(
            "census_loss: frame must be (B, 3, H, W) with H and W larger than 3, "
            f"got {tuple(frame.shape)}"
        )
    lumas = (luma(image.float()).squeeze(1) for image in (frame, target))
    return _Census.apply(*lumas)


def _census_pair(frame: torch.Tensor, target: torch.Tensor, y: int, x: int):
    """Views of the first and the second pixel of every pair at offset (y, x), of both images."""
    H, W = frame.shape[-2:]
    first = (..., slice(0, H - y), slice(max(0, -x), W - max(0, x)))
    second = (..., slice(y, H), slice(max(0, x), W - max(0, -x)))
    return first, second


class _Census(torch.autograd.Function):
    """Loss and gradient in one pass over the 24 offsets, in place.

    Autograd would save about two hundred images.
    """

    SOFT = (0.9 / 255) ** 2  # softening of the ternary transform, for images in [0, 1]
    HALF = 0.1  # squared difference at which the soft Hamming distance is a half

    @staticmethod
    def forward(ctx, frame: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss, count = frame.new_zeros(()), 0
        gradient = torch.zeros_like(frame)
        for y, x in _OFFSETS:
            first, second = _census_pair(frame, target, y, x)
            d = frame[second] - frame[first]
            norm = (d * d).add_(_Census.SOFT).rsqrt_()
            true = target[second] - target[first]
            true.mul_((true * true).add_(_Census.SOFT).rsqrt_())
            s = d.mul_(norm).sub_(true)  # difference of the two soft ternary digits
            square = s * s
            inverse = (square + _Census.HALF).reciprocal_()
            loss += square.mul_(inverse).sum()
            count += s.numel()
            slope = inverse.square_().mul_(s).mul_(norm).mul_(norm).mul_(norm)
            gradient[second].add_(slope)
            gradient[first].sub_(slope)
        ctx.save_for_backward(gradient.mul_(2 * _Census.HALF * _Census.SOFT / count))
        return loss / count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: torch.Tensor):
        if ctx.needs_input_grad[1]:
            raise RuntimeError("census_loss: the target must not require a gradient")
        return grad * ctx.saved_tensors[0], None


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


def coarse_loss(prediction: Prediction, target: torch.Tensor) -> torch.Tensor:
    """Laplacian loss of the quarter-resolution frame (B, 3, h, w).

    The target (B, 3, H, W) is averaged down.
    """
    return laplacian_loss(
        prediction.coarse, area_down(target, 4, prediction.coarse.shape[-2:]), COARSE_LEVELS
    )


def estimates(prediction: Prediction) -> tuple[FlowEstimate, ...]:
    """Every scale of the cascade, the quarter resolution last."""
    return (*prediction.cascade, FlowEstimate(prediction.state, 4))


def cascade_loss(prediction: Prediction, batch: Batch) -> torch.Tensor:
    """Mean absolute error of the references warped and blended by each scale's own estimate.

    The errors of all scales are summed.
    """
    loss = 0.0
    for e in estimates(prediction):
        size = e.flow_t0.shape[-2:]
        image0, image1, target = (
            area_down(image, e.scale, size) for image in (*batch.clip.references, batch.target)
        )
        blended = kernels.warp_blend(
            image0, image1, e.flow_t0.float(), e.flow_t1.float(), e.occ_t0.float(), e.occ_t1.float()
        )
        loss = loss + (blended - target).abs().mean()
    return loss


def flow_loss(prediction: Prediction, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Supervision by the true motion, where a clip has it.

    Returns:
        flow: (), the end-point error in pixels of each scale, the mean over points that are
            visible, summed over the scales.
        visibility: (), the cross-entropy of the blend weights over points that only one reference
            sees, summed over the scales. Points that both see are left to the other losses: there
            the better weight depends on how good each flow is.
    """
    flow_total = visibility_total = prediction.flow_t0.new_zeros((), dtype=torch.float32)
    known = batch.flow_known.float().view(-1, 1, 1, 1)
    for e in estimates(prediction):
        size = e.flow_t0.shape[-2:]
        true = area_down(batch.flow, e.scale, size, "constant") / e.scale
        seen = area_down(batch.visible, e.scale, size, "constant")
        mask = (seen > VISIBLE).float() * known  # (B, 2, h, w)
        error = torch.stack(
            (e.flow_t0.float() - true[:, :2], e.flow_t1.float() - true[:, 2:]), 1
        )  # (B, 2, 2, h, w)
        distance = (error.square().sum(2) + 1e-6).sqrt()
        flow_total = flow_total + (distance * mask).sum() / mask.sum().clamp(min=1)

        only = mask * (seen.flip(1) < 1 - VISIBLE).float()  # visible in one reference only
        log_weights = F.log_softmax(F.logsigmoid(e.state[:, 4:].float()), 1)
        visibility_total = visibility_total - (log_weights * only).sum() / only.sum().clamp(min=1)
    return flow_total, visibility_total


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
    parts = {"laplacian": (1.0, laplacian_loss(prediction.frame, batch.target))}
    if config.census_weight:
        parts["census"] = config.census_weight, census_loss(prediction.frame, batch.target)
    if config.coarse_weight:
        parts["coarse"] = config.coarse_weight, coarse_loss(prediction, batch.target)
    if config.cascade_weight:
        parts["cascade"] = config.cascade_weight, cascade_loss(prediction, batch)
    if config.flow_weight:
        flow, visibility = flow_loss(prediction, batch)
        parts |= {
            "flow": (config.flow_weight, flow),
            "visibility": (config.flow_weight, visibility),
        }
    loss = sum(weight * part for weight, part in parts.values())
    scalars = {"loss": loss.detach()} | {name: part.detach() for name, (_, part) in parts.items()}
    scalars["psnr"] = batch_psnr(prediction.frame.detach(), batch.target).mean()
    return loss, scalars


def batch_psnr(frame: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each image of a batch, (B, C, H, W) in [0, 1] -> (B,); at most 100."""
    error = (frame.float().clamp(0, 1) - target.float()).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp(min=1e-10))


def _check_same(name: str, frame: torch.Tensor, target: torch.Tensor) -> None:
    if frame.ndim != 4 or frame.shape != target.shape:
        raise ValueError(
            f"{name}: frame and target must have one shape (B, C, H, W), "
            f"got {tuple(frame.shape)} and {tuple(target.shape)}"
        )
