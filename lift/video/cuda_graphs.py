"""Functions of tensors recorded as CUDA graphs, which replay hundreds of launches as one."""

from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass

import torch

from lift.data.clip import map_tensors
from lift.errors import LiftError

WARMUP_CALLS = 3  # before the recording; kernels are compiled and tuned in them
MAX_REPLAY_ERROR = 1e-2  # relative L2 distance of a replay from a plain call


class CudaGraphRecorder:
    """Records calls as CUDA graphs that share one memory pool.

    Sharing is safe because results are copied out at once. Every engine has a recorder of its own:
    the pool must not outlive its graphs, and a reference to the first graph keeps the pool in use.
    Calls are warmed up on the stream that is recorded, so that libraries allocate their workspaces
    for it outside of the pool.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = self._pool = self._first = None

    def __call__(self, call: Callable) -> tuple[object, Callable[[], None]]:
        """Record a call without arguments.

        Returns:
            Its results, in memory that each replay overwrites, and the replay.
        """
        if self._pool is None:
            self._stream = torch.cuda.Stream(self._device)
            self._pool = torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(WARMUP_CALLS):
                call()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            results = call()
        self._first = self._first or graph
        return results, graph.replay


class GraphedCall:
    """A function of tensors, recorded once for each set of shapes, then replayed.

    Tensors may be in dataclasses and tuples. Arguments are copied into the recording's memory,
    except those at positions `fixed`: they are read in place, and the function is recorded again
    when their address changes. Results are copies; a result that is an argument is returned as
    that argument. The first replay is compared with a plain call.

    Args:
        function: without random numbers, synchronization, or control flow on values.
        record: the recorder, such as a `CudaGraphRecorder`.
        fixed: positions of arguments, tensors, that keep their address from call to call.

    Raises:
        LiftError: the function cannot be recorded, or its replay gives something else.
    """

    def __init__(self, function: Callable, record: Callable, fixed: tuple[int, ...] = ()):
        self._function, self._fixed, self._record = function, fixed, record
        self._recordings: dict[tuple, _Recording] = {}

    def __call__(self, *arguments):
        key = _layout(arguments)
        addresses = tuple([arguments[i].data_ptr() for i in self._fixed])
        recording = self._recordings.get(key)
        if recording is None or recording.addresses != addresses:
            del recording
            self._recordings.pop(key, None)  # first, so that its memory can be reused
            recording = self._recordings[key] = _Recording(
                self._function, arguments, self._fixed, addresses, self._record
            )
        return recording(arguments)


class _Recording:
    """One recording of a function, for one set of shapes."""

    def __init__(self, function, arguments, fixed, addresses, record):
        self.addresses = addresses
        given = tuple(
            [a if i in fixed else map_tensors(torch.clone, a) for i, a in enumerate(arguments)]
        )
        self._arguments = given  # the fixed ones too: their memory must not be reused
        self._variable = [i for i in range(len(given)) if i not in fixed]
        self._copied = self._variable_leaves(given)
        plain = map_tensors(torch.clone, function(*given))
        try:
            self._results, self._replay = record(lambda: function(*given))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise LiftError(
                "a part of the model cannot be recorded as a CUDA graph "
                f"({str(error).splitlines()[0]}); leave --cuda_graph out"
            ) from error
        positions = {id(x): k for k, x in enumerate(self._copied)}
        # for each result the position of the argument that it is, or None
        self._passed = [positions.get(id(x)) for x in _leaves(self._results)]
        self._check(plain, self(arguments))

    def __call__(self, arguments):
        given = self._variable_leaves(arguments)
        _copy(self._copied, given)
        self._replay()
        results = zip(_leaves(self._results), self._passed, strict=True)
        new = [x for x, position in results if position is None]
        copies = [torch.empty_like(x) for x in new]
        _copy(copies, new)
        copies = iter(copies)
        outputs = iter([next(copies) if k is None else given[k] for k in self._passed])
        return map_tensors(lambda _: next(outputs), self._results)

    def _variable_leaves(self, arguments) -> list[torch.Tensor]:
        return [x for i in self._variable for x in _leaves(arguments[i])]

    @staticmethod
    def _check(expected, replayed) -> None:
        for a, b in zip(_leaves(expected), _leaves(replayed), strict=True):
            a, b = a.double(), b.double()
            # gradients in float16 overflow now and then, in the plain call too
            same = (a == b) | (a.isnan() & b.isnan())
            difference = torch.where(same, 0.0, a - b)
            distance = difference.norm() / a.nan_to_num(0, 0, 0).norm().clamp(min=1e-12)
            if not distance <= MAX_REPLAY_ERROR:  # also for NaN
                raise LiftError(
                    "a part of the model gives another result when replayed as a CUDA graph "
                    f"(relative distance {distance:.2g}); leave --cuda_graph out"
                )


def _copy(targets: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
    """Copy tensors with one call for each dtype, which a GPU runs as few kernels."""
    groups: dict[torch.dtype, tuple[list, list]] = {}
    for target, source in zip(targets, sources, strict=True):
        group = groups.setdefault(target.dtype, ([], []))
        group[0].append(target)
        group[1].append(source)
    for group in groups.values():
        torch._foreach_copy_(*group)


def _leaves(value) -> list[torch.Tensor]:
    found = []
    map_tensors(lambda x: found.append(x) or x, value)
    return found


def _layout(value) -> Hashable:
    """What a recording depends on: shapes, strides, dtypes, and everything that is no tensor."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device
    if isinstance(value, tuple):
        return tuple([_layout(x) for x in value])
    if is_dataclass(value):
        return type(value), *[_layout(getattr(value, f.name)) for f in fields(value)]
    return value
