"""PyTorch custom ops for the kernels: schemas, fake tensors, gradients, second derivatives.

An `Op` describes an op once, for all backends. A namespace such as `torch.ops.lift_triton` or
`torch.ops.lift_cpp` holds the forward and the backward of one backend; this module adds the rest.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch.library import Library, register_fake
from torch.utils.flop_counter import register_flop_formula

from lift.kernels.checks import accumulate_dtype
from lift.kernels.transforms import (
    differentiable_alias,
    in_transform,
    register_kernel,
    register_vmap,
    without_history,
    without_tangent,
)

_libraries: list[Library] = []  # an op lives as long as its library
implementations: dict[str, Callable] = {}  # of the ops defined in Python, by namespace::name


@dataclass(frozen=True)
class Formula:
    """The gradients of an op whose backward does not take the forward's arguments.

    So inputs that are not needed are freed, and two inputs can have one gradient.

    Attributes:
        save: (ctx, inputs, output), the `setup_context` of `torch.library.register_autograd`.
        gradients: takes the op's backward, ctx and the gradients of the outputs, and returns the
            gradients of all arguments. Where grad mode is enabled these can be differentiated.
        tangents: takes the op's arguments and its outputs without tangents, and returns the outputs
            with tangents; None where the reference's are those of the op.
        fake_backward: takes the backward's arguments and returns gradients without data; None for
            an op without backward, whose gradients are views of that of the output.
    """

    save: Callable
    gradients: Callable
    fake_backward: Callable | None = None
    tangents: Callable | None = None


@dataclass(frozen=True)
class Op:
    """A differentiable op.

    The forward's arguments begin with its tensors, and these with the inputs that can have a
    gradient. The backward, `<name>_backward`, takes the gradient of the first output, the forward's
    arguments, the saved outputs, `needs`, and `backward_flags()`. Bit i of `needs` is set where
    input i needs a gradient; the other gradients are returned empty, with shape (0,).

    Attributes:
        name: of the forward.
        schema, backward_schema: what follows the names, as PyTorch writes schemas; without default
            values.
        inputs: how many arguments can have a gradient; without a backward_schema and formula it is
            the reference that computes theirs. 0 for an op whose outputs are constants by design.
        tensors: how many arguments are tensors or None.
        by_reference: positions of tensors of which kernels have no gradient; backends refuse calls
            that need it, and where only an outer transform does, the reference computes the call.
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
        folded: the positions of the arguments, for given ones, whose first dimension is a batch of
            independent images, so that `torch.vmap` computes all samples as one batch; None, or a
            function that returns None, where it computes one after another.
        flops: takes the forward's arguments and returns its floating-point operations, for
            `torch.utils.flop_counter`; None for an op that is not counted.
        backward_flops: those of the backward, in relation.
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
    by_reference: tuple[int, ...] = ()
    saved_outputs: tuple[int, ...] = ()
    outputs: int = 1
    adds: bool = False
    backward_flags: Callable[[], tuple] = tuple
    formula: Formula | None = None
    folded: Callable[[tuple], frozenset[int] | None] | None = None
    flops: Callable[..., int] | None = None
    backward_flops: float = 2.0
    call: Callable | None = None

    @property
    def returns(self) -> int:
        """How many outputs the op has."""
        return self.schema.split("->")[1].count("Tensor")

    def bind(self, namespace: str) -> Callable:
        """The op of a namespace as a function with the arguments of the reference."""
        if self.call is not None:
            return partial(self.call, namespace)
        return partial(run_op, namespace, self.name)


