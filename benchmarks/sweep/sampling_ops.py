"""Random calls of the ops that other models take most: warps, grid_sample, correlation, attention.

Each function takes a `Draw` and returns what `Drawn` describes.
"""

import torch

from benchmarks.sweep.draw import Draw, Drawn

# Pixels, to either side of a jump; a grid in float32 is off by some millionths itself.
FLOW_STEP = torch.full((1, 2, 1, 1), 1e-9, dtype=torch.float64)
GRID_STEP = 5e-5


def _accumulate(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _spoil(draw: Draw, x: torch.Tensor) -> torch.Tensor:
    """x, seldom with a value that is not finite, which must stay where it is sampled."""
    if x.numel() and draw.chance(0.04):
        draw.notes["spoilt"] = "yes"
        x.view(-1)[draw.between(0, x.numel() - 1)] = draw.one((float("nan"), float("inf")))
    return x


def _sides(H: int, W: int, *positions: int) -> dict[int, torch.Tensor]:
    """The largest coordinates of the flows at some positions, in pixels."""
    return {i: torch.tensor([W, H]).view(1, 2, 1, 1) for i in positions}


def warp(draw: Draw) -> Drawn:
    dtype, B, C = draw.dtype(), draw.batch(), draw.channels()
    H, W = draw.size(smallest=0)
    image = draw.features(dtype, B, C, H, W)
    flow = draw.flow(B, H, W, dtype)
    if "whole" not in draw.notes["flow"]:  # at a whole pixel 0 times NaN would count or not
        image = _spoil(draw, image)
    arguments = [draw.lay(image), draw.lay(flow)]
    kinks = {1: FLOW_STEP} if "whole" in draw.notes["flow"] else {}
    return Drawn("warp", arguments, (0, 1), kinks, coordinates=_sides(H, W, 1))


def warp_blend(draw: Draw) -> Drawn:
    dtype, B, C = draw.dtype(), draw.batch(), draw.channels()
    H, W = draw.size(smallest=0)
    images = [draw.features(dtype, B, C, H, W) for _ in range(2)]
    flows = [draw.flow(B, H, W, dtype) for _ in range(2)]
    scale = draw.one((1.0, 1.0, 20.0, 1e4))
    occs = [(scale * draw.noise(B, 1, H, W)).to(_accumulate(dtype)) for _ in range(2)]
    arguments = [draw.lay(x) for x in (*images, *flows, *occs)]
    whole = "whole" in draw.notes["flow"]
    kinks = {2: FLOW_STEP, 3: FLOW_STEP} if whole else {}
    coordinates = _sides(H, W, 2, 3)
    return Drawn("warp_blend", arguments, tuple(range(6)), kinks, coordinates=coordinates)


def grid_sample(draw: Draw) -> Drawn:
    dtype, B, C = draw.dtype(), draw.batch(), draw.channels()
    (H, W), (h, w) = draw.size(), draw.size(smallest=0)
    mode = draw.one(("bilinear", "bilinear", "nearest"))
    padding, align = draw.one(("zeros", "border", "reflection")), draw.chance(0.5)
    draw.notes |= {"mode": mode, "padding": padding, "align_corners": str(align)}
    size = torch.tensor([W, H], dtype=torch.float32).view(1, 2, 1, 1)
    kinds = {"near": 6, "far": 3, "whole": 2 if mode == "bilinear" else 0, "special": 1}
    kind = draw.weighted(kinds)
    draw.notes["flow"] = kind
    at = draw.pixels(B, h, w, kind) + (size / 2).floor()
    if mode == "nearest":  # which jumps half way between pixels
        at = at - 0.5
    if kind == "special" and padding != "border":
        # Beyond the precision of float32 a reflection is any pixel; NaN stays NaN with zeros.
        at = torch.where(at.abs() < 1e6, at, size + 3.5 - 0.3 * draw.uniform(B, 2, h, w))
    extent = size - 1 if align else size
    grid = (2 * at if align else 2 * at + 1) / extent.clamp(min=1) - 1
    grid = grid.to(_accumulate(dtype)).permute(0, 2, 3, 1).contiguous()
    arguments = [draw.lay(draw.features(dtype, B, C, H, W)), draw.lay(grid)]
    coordinates = {1: torch.full((2,), 2.0)}
    kinks = {1: 2 * GRID_STEP / extent.clamp(min=1).flatten()} if kind == "whole" else {}
    return Drawn(
        "grid_sample", [*arguments, mode, padding, align], (0, 1), kinks, coordinates=coordinates
    )


def correlation(draw: Draw) -> Drawn:
    dtype, B, C = draw.dtype(), draw.batch(), draw.channels()
    H, W = draw.size(smallest=0)
    radius = draw.one((0, 1, 1, 2) if draw.tiny else (0, 1, 1, 2, 3, 4, 6, 7))
    normalize = draw.chance(0.5)
    draw.notes |= {"radius": str(radius), "normalize": str(normalize)}
    fmap0 = draw.lay(draw.features(dtype, B, C, H, W))
    fmap1 = fmap0 if draw.chance(0.05) else draw.lay(draw.features(dtype, B, C, H, W))
    return Drawn("correlation", [fmap0, fmap1, radius, normalize], (0, 1))


def temporal_attention(draw: Draw) -> Drawn:
    dtype, B = draw.dtype(), draw.batch()
    longest = 5 if draw.tiny else 14
    H, W = draw.between(1, longest), draw.between(1, longest)
    Tk = draw.between(1, 3) if draw.tiny else draw.one((1, 2, 3, 5, 9))
    Tq = draw.one((1, 1, Tk, 2))
    heads = draw.one((1, 2) if draw.tiny else (1, 2, 3))
    d = draw.one((16,) if draw.tiny else (1, 3, 8, 16, 24, 32, 33))
    window = draw.one((1, 2, 4) if draw.tiny else (1, 2, 3, 4, 7, 8, 11))
    shift = draw.between(0, window - 1)
    q = draw.lay(draw.noise(B, Tq, H, W, heads, d).to(dtype))
    k, v = (draw.lay(draw.noise(B, Tk, H, W, heads, d).to(dtype)) for _ in range(2))
    exact = _accumulate(dtype)
    time_bias = window_bias = mask = None
    # Where a query has one key the biases change nothing: their gradients are rounding alone.
    several = Tk * min(window - shift, H) * min(window - shift, W) > 1
    if several and draw.chance(0.6):
        time_bias = draw.lay(draw.noise(draw.one((1, B)), heads, Tq, Tk).to(exact))
    if several and window > 1 and draw.chance(0.6):
        window_bias = draw.lay(draw.noise(heads, 2 * window - 1, 2 * window - 1).to(exact))
    if draw.chance(0.6):
        mask = draw.uniform(B, Tk) < draw.one((0.0, 0.5, 0.9))
    scale, weights = draw.one((None, None, 0.0, 0.3)), draw.chance(0.5)
    draw.notes |= {"window": f"{window} shift {shift}", "d": str(d), "frames": f"{Tq} of {Tk}"}
    draw.notes |= {
        "biases": f"{time_bias is not None} {window_bias is not None}",
        "mask": str(mask is not None),
        "frame weights": str(weights),
    }
    arguments = [q, k, v, window, shift, time_bias, window_bias, mask, scale, weights]
    given = [i for i in (0, 1, 2, 5, 6) if arguments[i] is not None]
    return Drawn("temporal_attention", arguments, tuple(given))
