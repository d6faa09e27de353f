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
class Formula:
    """The gradients of an op whose backward does not take the forward's arguments.

    So inputs that are not needed are freed, and two inputs can have one gradient.

    Attributes:
        save: (ctx, inputs, output), the `setup_context` of `torch.library.register_autograd`.
        gradients: takes the op's backward, ctx and the gradient of the output, and returns the
            gradients of all arguments. Where grad mode is enabled these can be differentiated.
        fake_backward: takes the backward's arguments and returns gradients without data; None for
            an op without backward, whose gradients are views of that of the output.
    """

    save: Callable
    gradients: Callable
    fake_backward: Callable | None = None


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
            backward_schema and formula its outputs never require a gradient.
        inputs: how many arguments can have a gradient.
        tensors: how many arguments are tensors or None.
        features: how many inputs hold features. Their gradients have their layout and dtype; those
            of the others (flows, grids, logits, biases) are contiguous, in the accumulation dtype.
        fake: takes the forward's arguments and returns outputs without data.
        reference: takes the forward's arguments and returns the first output, computed by
            differentiable PyTorch ops.
        saved_outputs: indices of the outputs that the backward takes.
        outputs: how many outputs, the first ones, can have a gradient. With several the backward
            takes the gradient of each, None where an output is not used, and the reference returns
            them all.
        adds: whether the op first adds input 1, unless it is None, to input 0 and returns the sum
            as its second output. The backward takes the sum as input 0 and None as input 1, so
            neither is saved; the gradient that it returns for input 0 is that of input 1 too.
        backward_flags: the last arguments of the backward.
        formula: of the gradients, where the backward takes other arguments than described here.
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
    outputs: int = 1
    adds: bool = False
    backward_flags: Callable[[], tuple] = tuple
    formula: Formula | None = None
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
    backward = partial(run_op, namespace, f"{op.name}_backward")
    if op.formula is not None:
        if op.backward_schema is not None:
            register_fake(f"{name}_backward", op.formula.fake_backward, lib=library)
        gradients = partial(op.formula.gradients, backward)
        torch_register_autograd(name, gradients, setup_context=op.formula.save, lib=library)
        return
    if op.backward_schema is None:
        # Without a backward autograd would warn where an input requires a gradient.
        torch_register_autograd(name, _no_grads, setup_context=_mark_no_grad, lib=library)
        return
    flags = len(op.backward_flags())

    def fake_backward(*arguments):
        inputs = arguments[op.outputs : op.outputs + op.inputs]
        return empty_grads(inputs, arguments[-1 - flags], op.features)

    def setup_context(ctx, inputs, output):
        outputs = output if isinstance(output, tuple) else (output,)
        if len(outputs) > op.outputs:
            ctx.mark_non_differentiable(*outputs[op.outputs :])
        ctx.set_materialize_grads(False)  # of outputs without gradient they would be zeros
        ctx.dtypes = [None if x is None else x.dtype for x in inputs[: op.inputs]]
        if op.adds and inputs[1] is not None:
            inputs = (outputs[1], None, *inputs[2:])
        saved = [outputs[i] for i in op.saved_outputs]
        ctx.save_for_backward(*inputs[: op.tensors], *saved)
        ctx.others = inputs[op.tensors :]

    def gradients(ctx, *grads):
        tensors, grads = ctx.saved_tensors, grads[: op.outputs]
        if all(grad is None for grad in grads):
            return (None,) * (op.tensors + len(ctx.others))
        arguments, saved = (*tensors[: op.tensors], *ctx.others), tensors[op.tensors :]
        wanted = needed = ctx.needs_input_grad[: op.inputs]
        if op.adds:
            needed = (wanted[0] or wanted[1], False, *wanted[2:])
        if torch.is_grad_enabled():  # create_graph=True: the gradients will be differentiated
            found = _reference_grads(op, arguments, needed, grads)
        else:
            needs = sum(1 << i for i, need in enumerate(needed) if need)
            found = backward(*grads, *arguments, *saved, needs, *op.backward_flags())
        if op.adds:
            found = (found[0], found[0], *found[2:])
        return (
            *(
                g.to(dtype) if want else None
                for g, dtype, want in zip(found, ctx.dtypes, wanted, strict=True)
            ),
            *[None] * (len(arguments) - op.inputs),
        )

    register_fake(f"{name}_backward", fake_backward, lib=library)
    torch_register_autograd(name, gradients, setup_context=setup_context, lib=library)


def register_fake_forward(namespace: str, op: Op) -> None:
    """Register the fake of an op without gradients that is defined in C++."""
    library = Library(namespace, "FRAGMENT")
    _libraries.append(library)
    register_fake(f"{namespace}::{op.name}", op.fake, lib=library)


def needs_gradient(inputs: Iterable) -> bool:
    """Whether autograd would record an op of these inputs."""
    return torch.is_grad_enabled() and any(
        [isinstance(x, torch.Tensor) and x.requires_grad for x in inputs]
    )


def _mark_no_grad(ctx, inputs, output) -> None:
    ctx.mark_non_differentiable(*(output if isinstance(output, tuple) else (output,)))


def _no_grads(ctx, *grads):
    raise RuntimeError("an op without backward was differentiated")  # its outputs prevent it


def _reference_grads(op: Op, arguments: tuple, wanted, grads) -> tuple[torch.Tensor | None, ...]:
    """Gradients of the reference, which can be differentiated again."""
    # One tensor may be two arguments, each with a gradient of its own.
    aliases = [None if x is None else x.view_as(x) for x in arguments[: op.inputs]]
    outputs = op.reference(*aliases, *arguments[op.inputs :])
    outputs = outputs if op.outputs > 1 else (outputs,)
    used = [(x, grad) for x, grad in zip(outputs, grads, strict=True) if grad is not None]
    found = iter(
        torch.autograd.grad(
            [x for x, _ in used],
            [x for x, want in zip(aliases, wanted, strict=True) if want],
            [grad for _, grad in used],
            create_graph=True,
            materialize_grads=True,
        )
    )
    return tuple(next(found) if want else None for want in wanted)


# -- uninitialised memory --------------------------------------------------------------------------


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether x is dense and channels-last, and not contiguous too."""
    last = torch.channels_last
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=last)


def empty_like_layout(x: torch.Tensor) -> torch.Tensor:
    """An uninitialised tensor like x: channels_last where only that fits x, else contiguous."""
    last = is_channels_last(x)
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
        if x is None:
            return first.new_empty((0,))
        dtype = x.dtype if i < features else accumulate_dtype(first)
        if not needs >> i & 1:
            return first.new_empty((0,), dtype=dtype)
        if i < features:
            return empty_like_layout(x)
        return torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)

    return tuple(empty(i, x) for i, x in enumerate(inputs))
