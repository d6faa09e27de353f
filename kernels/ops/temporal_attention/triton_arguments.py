"""Arguments of the Triton kernels of `temporal_attention`: strides, sizes, blocks and programs."""

import functools
from typing import NamedTuple

import torch
import triton

from lift.kernels.launch import needs_int64_offsets, strides
from lift.kernels.ops.temporal_attention import configs

MAX_WINDOW = 8

# -- tensors and sizes -----------------------------------------------------------------------------


class Inputs(NamedTuple):
    """The arguments of the op, laid out as the kernels read them."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    time_bias: torch.Tensor | None
    window_bias: torch.Tensor | None
    mask: torch.Tensor | None
    window: int
    shift: int
    scale: float

    @classmethod
    def of(cls, q, k, v, time_bias, window_bias, mask, window, shift, scale) -> "Inputs":
        return cls(
            *(last_contiguous(x) for x in (q, k, v)),
            None if time_bias is None else time_bias.contiguous(),
            None if window_bias is None else window_bias.contiguous(),
            None if mask is None else mask.contiguous().view(torch.uint8),
            window,
            shift,
            scale,
        )

    @property
    def window_columns(self) -> int:
        """Windows side by side."""
        return ceil_div(self.q.shape[3] + self.shift, self.window)

    @property
    def windows(self) -> int:
        """Windows of an image."""
        return ceil_div(self.q.shape[2] + self.shift, self.window) * self.window_columns

    @property
    def area(self) -> int:
        """Positions of a window."""
        return self.window * self.window

    @property
    def one_time_bias(self) -> bool:
        """Whether several clips share one time_bias."""
        return self.time_bias is not None and self.time_bias.shape[0] == 1 and self.q.shape[0] > 1

    def arguments(self) -> dict:
        """What every kernel takes."""
        _, Tq, H, W, heads, d = self.q.shape
        per_clip = self.time_bias is not None and not self.one_time_bias
        return {
            "q": self.q,
            **strides("sq", "btyxh", self.q),
            "k": self.k,
            **strides("sk", "btyxh", self.k),
            "v": self.v,
            **strides("sv", "btyxh", self.v),
            "time_bias": self.time_bias,
            "sb_b": self.time_bias[0].numel() if per_clip else 0,
            "window_bias": self.window_bias,
            "mask": self.mask,
            "scale": self.scale,
            "Tq": Tq,
            "Tk": self.k.shape[1],
            "H": H,
            "W": W,
            "heads": heads,
            "window_columns": self.window_columns,
            "windows": self.windows,
            "shift": self.shift,
            "WINDOW": self.window,
            "D": d,
        }


class Backward(NamedTuple):
    """What the kernels of a backward share.

    Attributes:
        inputs: with the output's gradient, the output and the rows' log-sum-exp.
        dq, dk, dv: written; dk and dv only if `needs_dkv`.
    """

    inputs: Inputs
    grad: torch.Tensor
    out: torch.Tensor
    lse: torch.Tensor
    dq: torch.Tensor
    dk: torch.Tensor
    dv: torch.Tensor
    needs_dkv: bool
    needs_dtime_bias: bool
    needs_dwindow_bias: bool

    def dkv_arguments(self, delta) -> dict:
        """Arguments of the kernel that computes dk and dv."""
        return self.inputs.arguments() | {
            "grad": self.grad,
            **strides("sg", "btyxh", self.grad),
            "delta": delta,
            "lse": self.lse,
            "dk": self.dk,
            "dv": self.dv,
        }

    def dq_arguments(self, delta, writes_dkv: bool, dtime_bias, dwindow_bias) -> dict:
        """Arguments of the kernel that computes dq, and maybe dk and dv."""
        return self.dkv_arguments(delta) | {
            "out": self.out,
            "dq": self.dq,
            "dtime_bias": dtime_bias,
            "dwindow_bias": dwindow_bias,
            "WRITE_DKV": writes_dkv,
            "HAS_DTIME_BIAS": self.needs_dtime_bias,
            "HAS_DWINDOW_BIAS": self.needs_dwindow_bias,
        }


def ceil_div(n: int, size: int) -> int:
    """As `triton.cdiv`, which takes a microsecond."""
    return -(-n // size)


def is_small(window: int) -> bool:
    """Whether the small-window kernels compute a window."""
    return window <= 2


def last_contiguous(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


@functools.cache
def _gpu_name(device: torch.device) -> str | None:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _frame_span(x: torch.Tensor, q: torch.Tensor) -> int:
    """The largest offset inside one frame of one head of x, or of a contiguous tensor like q.

    Kernels count clips, frames and heads in 64 bits.
    """
    _, _, H, W, heads, d = q.shape
    return (H + MAX_WINDOW) * (x.stride(2) + W * heads * d) + (W + MAX_WINDOW) * x.stride(3)


def shape_class(kernel, q: torch.Tensor, window: int) -> configs.ShapeClass:
    """The class of shapes of a launch."""
    return _shape_class(kernel.__name__, window, q.shape[1], q.shape[5], 8 * q.element_size())


def padded_channels(d: int) -> int:
    """Channels of a head in a block: a power of two, and at least 16, which products need."""
    return max(16, triton.next_power_of_2(d))


@functools.lru_cache(maxsize=256)
def _shape_class(kernel: str, window: int, Tq: int, d: int, bits: int) -> configs.ShapeClass:
    d = padded_channels(d)
    positions = window * window if is_small(window) else 16 if window <= 4 else 64
    name = kernel.removeprefix("temporal_attention_").removesuffix("_kernel")
    return configs.ShapeClass(name, positions, "one" if Tq == 1 else "many", d, bits)


class Blocks(dict):
    """Block sizes by name, and other constants; not to be changed. Equal if the same object."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def blocks_of(kernel, inputs: Inputs) -> Blocks:
    """Block sizes of a kernel, the same object for the same sizes.

    Small windows: BL windows and BH heads. Others: WP, the padded side, BM queries, BN keys. Both:
    BD, the padded channels, and BT, the padded frames of keys.
    """
    q, k, window = inputs.q, inputs.k, inputs.window
    shape = (tuple(q.shape), k.shape[1], window, inputs.windows)
    return blocks_of_class(configs.config, kernel.__name__, q.device, q.dtype, *shape)


