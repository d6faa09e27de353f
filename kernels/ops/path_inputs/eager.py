"""`path_inputs` in plain PyTorch, sampling with the fastest backend of `warp`."""

from functools import partial

from lift.kernels.ops.path_inputs.reference import path_inputs_reference
from lift.kernels.ops.warp_blend.op import warp

path_inputs_eager = partial(path_inputs_reference, warp=warp)
