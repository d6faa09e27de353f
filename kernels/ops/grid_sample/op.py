"""`grid_sample`: checks, the choice of implementation, the public function."""

import torch

from lift.kernels import dispatch as backends
from lift.kernels.checks import check_image, check_same, coordinate_dtype, promoted
from lift.kernels.ops.grid_sample import cpp, cuda
from lift.kernels.ops.grid_sample.reference import grid_sample_reference
from lift.kernels.ops.grid_sample.registration import MODES, PADDING_MODES

# -- implementations, the preferred first ----------------------------------------------------------

backends.register(
    "grid_sample",
    backends.Implementation("cuda", cuda.grid_sample, cuda.reason),
    backends.Implementation("cpp", cpp.grid_sample, cpp.reason),
    backends.Implementation("reference", grid_sample_reference, backends.always, fused=False),
)


# -- public ----------------------------------------------------------------------------------------


def grid_sample(
    input: torch.Tensor,
    grid: torch.Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """`torch.nn.functional.grid_sample` in 2-D, with its signature.

    Args:
        input: (B, C, H, W), float32, float16, bfloat16 or float64; H and W at least 1.
        grid: (B, h, w, 2), x then y, -1 and 1 at the borders; float32 (float64 for a float64
            input), or input's own half dtype, taken as float32.
        mode: "bilinear" or "nearest".
        padding_mode: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the corner pixels (true) or their outer
            edges (false, as None).
        backend: "auto", "fused", "reference" or an implementation's name; None: the flag in force.

    Returns:
        (B, C, h, w), dtype of input.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or value.
        RuntimeError: the backend asked for cannot serve; the message says why.
    """
    grid = promoted(grid)
    check_image("grid_sample", "input", input)
    if isinstance(grid, torch.Tensor) and grid.dtype == input.dtype:
        grid = grid.to(coordinate_dtype(input))
    if not isinstance(grid, torch.Tensor) or grid.ndim != 4:
        got = tuple(grid.shape) if isinstance(grid, torch.Tensor) else type(grid).__name__
        raise ValueError(f"grid_sample: grid must be (B, h, w, 2), got {got}")
    check_same(
        "grid_sample",
        "grid",
        grid,
        "input",
        input,
        (input.shape[0], *grid.shape[1:3], 2),
        coordinate_dtype(input),
    )
    if mode not in MODES:
        raise ValueError(f"grid_sample: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            f"grid_sample: padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}"
        )
    return backends.call(
        "grid_sample", backend, input, grid, mode, padding_mode, bool(align_corners)
    )
