"""The fused kernels and their references: four operations, one flag."""
from .attention.op import temporal_attention
from .backend import reasons, serving, use
from .grid_sample.op import grid_sample
from .warp_blend.op import warp, warp_blend

__all__ = ["grid_sample", "reasons", "serving", "temporal_attention", "use", "warp", "warp_blend"]