def run_op(namespace: str, name: str, *arguments):
    """Run an op such as `torch.ops.lift_cpp.warp`.

    Raises:
        torch.OutOfMemoryError: the extension found too little memory on a GPU. The stable ABI knows
            the message, but not the class.
    """
    op = getattr(getattr(torch.ops, namespace), name)
    if namespace != "lift_cuda":
        return op(*arguments)
    try:
        return op(*arguments)
    except RuntimeError as error:
        if "CUDA out of memory" in str(error) and not isinstance(error, torch.OutOfMemoryError):
            raise torch.OutOfMemoryError(str(error)) from error
        raise


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
    """Register fakes and derivatives of an op that is defined, in Python or in C++."""
    library = Library(namespace, "FRAGMENT")
    _libraries.append(library)
    name = f"{namespace}::{op.name}"
    has_backward = op.backward_schema is not None
    register_fake(name, op.fake, lib=library)
    if op.formula is not None:
        fake_backward, save = op.formula.fake_backward, op.formula.save
        gradients = partial(op.formula.gradients, partial(run_op, namespace, f"{op.name}_backward"))
    else:
        fake_backward, save = partial(_fake_backward, op), partial(_save, op)
        gradients = partial(_gradients, namespace, op)
    if not has_backward and op.formula is None:
        save, gradients = None, None
    register_kernel(library, name, save, gradients, _differentiable(op), op.by_reference)
    _register_rules(library, name, op.folded, op.flops)
    if has_backward:
        register_fake(f"{name}_backward", fake_backward, lib=library)
        if op.formula is None:
            second = _save_backward, partial(_second_gradients, op), partial(_second_tangents, op)
            register_kernel(library, f"{name}_backward", *second)
        folded = partial(_folded_backward, op) if op.folded else None
        flops = partial(_backward_flops, op) if op.flops else None
        _register_rules(library, f"{name}_backward", folded, flops)


def register_fake_forward(namespace: str, op: Op) -> None:
    """Register the fake of an op that C++ defines without its gradients."""
    library = Library(namespace, "FRAGMENT")
    _libraries.append(library)
    name = f"{namespace}::{op.name}"
    register_fake(name, op.fake, lib=library)
    register_kernel(library, name, None, None, _differentiable(op))
    _register_rules(library, name, op.folded, op.flops)


def _register_rules(
    library: Library, name: str, folded: Callable | None, flops: Callable | None
) -> None:
    register_vmap(library, name, folded or (lambda arguments: None))
    if flops is not None:
        namespace, op_name = name.split("::")
        packet = getattr(getattr(torch.ops, namespace), op_name)
        register_flop_formula(packet, get_raw=True)(flops)


def needs_gradient(inputs: Iterable) -> bool:
    """Whether an op of these inputs may have to be differentiated.

    Under transforms a tensor does not show what outer levels need of it.
    """
    return in_transform() or (
        torch.is_grad_enabled()
        and any([isinstance(x, torch.Tensor) and x.requires_grad for x in inputs])
    )


def all_tensors(arguments: tuple) -> frozenset[int]:
    """The `Op.folded` of an op whose tensors all begin with the batch dimension."""
    return frozenset(i for i, x in enumerate(arguments) if isinstance(x, torch.Tensor))


# -- derivatives -----------------------------------------------------------------------------------


def _fake_backward(op: Op, *arguments):
    inputs = arguments[op.outputs : op.outputs + op.inputs]
    return empty_grads(inputs, arguments[_needs(op)], op.features)


def _needs(op: Op) -> int:
    """The position of `needs`, from the end, among the arguments of the backward."""
    return -1 - len(op.backward_flags())


def _save(op: Op, ctx, inputs, output) -> None:
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


def _gradients(namespace: str, op: Op, ctx, *grads):
    tensors, grads = ctx.saved_tensors, grads[: op.outputs]
    if all(grad is None for grad in grads):
        return (None,) * (op.tensors + len(ctx.others))
    arguments, saved = (*tensors[: op.tensors], *ctx.others), tensors[op.tensors :]
    wanted = needed = ctx.needs_input_grad[: op.inputs]
    if op.adds:
        needed = (wanted[0] or wanted[1], False, *wanted[2:])
    needs = sum(1 << i for i, need in enumerate(needed) if need)
    flags = op.backward_flags()
    found = run_op(namespace, f"{op.name}_backward", *grads, *arguments, *saved, needs, *flags)
    if op.adds:
        found = (found[0], found[0], *found[2:])
    return (
        *(
            g.to(dtype) if want else None
            for g, dtype, want in zip(found, ctx.dtypes, wanted, strict=True)
        ),
        *[None] * (len(arguments) - op.inputs),
    )