@functools.lru_cache(maxsize=256)
def blocks_of_class(config, name, device, dtype, shape, Tk, window, windows) -> Blocks:
    """As `blocks_of`, with what `config` finds."""
    BT, heads, d = triton.next_power_of_2(Tk), *shape[4:]
    BD = padded_channels(d)
    one = _shape_class(name, window, shape[1], d, 8 * dtype.itemsize)
    found = dict(configs.for_key_frames(one, config(one, _gpu_name(device)), BT))
    if not is_small(window):
        side = 4 if window <= 4 else 8
        if BD != d:
            found["maxnreg"] = 255  # masks of channels take registers too
        return Blocks(WP=side, BM=configs.query_rows(one), BD=BD, BT=BT, **found)
    BH = min(triton.next_power_of_2(heads), max(1, 512 // BD))
    BL = max(1, found.pop("VALUES") // (BH * BD))
    return Blocks(BL=BL, BH=BH, BD=BD, BT=BT, window_blocks=ceil_div(windows, BL), **found)


def _int64_offsets(q: torch.Tensor, *tensors: torch.Tensor) -> dict[str, bool]:
    return {"INT64_OFFSETS": needs_int64_offsets(*(_frame_span(x, q) for x in (q, *tensors)))}


# -- forward ---------------------------------------------------------------------------------------


def small_window_programs(inputs: Inputs, blocks: dict) -> int:
    """Programs of a small-window kernel for each clip and frame of its queries or keys."""
    head_blocks = ceil_div(inputs.q.shape[4], blocks["BH"])
    return blocks["window_blocks"] * head_blocks * inputs.area


def small_window_forward_arguments(
    inputs: Inputs, out, lse, frame_weights, blocks: Blocks
) -> tuple[int, dict]:
    """The number of programs and the arguments of `temporal_attention_small_window_fwd_kernel`."""
    B, Tq = inputs.q.shape[:2]
    outputs = {"out": out, "lse": lse, "frame_weights": frame_weights}
    arguments = inputs.arguments() | outputs | blocks
    return B * Tq * small_window_programs(inputs, arguments), arguments


def window_forward_arguments(
    inputs: Inputs, out, lse, frame_weights, query_blocks: int, blocks: Blocks
) -> tuple[int, dict]:
    """The number of programs and the arguments of `temporal_attention_window_fwd_kernel`."""
    outputs = {"out": out, "lse": lse, "frame_weights": frame_weights}
    arguments = inputs.arguments() | outputs | blocks | {"query_blocks": query_blocks}
    arguments |= _int64_offsets(inputs.q, inputs.k, inputs.v)
    return inputs.q.shape[0] * inputs.windows * inputs.q.shape[4] * query_blocks, arguments


# -- backward --------------------------------------------------------------------------------------


def small_window_dq_arguments(
    call: Backward, delta, writes_dkv: bool, dtime_bias, dwindow_bias, blocks: Blocks
) -> tuple[int, dict]:
    """The number of programs and the arguments of `temporal_attention_small_window_bwd_kernel`."""
    B, Tq = call.inputs.q.shape[:2]
    arguments = call.dq_arguments(delta, writes_dkv, dtime_bias, dwindow_bias) | blocks
    return B * Tq * small_window_programs(call.inputs, arguments), arguments


def small_window_dkv_arguments(call: Backward, delta, blocks: Blocks) -> tuple[int, dict]:
    """The number of programs and the arguments of the small-window kernel of dk and dv."""
    B, Tk = call.inputs.k.shape[:2]
    arguments = call.dkv_arguments(delta) | blocks
    return B * Tk * small_window_programs(call.inputs, arguments), arguments


def window_dq_arguments(
    call: Backward,
    delta,
    writes_dkv: bool,
    dtime_bias,
    dwindow_bias,
    query_blocks: int,
    blocks: Blocks,
) -> tuple[int, dict]:
    """The number of programs and the arguments of `temporal_attention_window_bwd_kernel`."""
    inputs = call.inputs
    arguments = call.dq_arguments(delta, writes_dkv, dtime_bias, dwindow_bias)
    arguments |= blocks | {"query_blocks": query_blocks}
    arguments |= _int64_offsets(inputs.q, inputs.k, inputs.v, call.grad)
    return inputs.q.shape[0] * inputs.windows * inputs.q.shape[4] * query_blocks, arguments


def window_dkv_arguments(call: Backward, delta, blocks: Blocks) -> tuple[int, dict]:
    """The number of programs and the arguments of `temporal_attention_window_bwd_dkv_kernel`."""
    inputs, area = call.inputs, blocks["WP"] ** 2
    arguments = call.dkv_arguments(delta) | blocks
    query_blocks = ceil_div(inputs.q.shape[1], max(1, arguments["BM"] // area))
    arguments |= {"query_blocks": query_blocks}
    arguments |= _int64_offsets(inputs.q, inputs.k, inputs.v, call.grad)
    programs = inputs.q.shape[0] * inputs.windows * inputs.q.shape[4] * inputs.k.shape[1]
    return programs * (area // arguments["BN"]), arguments
