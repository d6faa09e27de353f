"""PyTorch custom ops for the kernels: schemas, fake tensors, gradients, second derivatives.

An `Op` describes an op once, for all backends. A namespace such as `torch.ops.lift_triton` or
`torch.ops.lift_cpp` holds the forward and the backward of one backend; this module adds the rest.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch.library import Library, register_fake
from torch.library import register_autograd as torch_register_autograd

from lift.kernels.checks import accumulate_dtype

_libraries: list[Library] = []  # an op lives as long as its library
implementations: dict[str, Callable] = {}  # of the ops defined in Python, by namespace::name


@dataclass(frozen=True)
class Op:
    """A differentiable op.

    The forward's arguments begin with its tensors, and these with the inputs that can have a
    gradient. The backward, `<name>_backward`, takes the gradient of the first output, the forward's
    arguments, the saved outputs, `needs`, and `backward_flags()`. Bit i of `needs` is set where
    input i needs a gradient; the other gradients are returned empty, with shape (0,).

    Attributes:
        name: of the forward.
        schema, backward_schema: what follows the names, as PyTorch writes schemas. Without a
            backward_schema the op has no backward, and its outputs never require a gradient.
        inputs: how many arguments can have a gradient.
        tensors: how many arguments are tensors or None.
        features: how many inputs hold features. Their gradients have their layout and dtype; those
            of the others (flows, grids, logits, biases) are contiguous, in the accumulation dtype.
        fake: takes the forward's arguments and returns outputs without data.
        reference: takes the forward's arguments and returns the first output, computed by
            differentiable PyTorch ops.
        saved_outputs: indices of the outputs that the backward takes.
        backward_flags: the last arguments of the backward.
        call: takes a namespace and the arguments of the public function's reference, and runs the
            op; None where these are the op's own.
    """

    name: str
    schema: str
    backward_schema: str | None
    inputs: int
    tensors: int
    features: int
    fake: Callable
    reference: Callable[..., torch.Tensor]
    saved_outputs: tuple[int, ...] = ()
    backward_flags: Callable[[], tuple] = tuple
    call: Callable | None = None

    def bind(self, namespace: str) -> Callable:
        """The op of a namespace as a function with the arguments of the reference."""
        if self.call is not None:
            return partial(self.call, namespace)
        return partial(run_op, namespace, self.name)


def run_op(namespace: str, name: str, *arguments):
    """Run an op such as `torch.ops.lift_cpp.warp`."""
    return getattr(getattr(torch.ops, namespace), name)(*arguments)


def define(namespace: str, schema: str, function: Callable, keys: Iterable[str]) -> None:
    """Define one op in Python.

    Args:
        namespace: such as "lift_triton"; it may have other ops.
        schema: begins with the op's name.
        function: computes the op.
        keys: dispatch keys, such as "CPU".
    """
    library = Library(namespace, "FRAGMENT")
    _libraries.append(library)
    library.define(schema)
    name = schema.split("(")[0]
    implementations[f"{namespace}::{name}"] = function
    for key in keys:
        library.impl(name, function, key)


def define_op(
    namespace: str, op: Op, forward: Callable, backward: Callable | None, keys: Iterable[str]
) -> None:
    """Define an op and its backward, if it has one, in Python, with fakes and gradients."""
    define(namespace, op.name + op.schema, forward, keys)
    if op.backward_schema is not None:
        define(namespace, f"{op.name}_backward{op.backward_schema}", backward, keys)
    register_autograd(namespace, op)


def register_autograd(namespace: str, op: Op) -> None:
    """Register fakes and gradients of an op that is defined, in Python or in C++."""
    library = Library(namespace, "FRAGMENT")
    _libraries.append(library)
    name = f"{namespace}::{op.name}"
    register_fake(name, op.fake, lib=library)
    if op.backward_schema is None:
        # Without a backward autograd would warn where an input requires a gradient.
        torch_register_autograd(name, _no_grads, setup_context=_mark_no_grad, lib=library)
        return
    backward = partial(run_op, namespace, f"{op.name}_backward")
    flags = len(op.backward_flags())

    def fake_backward(grad, *arguments):
        return empty_grads(arguments[: op.inputs], arguments[-1 - flags], op.features)

    def setup_context(ctx, inputs, output):
        outputs = output if isinstance(output, tuple) else (output,)
        if len(outputs) > 1:
            ctx.mark_non_differentiable(*outputs[1:])
        saved = [outputs[i] for i in op.saved_outputs]
        ctx.save_for_backward(*inputs[: op.tensors], *saved)
        ctx.others = inputs[op.tensors :]

    def gradients(ctx, grad, *_):
        tensors = ctx.saved_tensors
        arguments, saved = (*tensors[: op.tensors], *ctx.others), tensors[op.tensors :]
        inputs, wanted = arguments[: op.inputs], ctx.needs_input_grad[: op.inputs]
        if torch.is_grad_enabled():  # create_graph=True: the gradients will be differentiated
            grads = _reference_grads(op, arguments, wanted, grad)
        else:
            needs = sum(1 << i for i, want in enumerate(wanted) if want)
            grads = backward(grad, *arguments, *saved, needs, *op.backward_flags())
        return (
            *(
                g.to(x.dtype) if want else None
                for g, x, want in zip(grads, inputs, wanted, strict=True)
            ),
            *[None] * (len(arguments) - op.inputs),
        )

    register_fake(f"{name}_backward", fake_backward, lib=library)
    torch_register_autograd(name, gradients, setup_context=setup_context, lib=library)


def _mark_no_grad(ctx, inputs, output) -> None:
    ctx.mark_non_differentiable(*(output if isinstance(output, tuple) else (output,)))


def _no_grads(ctx, *grads):
    raise RuntimeError("an op without backward was differentiated")  # its outputs prevent it


def _reference_grads(op: Op, arguments: tuple, wanted, grad) -> tuple[torch.Tensor | None, ...]:
    """Gradients of the reference, which can be differentiated again."""
    # One tensor may be two arguments, each with a gradient of its own.
    aliases = [None if x is None else x.view_as(x) for x in arguments[: op.inputs]]
    grads = iter(
        torch.autograd.grad(
            op.reference(*aliases, *arguments[op.inputs :]),
            [x for x, want in zip(aliases, wanted, strict=True) if want],
            grad,
            create_graph=True,
            materialize_grads=True,
        )
    )
    return tuple(next(grads) if want else None for want in wanted)


# -- uninitialised memory --------------------------------------------------------------------------


def empty_like_layout(x: torch.Tensor) -> torch.Tensor:
    """An uninitialised tensor like x: channels_last where only that fits x, else contiguous."""
    last = (
        x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    )
    return torch.empty_like(
        x, memory_format=torch.channels_last if last else torch.contiguous_format
    )


def empty_grads(
    inputs: tuple[torch.Tensor | None, ...], needs: int, features: int
) -> tuple[torch.Tensor, ...]:
    """Uninitialised gradients of an op's inputs; (0,) for inputs that need none.

    Args:
        needs: bit i is set where input i needs a gradient.
        features: as in `Op`.
    """
    first = inputs[0]

    def empty(i: int, x: torch.Tensor | None) -> torch.Tensor:
        dtype = x.dtype if i < features else accumulate_dtype(first)
        if not needs >> i & 1:
            return first.new_empty((0,), dtype=dtype)
        if i < features:
            return empty_like_layout(x)
        return torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)

    return tuple(empty(i, x) for i, x in enumerate(inputs))
