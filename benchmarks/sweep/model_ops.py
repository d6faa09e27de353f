"""Random calls of the ops that LIFT's own model is made of.

Each function takes a `Draw` and returns what `Drawn` describes.
"""

import torch

from benchmarks.sweep.draw import Draw, Drawn
from lift.kernels.ops.path_inputs.op import sample_motion


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _maps(draw: Draw, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return draw.lay(draw.noise(*shape).to(dtype))


def _state(draw: Draw, dtype: torch.dtype, B: int, H: int, W: int) -> torch.Tensor:
    """Two flows away from whole pixels and two logits, (B, 6, H, W)."""
    flows = [draw.pixels(B, H, W, draw.one(("near", "near", "far"))) for _ in range(2)]
    return draw.lay(torch.cat((*flows, draw.noise(B, 2, H, W)), 1).to(_wide(dtype)))


def bias_act(draw: Draw) -> Drawn:
    dtype, B, C = draw.dtype(), draw.batch(), draw.channels()
    factor = draw.one((0, 1, 1, 2, 3))
    H, W = draw.size(smallest=0, multiple=max(factor, 1))
    x, bias, skip = draw.lay(draw.features(dtype, B, C, H, W)), None, None
    if draw.chance(0.7):
        bias = draw.noise(C).to(_wide(dtype))
    if factor and H and W:
        skip_dtype = draw.one((dtype, _wide(dtype)))
        skip = _maps(draw, skip_dtype, B, C, H // factor, W // factor)
    slope = draw.one((0.1, 0.25, 1.0))
    given = [i for i, y in enumerate((x, bias, skip)) if y is not None]
    return Drawn("bias_act", [x, bias, skip, slope], tuple(given))


def group_norm(draw: Draw) -> Drawn:
    dtype, B, groups = draw.dtype(), draw.batch(), draw.one((1, 2, 3))
    C, (H, W) = groups * draw.between(1, 6), draw.size(smallest=0)
    x = _maps(draw, dtype, B, C, H, W)
    skip = _maps(draw, dtype, B, C, H, W) if draw.chance(0.5) else None
    weight, bias, x_bias = (draw.noise(C).to(_wide(dtype)) for _ in range(3))
    arguments = [x, skip, weight, bias, x_bias if draw.chance(0.5) else None]
    given = [i for i, y in enumerate(arguments) if y is not None]
    slope = draw.one((0.1, 1.0))
    return Drawn("group_norm", [*arguments, groups, 1e-5, slope], tuple(given))


def add_layer_norm(draw: Draw) -> Drawn:
    dtype, C = draw.dtype(), draw.between(2, 70)
    shape = (draw.batch(), *(draw.between(1, 5) for _ in range(draw.between(0, 3))), C)
    x, y = draw.noise(*shape).to(dtype), None
    if draw.chance(0.8):
        small = [n if draw.chance(0.8) else 1 for n in shape]
        y = draw.noise(*small).to(dtype)
    weight, bias = (draw.noise(C).to(_wide(dtype)) for _ in range(2))
    given = [i for i, z in enumerate((x, y, weight, bias)) if z is not None]
    out = torch.float64 if dtype == torch.float64 else draw.one((dtype, torch.float32))
    return Drawn("add_layer_norm", [x, y, weight, bias, 1e-5, out], tuple(given))


def time_mlp(draw: Draw) -> Drawn:
    dtype = draw.dtype()
    wide, B, Tk = _wide(dtype), draw.batch(), draw.between(1, 9)
    N, C = draw.between(1, 20), draw.between(1, 9)
    k_times = 3 * draw.noise(B, Tk).to(wide)
    q_times = draw.uniform(B, draw.between(1, 4)).to(wide) if draw.chance(0.6) else None
    weights = [draw.noise(*shape).to(wide) for shape in ((N, 6), (N,), (C, N), (C,))]
    if draw.chance(0.3):
        weights[2:] = None, None
    arguments = [k_times, q_times, *weights, dtype]
    given = [i for i in range(2, 6) if arguments[i] is not None]
    return Drawn("time_mlp", arguments, tuple(given))


def census(draw: Draw) -> Drawn:
    dtype, B = draw.dtype(), draw.one((1, 2))
    H, W = draw.size(smallest=4)
    images = [draw.lay(draw.image(dtype, B, 3, H, W)) for _ in range(2)]
    return Drawn("census", images, (0, 1))


def change_map(draw: Draw) -> Drawn:
    dtype, B = draw.dtype(), draw.batch()
    H, W = draw.size(smallest=2, multiple=2)
    return Drawn("change_map", [draw.lay(draw.image(dtype, B, 3, H, W)) for _ in range(2)], ())


def frame_inputs(draw: Draw) -> Drawn:
    dtype, N = draw.dtype(), draw.batch()
    frames = draw.lay(draw.image(_wide(dtype), N, 3, *draw.size()))
    return Drawn("frame_inputs", [frames, draw.one((8, 16, 32)), dtype], ())


def adjacent_frames(draw: Draw) -> Drawn:
    B, T = draw.batch(), draw.between(2, 15)
    left = draw.between(0, T - 2)
    times = (torch.arange(T) - left).float().repeat(B, 1)
    moved = times + 0.4 * (draw.uniform(B, T) - 0.5)
    times = torch.where((times == 0) | (times == 1), times, moved)
    mask = draw.uniform(B, T) < 0.8
    mask[:, left : left + 2] = True
    indices = torch.arange(B * T).view(B, T)
    draw.notes["dtype"] = "float32"
    return Drawn("adjacent_frames", [times, mask, indices, left, draw.between(1, 3)], ())


def lucas_kanade(draw: Draw) -> Drawn:
    dtype, B, C = draw.dtype(), draw.batch(), draw.between(1, 3)
    H, W = draw.size(smallest=0)
    images = [draw.lay(draw.image(dtype, B, C, H, W)) for _ in range(2)]
    flows = [draw.lay(draw.pixels(B, H, W, "near").to(_wide(dtype))) for _ in range(2)]
    return Drawn("lucas_kanade", [*images, *flows, draw.uniform(B).to(_wide(dtype))], ())


def align(draw: Draw) -> Drawn:
    dtype, B = draw.dtype(), draw.batch()
    H, W = draw.size()
    lumas = [draw.lay(draw.image(dtype, B, 1, H, W)) for _ in range(2)]
    state = _state(draw, dtype, B, H, W)
    return Drawn("align", [*lumas, state, draw.uniform(B).to(state.dtype), draw.one((1, 2))], (2,))


def propagate(draw: Draw) -> Drawn:
    dtype, B = draw.dtype(), draw.batch()
    h, w = draw.size()
    lumas = [draw.lay(draw.image(dtype, B, 1, 2 * h, 2 * w)) for _ in range(2)]
    state = _state(draw, dtype, B, h, w)
    return Drawn("propagate", [*lumas, state, draw.one((1, 2, 4, 50))], (2,))


def convex_upsample(draw: Draw) -> Drawn:
    dtype, B = draw.dtype(), draw.batch()
    h, w = draw.size(smallest=0)
    state = _maps(draw, _wide(dtype), B, 6, h, w)
    prior = draw.noise(36).to(_wide(dtype))
    return Drawn("convex_upsample", [state, _maps(draw, dtype, B, 36, h, w), prior], (0, 1, 2))


def global_motion(draw: Draw) -> Drawn:
    dtype, B, C, radius = draw.dtype(), draw.batch(), draw.between(1, 8), draw.one((1, 1, 2, 3))
    H, W = draw.size()
    wide, M = _wide(dtype), (2 * radius + 1) ** 2
    left, right = (_maps(draw, dtype, B, C, H, W) for _ in range(2))
    temperature, prior = torch.tensor(2.0, dtype=wide), draw.noise(M).to(wide)
    t = (0.1 + 0.8 * draw.uniform(B)).to(wide)
    arguments = [_maps(draw, wide, B, M, H, W), left, right, temperature, prior, t, radius, dtype]
    return Drawn("global_motion", arguments, (0, 1, 2, 3, 4))


def flow_inputs(draw: Draw) -> Drawn:
    dtype, B, C, D = draw.dtype(), draw.batch(), draw.channels(), draw.one((1, 9, 25))
    H, W = draw.size()
    wide = _wide(dtype)
    left, right = (_maps(draw, dtype, B, C, H, W) for _ in range(2))
    local, zero_motion = _maps(draw, wide, B, D, H, W), _maps(draw, wide, B, 1, H, W)
    missing = _maps(draw, wide, B, 2, H, W) if draw.chance(0.5) else None
    state, t = _state(draw, dtype, B, H, W), draw.uniform(B).to(wide)
    arguments = [left, right, local, zero_motion, state, missing, t, draw.one((1, 4, 8)), dtype]
    return Drawn("flow_inputs", arguments, (0, 1, 2, 3, 4))


def path_inputs(draw: Draw) -> Drawn:
    dtype, B, C, G = draw.dtype(), draw.one((1, 2)), draw.between(1, 8), draw.one((2, 4, 6))
    h, w = draw.size()
    hidden = _maps(draw, dtype, B, C, h, w)
    motion = [x.to(_wide(dtype)) if x.is_floating_point() else x for x in _motion(draw, B, G, h, w)]
    factors = [0.25, 0.125, 1.0]
    return Drawn("path_inputs", [hidden, *motion, 6, factors, dtype], (0, 1))


def _motion(draw: Draw, B: int, G: int, h: int, w: int) -> tuple:
    return sample_motion(draw.generator, B, G, h, w)


def curve_flows(draw: Draw) -> Drawn:
    dtype, B, G = draw.dtype(), draw.one((1, 2)), draw.one((2, 4, 6))
    h, w = draw.size()
    motion = [x.to(_wide(dtype)) if x.is_floating_point() else x for x in _motion(draw, B, G, h, w)]
    state, differences, times, valid = motion
    predicted = _maps(draw, dtype, B, 8, h, w)
    bias = draw.noise(8).to(_wide(dtype)) if draw.chance(0.7) else None
    t = (0.1 + 0.8 * draw.uniform(B)).to(state.dtype)
    numbers = 2.0, 2.0, [-0.8, -0.9]
    arguments = [predicted, bias, state, differences + 0.3, times, valid, t, *numbers]
    return Drawn("curve_flows", arguments, (0, 2, 3) if bias is None else (0, 1, 2, 3))


def refine_inputs(draw: Draw) -> Drawn:
    dtype, B, stride = draw.dtype(), draw.batch(), draw.one((1, 2, 4))
    H, W = draw.size(multiple=max(stride, 2))
    images = [draw.lay(draw.image(_wide(dtype), B, 3, H, W)) for _ in range(2)]
    state = _state(draw, dtype, B, H // 2, W // 2)
    missing = _maps(draw, state.dtype, B, 2, H // 2, W // 2) if draw.chance(0.5) else None
    given = (2,) if missing is None else (2, 3)
    return Drawn("refine_inputs", [*images, state, missing, stride, dtype], given)


def refine_output(draw: Draw) -> Drawn:
    dtype, B, stride = draw.dtype(), draw.batch(), draw.one((1, 2, 4))
    H, W = draw.size(multiple=max(stride, 2))
    images = [draw.lay(draw.image(_wide(dtype), B, 3, H, W)) for _ in range(2)]
    state, n = _state(draw, dtype, B, H // 2, W // 2), draw.one((10, 11)) * stride**2
    residual, bias = _maps(draw, dtype, B, n, H // stride, W // stride), draw.noise(n)
    change, threshold = _maps(draw, state.dtype, B, 1, H // 2, W // 2), torch.tensor(-1.7)
    arguments = [residual, bias, *images, state, change, threshold, stride]
    return Drawn("refine_output", arguments, (0, 1, 4, 6))
