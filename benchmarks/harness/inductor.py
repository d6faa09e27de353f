"""Kernels that torch.compile makes of a function for a GPU, counted on a machine without one.

Inductor lowers and fuses a graph and writes its Triton code for a GPU that is only described; the
code is not compiled. Its own figures are taken: the kernels that it generates, and the bytes of the
buffers that a kernel reads and writes. A call that it leaves to a library, such as a convolution,
is one launch. The project's own ops are calls to it as well; each counts as the launches that the
op makes (`lift.profiling.launches`). What Inductor chooses by timing is left out: padded matrices,
and the templates of `max-autotune`.

Names of torch 2.13; others may have other places to step in.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

import torch
import torch._functorch.config
import torch._inductor.config
from torch._dynamo.device_interface import CudaInterface
from torch._inductor import ir, metrics
from torch._inductor.compile_fx import compile_fx
from torch._inductor.fx_passes import fuse_attention, joint_graph
from torch._inductor.graph import GraphLowering
from torch._inductor.scheduler import BaseSchedulerNode, ExternKernelSchedulerNode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from lift.kernels.autograd import is_channels_last
from lift.profiling.launches import Cost, CostCounter

GENERATED, LIBRARY, OWN = "generated", "library", "own"  # kinds of kernels: parts of the cost
NAMESPACE = "lift_triton"
CAPABILITY = 9, 0
DESCRIBED = SimpleNamespace(  # an H100, as torch.cuda.get_device_properties would
    name="NVIDIA H100",
    type="cuda",
    index=0,
    major=CAPABILITY[0],
    minor=CAPABILITY[1],
    gcnArchName="",
    multi_processor_count=132,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    warp_size=32,
    shared_memory_per_block=49152,
    shared_memory_per_block_optin=232448,
    L2_cache_size=50 << 20,
    total_memory=80 << 30,
)


@contextmanager
def counting() -> Iterator[Cost]:
    """Functions that torch.compile makes inside the block count their kernels when first called.

    They compute as if not compiled, so their arguments have no data: to be used inside
    `launches.on_a_gpu`.

    Yields:
        The cost, whose parts are GENERATED, LIBRARY and OWN; without FLOPs.
    """
    cost = Cost()

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
        compile_fx(graph, inputs)
        return graph.forward

    def module(lowering: GraphLowering) -> SimpleNamespace:
        """In place of compiling the code of a graph."""
        _add(lowering, cost)
        return SimpleNamespace(call=None, runner=None, __file__="")

    with _described_gpu(), ExitStack() as stack:
        stack.enter_context(patch.object(GraphLowering, "_compile_to_module", module))
        stack.enter_context(patch("torch.compile", partial(torch.compile, backend=backend)))
        yield cost
    torch._dynamo.reset()


# -- the kernels of a graph ------------------------------------------------------------------------


def _add(lowering: GraphLowering, cost: Cost) -> None:
    """Generate the code of a graph, and add what it launches to a cost."""
    before = metrics.generated_kernel_count
    lowering.codegen()
    cost.launches[GENERATED, "kernels"] += metrics.generated_kernel_count - before
    for node in lowering.scheduler.nodes:
        size = node.get_read_write_buffers_sizes()
        if not isinstance(node, ExternKernelSchedulerNode):
            cost.bytes[GENERATED, "kernels"] += size
        elif isinstance(node.node, ir.MultiOutput):  # of a call, whose size leaves it out
            if _namespace(node.node.inputs[0]) != NAMESPACE:
                key = LIBRARY, _name(node.node.inputs[0])
                cost.bytes[key] += _bytes(node.node)
        elif _namespace(node.node) == NAMESPACE:
            own = _own(node)
            key = OWN, _name(node.node)
            cost.launches[key] += sum(own.launches.values())
            cost.bytes[key] += sum(own.bytes.values())
        else:
            key = LIBRARY, _name(node.node)
            cost.launches[key] += 1
            cost.bytes[key] += size


def _own(node: BaseSchedulerNode) -> Cost:
    """What an op of the project launches, called with tensors like those of the graph."""

    def tensor(x: ir.IRNode) -> torch.Tensor:
        size, stride = (tuple(map(int, of)) for of in (x.get_size(), x.get_stride()))
        return torch.empty_strided(size, stride, dtype=x.get_dtype(), device=x.get_device())

    call = node.node
    with FakeTensorMode(allow_non_fake_inputs=True), CostCounter() as counter:
        inputs = [tensor(x) for x in call.inputs]
        arguments, keywords = call.unflatten_args(inputs, call.constant_args)
        call.op_overload(*arguments, **keywords)
    return counter.cost


def _namespace(call: ir.IRNode) -> str:
    return getattr(call.op_overload, "namespace", "")


def _name(call: ir.IRNode) -> str:
    return call.op_overload._schema.name.split("::")[1]


def _bytes(x: ir.IRNode) -> int:
    return int(x.get_numel()) * x.get_dtype().itemsize


# -- a GPU for Inductor ----------------------------------------------------------------------------


@contextmanager
def _described_gpu() -> Iterator[None]:
    """Inductor finds the GPU that is described, and does nothing that needs a real one."""
    find_attention = fuse_attention._sfdp_init
    fold = joint_graph.constant_fold_uniform_value

    def fold_on_the_cpu(graph: torch.fx.GraphModule) -> None:
        with _OnTheCpu():
            fold(graph)

    cuda = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "get_device_properties": lambda *device: DESCRIBED,
        "get_device_capability": lambda *device: CAPABILITY,
        "get_rng_state": lambda *device: torch.get_rng_state(),
        "set_rng_state": lambda *state: None,
    }
    interface = {
        name: staticmethod(cuda[name])
        for name in ("current_device", "device_count", "get_device_properties")
    }
    with ExitStack() as stack:
        for context in (
            torch._functorch.config.patch(enable_autograd_cache=False),
            torch._inductor.config.patch(fx_graph_cache=False, shape_padding=False),
            patch.multiple(torch.cuda, **cuda),
            patch.multiple(CudaInterface, **interface),
            patch("torch._inductor.scheduler.has_triton", lambda: True),
            patch("torch.utils._triton.triton_hash_with_backend", lambda: ""),
            patch("torch._C._conv_determine_backend_memory_format", _convolution_format),
            # Both make constants, which are real tensors.
            patch.object(joint_graph, "constant_fold_uniform_value", fold_on_the_cpu),
            patch.object(fuse_attention, "_sfdp_init", lambda _: find_attention(CPU)),
        ):
            stack.enter_context(context)
        FakeTensorMode.cache_clear()  # it has the formats of convolutions
        stack.callback(FakeTensorMode.cache_clear)
        yield


CPU = torch.device("cpu")


class _OnTheCpu(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), keywords=None):
        arguments, keywords = tree_map_only(
            torch.device, lambda _: CPU, (arguments, keywords or {})
        )
        return function(*arguments, **keywords)


def _convolution_format(image: torch.Tensor, weight: torch.Tensor, _) -> torch.memory_format:
    """The format of a convolution's result by cuDNN's rule, which a torch without CUDA lacks."""
    last = is_channels_last(image) or is_channels_last(weight)
    return torch.channels_last if last else torch.contiguous_format
