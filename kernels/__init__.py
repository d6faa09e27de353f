"""The operations of interpolation: five functions, their definitions in plain PyTorch, the kernels
that serve them, one flag.

Knows nothing of the model; depends on torch alone (and Triton, where a kernel needs it).
"""

from lift.kernels.dispatch import reasons, serving, use
from lift.kernels.ops.correlation.op import correlation
from lift.kernels.ops.grid_sample.op import grid_sample
from lift.kernels.ops.temporal_attention.op import temporal_attention
from lift.kernels.ops.warp_blend.op import warp, warp_blend

__all__ = [
    "correlation",
    "grid_sample",
    "reasons",
    "serving",
    "temporal_attention",
    "use",
    "warp",
    "warp_blend",
]
