"""The ops of frame interpolation: definitions in plain PyTorch, fused kernels, one flag.

The kernels know nothing of the model. They depend on torch, and on Triton where it exists.
"""

import warnings

from lift.kernels import dispatch
from lift.kernels.dispatch import selected_backend, unsupported_reasons, use
from lift.kernels.ops.correlation.op import correlation
from lift.kernels.ops.grid_sample.op import grid_sample
from lift.kernels.ops.lucas_kanade.op import lucas_kanade
from lift.kernels.ops.temporal_attention.op import temporal_attention
from lift.kernels.ops.warp_blend.op import warp, warp_blend

__all__ = [
    "correlation",
    "grid_sample",
    "lucas_kanade",
    "reasons",
    "selected_backend",
    "serving",
    "temporal_attention",
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
