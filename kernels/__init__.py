"""The ops of frame interpolation: definitions in plain PyTorch, fused kernels, one flag.

The kernels know nothing of the model. They depend on torch, and on Triton where it exists.
"""

import warnings

from lift.kernels import dispatch, portable  # noqa: F401
from lift.kernels.dispatch import UnsupportedError, selected_backend, unsupported_reasons, use
from lift.kernels.fallback import FallbackWarning
from lift.kernels.ops.add_layer_norm.op import add_layer_norm
from lift.kernels.ops.adjacent_frames.op import adjacent_frames
from lift.kernels.ops.bias_act.op import bias_act
from lift.kernels.ops.census.op import census
from lift.kernels.ops.change_map.op import change_map
from lift.kernels.ops.convex_upsample.op import convex_upsample
from lift.kernels.ops.correlation.op import correlation
from lift.kernels.ops.curve_flows.op import curve_flows
from lift.kernels.ops.flow_inputs.op import flow_inputs
from lift.kernels.ops.frame_inputs.op import frame_inputs
from lift.kernels.ops.global_motion.op import global_motion
from lift.kernels.ops.grid_sample.op import grid_sample
from lift.kernels.ops.group_norm.op import group_norm
from lift.kernels.ops.lucas_kanade.op import align, lucas_kanade
from lift.kernels.ops.path_inputs.op import path_inputs
from lift.kernels.ops.propagate.op import propagate
from lift.kernels.ops.refine_inputs.op import refine_inputs
from lift.kernels.ops.refine_output.op import refine_output
from lift.kernels.ops.temporal_attention.op import temporal_attention
from lift.kernels.ops.time_mlp.op import time_mlp
from lift.kernels.ops.warp_blend.op import warp, warp_blend
from lift.kernels.patching.patch import patch

__all__ = [
    "FallbackWarning",
    "UnsupportedError",
    "add_layer_norm",
    "adjacent_frames",
    "align",
    "bias_act",
    "census",
    "change_map",
    "convex_upsample",
    "correlation",
    "curve_flows",
    "flow_inputs",
    "frame_inputs",
    "global_motion",
    "grid_sample",
    "group_norm",
    "lucas_kanade",
    "patch",
    "path_inputs",
    "propagate",
    "reasons",
    "refine_inputs",
    "refine_output",
    "selected_backend",
    "serving",
    "temporal_attention",
    "time_mlp",
    "unsupported_reasons",
    "use",
    "warp",
    "warp_blend",
]


def reasons(operation: str, *arguments) -> dict[str, str | None]:
    """Deprecated: `unsupported_reasons`."""
    message = "kernels.reasons is deprecated; use kernels.unsupported_reasons"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return dispatch.unsupported_reasons(operation, *arguments)


def serving(operation: str, *arguments, backend: str | None = None) -> str:
    """Deprecated: `selected_backend`."""
    message = "kernels.serving is deprecated; use kernels.selected_backend"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return dispatch.selected_backend(operation, *arguments, backend=backend)
