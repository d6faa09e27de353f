"""Speed and memory of `temporal_attention`.

The fused kernels are compared with the reference, eager and compiled, with SDPA's kernels and with
FlexAttention. For SDPA and FlexAttention the windows are partitioned and put back inside the
timing, as a model would have to; they return no weights per frame. SDPA's bias is materialized for
every window or, in the variants that end in "_shared", once for all whole windows and once for
those that cross each edge.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

from benchmarks.harness import backends, measure
from lift.kernels.ops.temporal_attention.reference import (
    count_windows,
    relative_position_bias,
    temporal_attention_reference,
    valid_mask,
    window_partition,
    window_reverse,
)

# (B, Tq, Tk, H, W, heads, d, window): the window of the presets at 1/16 and single pixels at 1/8,
# of 1080p, crops of 256 x 256, 720p, 448 x 256.
GPU = [
    (1, 1, 15, 68, 120, 8, 32, 8),
    (1, 1, 15, 135, 240, 8, 32, 1),
    (4, 1, 15, 16, 16, 8, 32, 8),
    (4, 1, 15, 32, 32, 8, 32, 1),
    (1, 1, 15, 45, 80, 8, 32, 8),
    (1, 1, 15, 90, 160, 8, 32, 1),
    (4, 1, 15, 16, 28, 8, 32, 8),
    (4, 1, 15, 32, 56, 8, 32, 1),
    (1, 15, 15, 45, 80, 8, 32, 4),
]
QUICK = [
    (4, 1, 15, 16, 16, 8, 32, 8),
    (1, 1, 15, 68, 120, 8, 32, 8),
    (1, 1, 15, 135, 240, 8, 32, 1),
]
# On a CPU: `tiny` (window 4, also with two frames and a training crop), `small` (window 8), and
# the windows of the ablations.
CPU = [
    (1, 1, 15, 16, 28, 2, 32, 4),
    (1, 1, 15, 45, 80, 2, 32, 4),
    (1, 1, 2, 45, 80, 2, 32, 4),
    (4, 1, 15, 14, 14, 2, 32, 4),
    (1, 1, 15, 16, 28, 4, 32, 8),
    (1, 1, 15, 45, 80, 4, 32, 8),
    (1, 1, 15, 45, 80, 2, 32, 2),
    (1, 1, 15, 45, 80, 4, 32, 1),
]
COMPILED = (CPU[1], CPU[5])  # on a CPU: a compilation takes longer than all else of a case
TOY = [(1, 1, 2, 5, 8, 1, 16, 4), (1, 1, 2, 2, 3, 2, 16, 1)]
SDPA = {
    "sdpa_flash": SDPBackend.FLASH_ATTENTION,
    "sdpa_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "sdpa_cudnn": SDPBackend.CUDNN_ATTENTION,
    "sdpa_math": SDPBackend.MATH,
}
SHARED = "_shared"  # suffix of a variant that does not materialize a bias per window
OURS = ("triton", "cpp", "eager", "reference")


@dataclass(frozen=True)
class Case:
    device: str
    shape: tuple[int, ...]
    dtype: str
    biases: str  # "biases" (and a mask, as in the model), or "none", as flash attention requires
    direction: str

    def __str__(self) -> str:
        return "-".join(
            [self.device, "x".join(map(str, self.shape)), self.dtype, self.biases, self.direction]
        )


def cases(device: str, quick: bool, toy: bool) -> list[Case]:
    """The cases of a device, by priority; those without biases exist for flash attention."""
    cpu = CPU[:2] if quick else CPU
    shapes = TOY if toy else cpu if device == "cpu" else QUICK if quick else GPU
    dtypes = ["float32"] if device == "cpu" else ["bfloat16"] if quick else ["bfloat16", "float32"]
    tables = ["biases"] if quick or device == "cpu" else ["biases", "none"]
    return [
        Case(device, shape, dtype, biases, direction)
        for biases in tables
        for dtype in dtypes
        for shape in shapes
        for direction in ("forward", "forward+backward")
    ]


def names(case: Case, toy: bool) -> list[str]:
    """The variants of a case: the supported backends, then what they are compared with."""
    with torch.set_grad_enabled(case.direction != "forward"):
        arguments = [x.requires_grad_(case.direction != "forward") for x in make(case)]
        found = backends.supported(
            "temporal_attention", _positional(case, arguments), toy=toy, fused=False
        )
    if case.device == "cpu":
        return [*found, "sdpa", "sdpa" + SHARED, *(["compiled"] if case.shape in COMPILED else [])]
    flash = case.biases == "none" and _whole(case)  # it supports no bias, not even at edges
    shared = (
        [name + SHARED for name in ("sdpa_efficient", "sdpa_cudnn")]
        if case.biases == "biases"
        else []
    )
    return [
        *found,
        *(name for name in SDPA if name != "sdpa_flash" or flash),
        *shared,
        "flex",
        "compiled",
    ]


def pytest_generate_tests(metafunc):
    quick, toy = (metafunc.config.getoption(name) for name in ("--quick", "--toy"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = [(case, name) for case in cases(device, quick, toy) for name in names(case, toy)]
    metafunc.parametrize(("case", "variant"), pairs, ids=lambda value: str(value))


def test_temporal_attention(case, variant, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    found = measured(case, toy, 1 if toy else 7 if quick else 25)
    failure = found[variant].failure
    if failure and variant not in OURS and not failure.startswith("wrong"):
        pytest.skip(f"{variant} does not run here: {failure}")
    record(
        found[variant],
        operation="temporal_attention",
        variant=variant,
        fused=backends.is_fused("temporal_attention", variant),
        device=case.device,
        direction=case.direction,
        dtype=case.dtype,
        layout="contiguous",
        shape=list(case.shape),
        flow=case.biases,
        required_bytes=required_bytes(case),
    )


@lru_cache(maxsize=1)  # the variants of a case are consecutive and measured together
def measured(case: Case, toy: bool, rounds: int) -> dict[str, measure.VariantResult]:
    variants = [measure.Variant(name, _call(name, case)) for name in names(case, toy)]
    return measure.compare(
        variants,
        _result(temporal_attention_reference, case),
        make(case),
        backward=case.direction != "forward",
        rounds=rounds,
    )


def _positional(case: Case, arguments) -> tuple:
    """Arguments in the order of the reference, without frame weights; with biases also a mask of
    frames, all valid."""
    q, k, v, *tables = arguments
    mask = torch.ones(k.shape[:2], dtype=torch.bool, device=k.device) if tables else None
    return q, k, v, case.shape[-1], 0, *tables, *[None] * (2 - len(tables)), mask, None, False


def _result(function, case: Case):
    return lambda *arguments: function(*_positional(case, arguments))[0]


def _call(name: str, case: Case):
    if name in ("compiled", "flex"):
        call = (
            _result(temporal_attention_reference, case)
            if name == "compiled"
            else lambda *arguments: _flex(case, arguments)
        )
        return measure.compiled(call, (name, case))
    if name.startswith("sdpa"):
        attend = _shared if name.endswith(SHARED) else _partitioned
        backend_ = SDPA.get(name.removesuffix(SHARED))

        def call(*arguments):
            with nullcontext() if backend_ is None else sdpa_kernel(backend_):
                return attend(case, arguments)

        return call
    return _result(backends.call_of("temporal_attention", name), case)


# -- what the kernels are compared with ------------------------------------------------------------


def _cut(case: Case, arguments) -> tuple[torch.Tensor, ...]:
    """q, k and v as (B * windows, heads, rows, d)."""
    return tuple(
        window_partition(x, case.shape[-1], 0).flatten(0, 2).contiguous() for x in arguments[:3]
    )


def _whole(case: Case) -> bool:
    """Whether the image is a whole number of windows."""
    return case.shape[3] % case.shape[-1] == 0 and case.shape[4] % case.shape[-1] == 0


def _put_back(case: Case, out: torch.Tensor) -> torch.Tensor:
    B, Tq, _, H, W, _, _, window = case.shape
    return window_reverse(
        out.unflatten(0, (B, count_windows(H, window, 0), count_windows(W, window, 0))),
        Tq,
        H,
        W,
        window,
        0,
    )


def _bias(case: Case, arguments) -> torch.Tensor | None:
    """(B, heads, Tq, area, Tk, area), added to the scores of whole windows; None without tables."""
    B, Tq, Tk, _, _, heads, _, window = case.shape
    if len(arguments) < 4:
        return None
    bias = arguments[3][:, :, :, None, :, None]
    bias = bias + relative_position_bias(arguments[4], window) if window > 1 else bias
    return bias.expand(B, heads, Tq, window**2, Tk, window**2)


def _partitioned(case: Case, arguments) -> torch.Tensor:
    """`F.scaled_dot_product_attention` with a bias materialized for every window."""
    B, Tq, Tk, H, W, heads, _, window = case.shape
    area, bias = window * window, _bias(case, arguments)
    bias = bias if bias is None else bias[:, None]
    if not _whole(case):
        inside = valid_mask(H, W, window, 0, arguments[0].device).flatten(0, 1)[
            None, :, None, None, None, None, :
        ]
        bias = torch.where(inside, 0.0 if bias is None else bias, float("-inf"))
    if bias is not None:
        windows = count_windows(H, window, 0) * count_windows(W, window, 0)
        bias = (
            bias.expand(B, windows, heads, Tq, area, Tk, area)
            .reshape(B * windows, heads, Tq * area, Tk * area)
            .to(arguments[0].dtype)
        )
    return _put_back(case, F.scaled_dot_product_attention(*_cut(case, arguments), attn_mask=bias))


def _shared(case: Case, arguments) -> torch.Tensor:
    """As `_partitioned`, with one bias for all windows of the same extent.

    There are four kinds: whole windows, the lowest row, the rightmost column, and the corner. The
    windows are SDPA's batch, over which it broadcasts one bias, so clips are joined with heads.
    """
    B, Tq, Tk, H, W, heads, d, window = case.shape
    area, inside = window * window, valid_mask(H, W, window, 0, arguments[0].device)
    cut = [window_partition(x, window, 0) for x in arguments[:3]]
    bias = _bias(case, arguments)

    def attend(y: slice, x: slice) -> torch.Tensor:
        """(B, rows, columns, heads, Tq * area, d) of these windows."""
        allowed = bias.masked_fill(~inside[y, x][0, 0], float("-inf"))
        q, k, v = (
            part[:, y, x].permute(1, 2, 0, 3, 4, 5).flatten(2, 3).flatten(0, 1) for part in cut
        )
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=allowed.reshape(1, B * heads, Tq * area, Tk * area).to(q.dtype)
        )
        return out.view(*inside[y, x].shape[:2], B, heads, Tq * area, d).permute(2, 0, 1, 3, 4, 5)

    rows, columns = (
        [
            slice(a, b)
            for a, b in ((0, size // window), (size // window, count_windows(size, window, 0)))
            if a < b
        ]
        for size in (H, W)
    )
    out = torch.cat([torch.cat([attend(y, x) for x in columns], 2) for y in rows], 1)
    return window_reverse(out, Tq, H, W, window, 0)


def _flex(case: Case, arguments) -> torch.Tensor:
    """FlexAttention, to be compiled, with the biases read from their tables."""
    B, _, _, H, W, _, _, window = case.shape
    area, columns = window * window, count_windows(W, window, 0)
    windows = count_windows(H, window, 0) * columns
    tables, whole = arguments[3:], _whole(case)

    def score(value, b, h, i, j):
        y, x = j % area // window, j % window
        if tables:
            value = value + tables[0][b // windows, h, i // area, j // area]
        if len(tables) > 1:
            value = (
                value
                + tables[1][h, y - i % area // window + window - 1, x - i % window + window - 1]
            )
        if not whole:
            place = b % windows
            value = torch.where(
                (place // columns * window + y < H) & (place % columns * window + x < W),
                value,
                float("-inf"),
            )
        return value

    return _put_back(case, flex_attention(*_cut(case, arguments), score_mod=score))


# -- data ------------------------------------------------------------------------------------------


def make(case: Case) -> tuple[torch.Tensor, ...]:
    """q, k, v and, with biases, time_bias and window_bias (none for window 1).

    The values are the same on every device.
    """
    generator = torch.Generator().manual_seed(0)
    B, Tq, Tk, H, W, heads, d, window = case.shape

    def noise(*shape):
        return torch.randn(shape, generator=generator).to(case.device)

    inputs = tuple(noise(B, T, H, W, heads, d).to(getattr(torch, case.dtype)) for T in (Tq, Tk, Tk))
    if case.biases == "none":
        return inputs
    return (
        *inputs,
        noise(B, heads, Tq, Tk),
        *([noise(heads, 2 * window - 1, 2 * window - 1)] if window > 1 else []),
    )


def required_bytes(case: Case) -> int:
    """Bytes of q, k, v and the result, each once; backward adds their gradients.

    Unlike the roofline's count it leaves out bias tables and weights per frame, which SDPA and
    FlexAttention do not write; recorded rates are of this count.
    """
    B, Tq, Tk, H, W, heads, d, _ = case.shape
    frame = B * H * W * heads * d * getattr(torch, case.dtype).itemsize
    forward = frame * (2 * Tq + 2 * Tk)
    return (
        forward
        if case.direction == "forward"
        else forward + frame * (3 * Tq + 2 * Tk + Tq + 2 * Tk)
    )
