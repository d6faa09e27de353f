"""Ops of programs that leave the machine on which they were exported: `torch.ops.lift`.

`torch.export` records the ops that a model runs. Those of a backend, such as
`torch.ops.lift_cpp.warp`, would bind the program to its device. The ops here have the same schemas
and select a backend when they run, by the flag and the arguments, so a program exported on a CPU
uses the fused kernels of a GPU. ONNX has no such ops: there the graph consists of PyTorch's own.
"""

from dataclasses import replace
from functools import partial

import torch

from lift.kernels import autograd, dispatch, onnx
from lift.kernels.ops.add_layer_norm.op import ADD_LAYER_NORM
from lift.kernels.ops.adjacent_frames.op import ADJACENT_FRAMES
from lift.kernels.ops.bias_act.op import BIAS_ACT
from lift.kernels.ops.census.op import CENSUS
from lift.kernels.ops.change_map.op import CHANGE_MAP
from lift.kernels.ops.convex_upsample.op import CONVEX_UPSAMPLE
from lift.kernels.ops.correlation.op import CORRELATION
from lift.kernels.ops.curve_flows.op import CURVE_FLOWS
from lift.kernels.ops.flow_inputs.op import FLOW_INPUTS
from lift.kernels.ops.frame_inputs.op import FRAME_INPUTS
from lift.kernels.ops.global_motion.op import GLOBAL_MOTION
from lift.kernels.ops.grid_sample.op import GRID_SAMPLE
from lift.kernels.ops.grid_sample.reference import MODES, PADDING_MODES
from lift.kernels.ops.group_norm.op import GROUP_NORM
from lift.kernels.ops.lucas_kanade.op import ALIGN, LUCAS_KANADE
from lift.kernels.ops.path_inputs.op import PATH_INPUTS
from lift.kernels.ops.propagate.op import PROPAGATE
from lift.kernels.ops.refine_inputs.op import REFINE_INPUTS
from lift.kernels.ops.refine_output.op import REFINE_OUTPUT
from lift.kernels.ops.temporal_attention.op import CHUNKED_TEMPORAL_ATTENTION
from lift.kernels.ops.time_mlp.op import TIME_MLP
from lift.kernels.ops.warp_blend.op import WARP, WARP_BLEND

NAMESPACE = "lift"
KEYS = ("CompositeExplicitAutograd",)  # every device


# -- a call of an op as a call of a backend --------------------------------------------------------


def _grid_sample_arguments(input, grid, mode: int, padding: int, align_corners: bool) -> tuple:
    return input, grid, MODES[mode], PADDING_MODES[padding], align_corners


def _attention_arguments(q, k, v, time_bias, window_bias, mask, window, shift, *others) -> tuple:
    return q, k, v, window, shift, time_bias, window_bias, mask, *others


def _align_arguments(state, luma0, luma1, t, steps: int) -> tuple:
    return luma0, luma1, state, t, steps


def _frame_inputs_results(results: tuple, frames, *others) -> tuple:
    """With the padded frames even where nothing is padded, so that a program takes any size."""
    stem, padded, *means = results
    return stem, padded if padded.ndim == 4 else frames, *means


# A backend's arguments from those of the op, where these are others; `Op.call` is the reverse.
_ARGUMENTS = {
    "grid_sample": _grid_sample_arguments,
    "temporal_attention": _attention_arguments,
    "align": _align_arguments,
}
# The op's results from a backend's.
_RESULTS = {"frame_inputs": _frame_inputs_results}


def _select_and_run(name: str, *arguments) -> tuple:
    """The results of the backend selected for the arguments of an op."""
    if name in _ARGUMENTS:
        arguments = _ARGUMENTS[name](*arguments)
    found = dispatch.select(name, None, *arguments).call(*arguments)
    found = found if isinstance(found, tuple) else (found,)
    return _RESULTS[name](found, *arguments) if name in _RESULTS else found


# -- the op ----------------------------------------------------------------------------------------


def _forward(op: autograd.Op, *arguments):
    """Outputs as `op.fake` has them, in memory of their own."""
    results = _select_and_run(op.name, *arguments)
    expected = op.fake(*map(_without_data, arguments))
    single = not isinstance(expected, tuple)
    expected = (expected,) if single else expected
    memory = {x.untyped_storage()._cdata for x in arguments if isinstance(x, torch.Tensor)}
    device = arguments[0].device
    outputs = []
    for i, like in enumerate(expected):
        x = results[i] if i < len(results) and like.shape != (0,) else None
        if x is None:
            x = torch.empty(like.shape, dtype=like.dtype, device=device)
        elif (
            x.dtype != like.dtype
            or x.stride() != like.stride()
            or x.untyped_storage()._cdata in memory
        ):
            layout = {"dtype": like.dtype, "device": device}
            x = torch.empty_strided(like.shape, like.stride(), **layout).copy_(x)
        memory.add(x.untyped_storage()._cdata)
        outputs.append(x)
    return outputs[0] if single else tuple(outputs)


