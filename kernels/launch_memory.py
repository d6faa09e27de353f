"""Launches that are remembered: what a launch needs besides its tensors is computed once.

An op computes block sizes, strides and a grid for each launch, and Triton looks at every argument
to find the compiled kernel. For inputs like those of an earlier launch the results are the same, so
`launch_again` only fills in the tensors and launches what was compiled then.

Two inputs are alike if all that the op and Triton look at is equal: dtype, shape, strides and
alignment of each tensor, their device, and every other value with its type.

Triton's settings (`triton.knobs`) are those of the first launch; hooks of launches are called.
"""

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
from triton.compiler import CompiledKernel

from lift.kernels import launch as launches

ALIGNMENT = 16  # bytes: Triton compiles another kernel for pointers that are no multiples
MOST = 1024  # launches; a frame of the model has about fifty

_memory: dict[tuple, "Remembered"] = {}
_lock = threading.Lock()


def launch_again(kernel, arguments_of: Callable[..., tuple[int, dict]], *inputs) -> None:
    """As `launch(kernel, *arguments_of(*inputs))`, faster from the second time on.

    Args:
        arguments_of: returns the number of programs and the arguments of the kernel. These may
            depend on what `inputs` describes, not on data, addresses or settings. A function of the
            module: each closure would have a memory of its own.
        inputs: of `arguments_of`, with at least one tensor: tensors, None, what can be hashed, and
            tuples and lists of these. All tensors are on one device.
    """
    if launches.is_observed():  # the tensors may have no data
        launches.launch(kernel, *arguments_of(*inputs))
        return
    key, tensors = [id(kernel), arguments_of, launches.forced_int64_offsets()], []
    _describe(inputs, key, tensors)
    key.append(tensors[0].get_device())
    ids = [id(x) for x in tensors]
    if len(set(ids)) < len(ids):  # one tensor as two inputs, which differ another time
        key.append(tuple([ids.index(i) for i in ids]))
    key = tuple(key)
    remembered = _memory.get(key)
    if remembered is not None:
        remembered.launch(tensors)
        return
    programs, arguments = arguments_of(*inputs)
    compiled = launches.launch(kernel, programs, arguments)
    remembered = _remember(kernel, programs, arguments, tensors, compiled)
    if remembered is not None:
        with _lock:
            if len(_memory) >= MOST:
                del _memory[next(iter(_memory))]  # the oldest
            _memory[key] = remembered


def forget() -> None:
    """Forget all launches, after a change of what decides over their arguments."""
    with _lock:
        _memory.clear()


def _describe(inputs, key: list, tensors: list[torch.Tensor]) -> None:
    """Add to the key what decides over a launch, and the tensors in order of the inputs."""
    for x in inputs:
        if isinstance(x, torch.Tensor):
            key += (x.dtype, x.shape, x.stride(), x.data_ptr() % ALIGNMENT)
            tensors.append(x)
        elif x is None:
            key.append(None)
        elif isinstance(x, (tuple, list)):
            key.append(len(x))
            _describe(x, key, tensors)
        else:
            key += (type(x), x)  # 1, 1.0 and True are equal, and compiled differently


@dataclass(slots=True)
class Remembered:
    """A launch without its tensors.

    Attributes:
        kernel: also keeps its id from another kernel.
        arguments: by name, in the order of the kernel's parameters; None for tensors.
        options: of the compiler, such as num_warps.
        places: names of the arguments that are tensors, each with its place among the tensors.
        scratch: functions that make the other tensors, by name, as in `launch`.
        run: takes the arguments by position; None where the kernel is launched by name.
    """

    kernel: object
    programs: int
    arguments: dict
    options: dict
    places: list[tuple[str, int]]
    scratch: list[tuple[str, Callable]]
    run: Callable | None

    def launch(self, tensors: list[torch.Tensor]) -> None:
        arguments = self.arguments.copy()
        for name, place in self.places:
            arguments[name] = tensors[place]
        for name, make in self.scratch:
            arguments[name] = make(tensors[0])
        if self.run is None or getattr(self.kernel, "pre_run_hooks", None):
            launches.launch(self.kernel, self.programs, arguments | self.options)
        else:
            with torch.cuda.device_of(tensors[0]):
                self.run(*arguments.values())


def _remember(
    kernel, programs: int, arguments: dict, tensors: list[torch.Tensor], compiled
) -> Remembered | None:
    """A launch that can be repeated; None where tensors are not the inputs, such as copies."""
    place_of = {id(x): i for i, x in enumerate(tensors)}
    parameters = inspect.signature(kernel.fn).parameters
    ordered = {n: arguments[n] if n in arguments else p.default for n, p in parameters.items()}
    options = {name: value for name, value in arguments.items() if name not in parameters}
    places, scratch = [], []
    for name, x in ordered.items():
        if isinstance(x, torch.Tensor):
            if id(x) not in place_of:
                return None
            places.append((name, place_of[id(x)]))
            ordered[name] = None
        elif callable(x):
            scratch.append((name, x))
            ordered[name] = None
    run = None
    # Kernels of ROCm also depend on the size of a tensor's memory.
    if isinstance(kernel, triton.JITFunction) and isinstance(compiled, CompiledKernel):
        if torch.version.hip is None:
            run = compiled[(programs, 1, 1)]
    return Remembered(kernel, programs, ordered, options, places, scratch, run)
