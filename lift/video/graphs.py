"""Functions of tensors recorded as CUDA graphs: a GPU then replays hundreds of launches without waiting for Python."""
from collections.abc import Callable

import torch

from ..errors import LiftError
from ..model.features import map_tensors

WARM_UP = 3                                             # calls before the recording, in which kernels are compiled and tuned
AGREE = 1e-2                                            # relative L2 distance allowed between a replay and a plain call

_pool = None                                            # memory that all recordings share: what one computes is copied out at once


def record_cuda(call: Callable) -> tuple[object, Callable[[], None]]:
    """Record a call without arguments -> what it returns, in memory that each replay writes anew, and the replay."""
    global _pool
    _pool = _pool or torch.cuda.graph_pool_handle()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_pool):
        results = call()
    return results, graph.replay


class Graphed:
    """A function of tensors (also in dataclasses and tuples), recorded once for each set of shapes and replayed from then on.

    Arguments are copied to where the recording reads them, except those in the places `fixed`: these it reads where they lie, and it is
    made again when they come to lie elsewhere. Results are copies and stay. The first replay is compared with a plain call.

    Args:
        function: no random numbers, nothing that waits for the device, nothing that depends on values.
        fixed: positions of arguments, tensors, that keep their address from call to call.
        record: what records; a stand-in in tests.

    Raises:
        LiftError: the function cannot be recorded, or its replay gives something else.
    """

    def __init__(self, function: Callable, fixed: tuple[int, ...] = (), record: Callable = record_cuda):
        self._function, self._fixed, self._record = function, fixed, record
        self._recordings: dict[tuple, _Recording] = {}

    def __call__(self, *arguments):
        key = tuple([map_tensors(_form, a) for a in arguments])
        places = tuple([arguments[i].data_ptr() for i in self._fixed])
        found = self._recordings.get(key)
        if found is None or found.places != places:
            del found
            self._recordings.pop(key, None)             # let go of first, so that its memory may serve the next
            found = self._recordings[key] = _Recording(self._function, arguments, self._fixed, places, self._record)
        return found(arguments)


class _Recording:
    def __init__(self, function, arguments, fixed, places, record):
        self.places = places
        given = tuple([a if i in fixed else map_tensors(torch.clone, a) for i, a in enumerate(arguments)])
        self._kept = given                              # those that are fixed too: their memory must not be given to anyone else
        self._copied = [x for i, a in enumerate(given) if i not in fixed for x in _leaves(a)]
        self._variable = [i for i in range(len(given)) if i not in fixed]
        plain = map_tensors(torch.clone, function(*given))
        try:
            self._results, self._replay = record(lambda: function(*given))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise LiftError(f"a part of the model cannot be recorded as a CUDA graph ({str(error).splitlines()[0]}); "
                            "leave --cuda_graph out") from error
        self._check(plain, self(arguments))

    def __call__(self, arguments):
        for kept, new in zip(self._copied, [x for i in self._variable for x in _leaves(arguments[i])], strict=True):
            kept.copy_(new)
        self._replay()
        return map_tensors(torch.clone, self._results)

    @staticmethod
    def _check(plain, replayed) -> None:
        for a, b in zip(_leaves(plain), _leaves(replayed), strict=True):
            distance = (a.double() - b.double()).norm() / a.double().norm().clamp(min=1e-12)
            if not distance <= AGREE:                   # NaN is no agreement
                raise LiftError(f"a part of the model gives something else when replayed as a CUDA graph (relative distance "
                                f"{distance:.2g}); leave --cuda_graph out")


def _leaves(value) -> list[torch.Tensor]:
    found = []
    map_tensors(lambda x: found.append(x) or x, value)
    return found


def _form(x: torch.Tensor) -> tuple:
    return tuple(x.shape), x.stride(), x.dtype, x.device
