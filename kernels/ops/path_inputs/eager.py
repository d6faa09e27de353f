"""`path_inputs` in plain PyTorch, with the fastest backend of `warp`, channels_last as hidden."""

from functools import partial

from lift.kernels.concat import cat_channels_last
from lift.kernels.ops.path_inputs.reference import path_inputs_reference
from lift.kernels.ops.warp_blend.op import warp

path_inputs_eager = partial(path_inputs_reference, warp=warp, cat=cat_channels_last)
