"""Flows along curved paths, from divided differences and predicted confidences: the definition.

In the notation of `path_inputs`, with l0 = 0 and r0 = 1, the polynomial through all frames up
to lK and rK deviates at time t from the straight line by the sum over k = 1 ... K of

    Pk [(rk - t) Lk + (t - lk) Rk] / (rk - lk),  P1 = t (t - 1),  P(k+1) = Pk (t - lk) (t - rk)

Lk and Rk are the differences of order 2 k of the left and of the right side. Where the last frame
of one side is missing, the other side's difference stands alone. Each difference is multiplied by a
predicted confidence, those above order 2 also by the trust in them: where frames are displaced at
random, by noise or a shaken camera, the differences of both sides have opposite signs, and these
count as far as the sides agree better than that.
"""

import torch
import torch.nn.functional as F

from lift.kernels.ops.path_inputs.reference import differences_valid

WINDOW = 9  # pixels, odd
EPSILON = 1e-8  # squared pixels


def curve_flows_reference(
    predicted: torch.Tensor,
    bias: torch.Tensor | None,
    state: torch.Tensor,
    differences: torch.Tensor,
    times: torch.Tensor,
    valid: torch.Tensor,
    t: torch.Tensor,
    confidence_logit: float,
    largest_weight: float,
    noise_agreement: list[float],
) -> torch.Tensor:
    """A state along curved paths.

    Args:
        predicted: (B, C, h, w), any floating dtype, C >= 2 + G: logits of the confidence in the
            two differences of order 2, the residual of the acceleration, dx and dy, logits of the
            confidence in the other differences.
        bias: (C,), added to `predicted`.
        state: (B, 6, h, w), float32 or float64: dx, dy from the target to the left reference, dx,
            dy to the right one, two logits of visibility.
        differences: (B, G, 2, h, w), what `path_inputs_reference` returns.
        times, valid: (B, G), as there.
        t: (B,), of the target.
        confidence_logit: added to the logits of order 2.
        largest_weight: of a difference above order 2.
        noise_agreement: the agreement of both sides in noise, for each order above 2.

    Returns:
        (B, 6, h, w), dtype of state; its visibilities as they were.
    """
    G = differences.shape[1]
    d = predicted.to(state.dtype)
    if bias is not None:
        d = d + bias.to(state.dtype).view(-1, 1, 1)
    confidence = torch.sigmoid(confidence_logit + d[:, :2])
    if G > 2:
        agreement = side_agreement(differences[:, 2:]).unbind(1)
        above = [a - noise for a, noise in zip(agreement, noise_agreement, strict=False)]
        trust = torch.stack(above, 1).clamp(0, 1).repeat_interleave(2, 1)
        outer = largest_weight * torch.sigmoid(d[:, 4 : 2 + G])
        confidence = torch.cat((confidence, outer * trust), 1)
    weights = path_weights(times, valid, t)[..., None, None] * confidence
    residual = (t * (t - 1) * valid[:, :2].any(1)).view(-1, 1, 1, 1) * d[:, 2:4]
    offset = (weights[:, :, None] * differences).sum(1) + residual
    return torch.cat((state[:, 0:2] - offset, state[:, 2:4] - offset, state[:, 4:]), 1)


def side_agreement(differences: torch.Tensor) -> torch.Tensor:
    """How well the differences of the two sides agree around each pixel, without gradients.

    Where frames are displaced at random the two differences of order n have opposite signs: their
    correlation is -n / (n + 1). Along smooth paths it is near 1.

    Args:
        differences: (B, G, 2, h, w), of `path_inputs_reference`.

    Returns:
        (B, G/2, h, w), by order: their correlation over `WINDOW` squared pixels, -1 to 1; 0 where
        one is not known.
    """
    left, right = differences.detach().unflatten(1, (-1, 2)).unbind(2)
    squares = (left.square() + right.square()).sum(2) / 2
    means = torch.cat(((left * right).sum(2), squares), 1)
    for size in ((WINDOW, 1), (1, WINDOW)):
        pad = size[0] // 2, size[1] // 2
        means = F.avg_pool2d(means, size, 1, pad, count_include_pad=False)
    products, squares = means.chunk(2, 1)
    return products / (squares + EPSILON)


def path_weights(times: torch.Tensor, valid: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Weights of the divided differences in the path's distance from a straight one.

    Args:
        times, valid: (B, G), as in `path_inputs_reference`.
        t: (B,), of the target.

    Returns:
        (B, G), in the order of the differences; 0 where not known.
    """
    valid, t = differences_valid(valid), t[:, None]
    factor, weights = t * (t - 1), []
    for known, ends in zip(valid.split(2, 1), times.split(2, 1), strict=True):
        # of the left side's difference and the right one's; they sum to 1
        shares = (ends.flip(1) - t).abs() / (ends[:, 1:] - ends[:, :1])
        shares = torch.where(known.all(1, keepdim=True), shares, 1.0)
        weights.append(torch.where(known, factor * shares, 0.0))
        factor = factor * (t - ends[:, :1]) * (t - ends[:, 1:])
    return torch.cat(weights, 1)