def _differentiable(op: Op) -> Callable:
    """The op in ops that can be differentiated: its reference, unless its formula says otherwise.

    Outputs that have no derivative are computed by the op itself.
    """

    def differentiable(compute: Callable, *arguments):
        constants = tuple(map(without_tangent, arguments))
        if op.inputs == 0:
            return compute(*constants)
        if op.formula is not None and op.formula.tangents is not None:
            return op.formula.tangents(arguments, compute(*constants))
        constant = set(range(op.inputs, op.tensors)).difference(op.by_reference)
        outputs = op.reference(
            *[x.detach() if i in constant and x is not None else x for i, x in enumerate(arguments)]
        )
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if op.returns > len(outputs):
            outputs = (*outputs, *compute(*constants)[len(outputs) :])
        return outputs if op.returns > 1 else outputs[0]

    return differentiable


def _save_backward(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*[x if isinstance(x, torch.Tensor) else None for x in inputs])
    ctx.others = [None if isinstance(x, torch.Tensor) else x for x in inputs]


def _second_gradients(op: Op, ctx, *grads):
    """Gradients of the op's backward, whose gradients are those of `_reference_grads`."""
    arguments = [y if x is None else x for x, y in zip(ctx.saved_tensors, ctx.others, strict=True)]
    wanted = ctx.needs_input_grad[: len(arguments)]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        pairs = zip(arguments, wanted, strict=True)
        inputs = [differentiable_alias(x) if want else x for x, want in pairs]
        first = _reference_grads(op, inputs)
        used = [
            (x, grad.to(x.dtype))
            for x, grad in zip(first, grads, strict=True)
            if grad is not None and x.requires_grad
        ]
        found = torch.autograd.grad(
            [x for x, _ in used],
            [x for x, want in zip(inputs, wanted, strict=True) if want],
            [grad for _, grad in used],
            create_graph=create_graph,
            allow_unused=True,  # such as outputs of the forward, which the reference computes anew
        )
    found = iter(found)
    return tuple(next(found) if want else None for want in wanted)


def _second_tangents(op: Op, compute: Callable, *arguments):
    """The op's backward in differentiable ops, with the tangents of its arguments."""
    recorded = torch.is_grad_enabled() and any(
        isinstance(x, torch.Tensor) and x.requires_grad for x in arguments
    )
    with torch.enable_grad():
        found = _reference_grads(op, arguments)
    return found if recorded else tuple(map(without_history, found))


def _reference_grads(op: Op, arguments) -> tuple[torch.Tensor, ...]:
    """What the op's backward returns for its arguments, in ops that can be differentiated."""
    needs = arguments[_needs(op)]
    grads, arguments = arguments[: op.outputs], arguments[op.outputs :]
    end = len(arguments) + _needs(op) - len(op.saved_outputs)
    wanted = [bool(needs >> i & 1) for i in range(op.inputs)]
    # One tensor may be two arguments, each with a gradient of its own.
    aliases = [
        differentiable_alias(x) if want else x
        for x, want in zip(arguments[: op.inputs], wanted, strict=True)
    ]
    outputs = op.reference(*aliases, *arguments[op.inputs : end])
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
    empty = empty_grads(arguments[: op.inputs], 0, op.features)
    return tuple(
        next(found).to(x.dtype) if want else x for x, want in zip(empty, wanted, strict=True)
    )


# -- rules for counters and transforms -------------------------------------------------------------


def _folded_backward(op: Op, arguments: tuple) -> frozenset[int] | None:
    """The positions that `Op.folded` allows, in the arguments of the backward."""
    rest = arguments[op.outputs :]
    inputs = rest[: len(rest) + _needs(op) - len(op.saved_outputs)]
    batches = op.folded(inputs)
    needs = arguments[_needs(op)]
    if batches is None or any(
        needs >> i & 1 and i not in batches for i in range(op.inputs) if inputs[i] is not None
    ):
        return None  # a gradient would be summed over samples
    saved = range(len(inputs), len(inputs) + len(op.saved_outputs))
    shifted = {op.outputs + i for i in (*batches, *saved)}
    return frozenset(
        {i for i in {*range(op.outputs), *shifted} if isinstance(arguments[i], torch.Tensor)}
    )


def _backward_flops(op: Op, *arguments, **_) -> int:
    # after the gradients the arguments begin as the forward's
    return int(op.backward_flops * op.flops(*arguments[op.outputs :]))


# -- uninitialised memory --------------------------------------------------------------------------


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether x is dense and channels-last, and not contiguous too; false inside transforms."""
    if in_transform():  # where a sample of a batch does not know its strides
        return False
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