def _without_data(x):
    if not isinstance(x, torch.Tensor):
        return x
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _save(op: autograd.Op, ctx, inputs, output) -> None:
    outputs = output if isinstance(output, tuple) else (output,)
    if len(outputs) > op.outputs:
        ctx.mark_non_differentiable(*outputs[op.outputs :])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[: op.tensors])
    ctx.others = inputs[op.tensors :]


def _gradients(op: autograd.Op, backward, ctx, *grads) -> tuple[torch.Tensor | None, ...]:
    """Gradients through the backend that is selected now; it computes the op again.

    So only inputs are saved, whatever the backends save.
    """
    create_graph = torch.is_grad_enabled()
    wanted = [i for i, need in enumerate(ctx.needs_input_grad) if need]
    found = [None] * len(ctx.needs_input_grad)
    with torch.enable_grad():
        # One tensor may be two arguments, each with a gradient of its own.
        inputs = [None if x is None else x.view_as(x) for x in ctx.saved_tensors]
        results = _select_and_run(op.name, *inputs, *ctx.others)
        used = [
            (x, grad)
            for x, grad in zip(results, grads, strict=False)
            if grad is not None and x.requires_grad
        ]
        if not used:
            return tuple(found)
        computed = torch.autograd.grad(
            [x for x, _ in used],
            [inputs[i] for i in wanted],
            [grad for _, grad in used],
            create_graph=create_graph,
            materialize_grads=True,
        )
    for i, grad in zip(wanted, computed, strict=True):
        found[i] = grad
    return tuple(found)


def _first_outputs(op: autograd.Op, *arguments):
    results = _select_and_run(op.name, *arguments)
    return results[: op.outputs] if op.outputs > 1 else results[0]


def portable(op: autograd.Op) -> autograd.Op:
    """An op whose backend is selected when it runs, in the forward and again in the backward."""
    op = replace(op, saved_outputs=(), adds=False, reference=partial(_first_outputs, op))
    if op.inputs == 0:
        return op
    # Every gradient that some backend has: the selection knows which.
    op = replace(op, backward_schema=None, inputs=op.tensors, by_reference=())
    return replace(op, formula=autograd.Formula(partial(_save, op), partial(_gradients, op)))


# -- all ops ---------------------------------------------------------------------------------------


# Those that only their reference can differentiate have their gradients here too.
OPS = (
    ADD_LAYER_NORM,
    ADJACENT_FRAMES,
    ALIGN,
    BIAS_ACT,
    CENSUS,
    replace(CHANGE_MAP, inputs=2),
    CHUNKED_TEMPORAL_ATTENTION,
    CONVEX_UPSAMPLE,
    CORRELATION,
    CURVE_FLOWS,
    FLOW_INPUTS,
    replace(FRAME_INPUTS, inputs=1, outputs=6, fake=partial(FRAME_INPUTS.fake, always_padded=True)),
    GLOBAL_MOTION,
    GRID_SAMPLE,
    # without the statistics, which only a backend's own backward takes
    replace(
        GROUP_NORM,
        schema=GROUP_NORM.schema.replace("(Tensor, Tensor, Tensor)", "Tensor"),
        fake=lambda *arguments: GROUP_NORM.fake(*arguments)[0],
        call=None,
    ),
    LUCAS_KANADE,
    PATH_INPUTS,
    # without the weights, for the same reason
    replace(
        PROPAGATE,
        schema=PROPAGATE.schema.replace(", bool save) -> (Tensor, Tensor)", ") -> Tensor"),
        fake=lambda *arguments: PROPAGATE.fake(*arguments, False)[0],
        call=None,
    ),
    REFINE_INPUTS,
    REFINE_OUTPUT,
    TIME_MLP,
    WARP,
    WARP_BLEND,
)
for _op in map(portable, OPS):
    autograd.define_op(NAMESPACE, _op, partial(_forward, _op), None, KEYS)
    _plain = onnx.IMPLEMENTATIONS.get(_op.name, dispatch.operations()[_op.name][-1].call)
    dispatch.register_exported(
        _op.name,
        dispatch.Backend("portable", _op.bind(NAMESPACE), dispatch.always_supported),
        dispatch.Backend("onnx", _plain, dispatch.always_supported, fused=False),
    )
