"""Functions of tensors recorded as CUDA graphs: a GPU then replays hundreds of launches without
waiting for Python.
"""

from collections.abc import Callable

import torch

from lift.data.clip import map_tensors
from lift.errors import LiftError

WARM_UP = 3  # calls before the recording, in which kernels are compiled and tuned
AGREE = 1e-2  # relative L2 distance allowed between a replay and a plain call


class CudaRecorder:
    """Records calls as CUDA graphs, all in one memory pool: their results are copied out at once.

    One for every engine: the pool must not outlive its graphs, and the first graph is held so that
    the pool never is without one. Calls are warmed up on the very stream that is recorded, so that
    libraries make their workspaces for it outside of the pool.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = self._pool = self._first = None

    def __call__(self, call: Callable) -> tuple[object, Callable[[], None]]:
        """Record a call without arguments -> what it returns, in memory that each replay writes
        anew, and the replay."""
        if self._pool is None:
            self._stream = torch.cuda.Stream(self._device)
            self._pool = torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                call()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            results = call()
        self._first = self._first or graph
        return results, graph.replay


class Graphed:
    """A function of tensors (also in dataclasses and tuples), recorded once for each set of shapes
    and replayed from then on.

    Arguments are copied to where the recording reads them, except those in the places `fixed`:
    these it reads where they lie, and it is made again when they come to lie elsewhere. Results are
    copies and stay; those that are arguments are these themselves. The first replay is compared
    with a plain call.

    Args:
        function: no random numbers, nothing that waits for the device, nothing that depends on
            values.
        record: what records, such as a `CudaRecorder`.
        fixed: positions of arguments, tensors, that keep their address from call to call.

    Raises:
        LiftError: the function cannot be recorded, or its replay gives something else.
    """

    def __init__(self, function: Callable, record: Callable, fixed: tuple[int, ...] = ()):
        self._function, self._fixed, self._record = function, fixed, record
        self._recordings: dict[tuple, _Recording] = {}

    def __call__(self, *arguments):
        key = tuple([map_tensors(_form, a) for a in arguments])
        places = tuple([arguments[i].data_ptr() for i in self._fixed])
        found = self._recordings.get(key)
        if found is None or found.places != places:
            del found
            self._recordings.pop(
                key, None
            )  # let go of first, so that its memory may serve the next
            found = self._recordings[key] = _Recording(
                self._function, arguments, self._fixed, places, self._record
            )
        return found(arguments)


class _Recording:
    def __init__(self, function, arguments, fixed, places, record):
        self.places = places
        given = tuple(
            [a if i in fixed else map_tensors(torch.clone, a) for i, a in enumerate(arguments)]
        )
        self._kept = (
            given  # those that are fixed too: their memory must not be given to anyone else
        )
        self._variable = [i for i in range(len(given)) if i not in fixed]
        self._copied = self._variable_leaves(given)
        plain = map_tensors(torch.clone, function(*given))
        try:
            self._results, self._replay = record(lambda: function(*given))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise LiftError(
                f"a part of the model cannot be recorded as a CUDA graph ({str(error).splitlines()[0]}); "
                "leave --cuda_graph out"
            ) from error
        places = {id(x): k for k, x in enumerate(self._copied)}
        # Which argument a result is, or None.
        self._passed = [places.get(id(x)) for x in _leaves(self._results)]
        self._check(plain, self(arguments))

    def __call__(self, arguments):
        given = self._variable_leaves(arguments)
        _copy(self._copied, given)
        self._replay()
        results = zip(_leaves(self._results), self._passed, strict=True)
        made = [x for x, place in results if place is None]
        copies = [torch.empty_like(x) for x in made]
        _copy(copies, made)
        copies = iter(copies)
        answers = iter([next(copies) if place is None else given[place] for place in self._passed])
        return map_tensors(lambda _: next(answers), self._results)

    def _variable_leaves(self, arguments) -> list[torch.Tensor]:
        return [x for i in self._variable for x in _leaves(arguments[i])]

    @staticmethod
    def _check(plain, replayed) -> None:
        for a, b in zip(_leaves(plain), _leaves(replayed), strict=True):
            distance = (a.double() - b.double()).norm() / a.double().norm().clamp(min=1e-12)
            if not distance <= AGREE:  # NaN is no agreement
                raise LiftError(
                    f"a part of the model gives something else when replayed as a CUDA graph (relative distance "
                    f"{distance:.2g}); leave --cuda_graph out"
                )


def _copy(targets: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
    """A call for each dtype: of one dtype a GPU copies them all together."""
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


def _form(x: torch.Tensor) -> tuple:
    return tuple(x.shape), x.stride(), x.dtype, x.device
