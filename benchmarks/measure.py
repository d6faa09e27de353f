"""How a benchmark measures: variants of one operation on one case, each checked first, then timed in turn with the others.

What is timed is what a person waits for: on a GPU the time between two device events around the call, with a cold L2 cache; on a CPU the
time of the call with the threads that torch was given. A variant whose results are wrong has no time.
"""
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from lift.kernels import selfcheck

COLD = 512 << 20                                        # bytes written between two GPU timings: more than any card's L2 holds
counted: str | None = None                              # the variant that a profiler counts: the only one that is run then
AHEAD = 2_000_000                                       # cycles, about a millisecond, that a GPU idles before a timing: see _gpu_timer


@dataclass(frozen=True)
class Variant:
    """One way to compute an operation.

    Attributes:
        name: as the results call it.
        call: takes the operation's arguments, returns its result, or its results in a tuple.
    """
    name: str
    call: Callable


@dataclass
class Measured:
    """What was found of one variant on one case.

    Attributes:
        error: largest relative L2 error of the result and of the gradients against the reference in float64.
        tolerance: what is allowed.
        failure: why there are no times; None when there are.
        times: seconds, a round each.
        saved: bytes kept for backward; None where there is no backward.
        peak: bytes of GPU memory above what the arguments take; None on a CPU.
        first: seconds of the first call, which compiles.
    """
    error: float | None = None
    tolerance: float | None = None
    failure: str | None = None
    times: list[float] = field(default_factory=list)
    saved: int | None = None
    peak: int | None = None
    first: float | None = None

    @property
    def median(self) -> float:
        return sorted(self.times)[len(self.times) // 2]

    @property
    def spread(self) -> float:
        """Distance of the quartiles, as a share of the median."""
        ordered = sorted(self.times)
        return (ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4]) / self.median


def compare(variants: list[Variant], reference: Callable, arguments: tuple, *, backward: bool, rounds: int,
            towards: torch.Tensor | None = None) -> dict[str, Measured]:
    """Check every variant against the reference, then time those that are right, in turn, round by round.

    Args:
        variants: to compare.
        reference: the operation's definition.
        arguments: floating tensors of one device.
        backward: time the gradients of all arguments as well; for operations of one result.
        rounds: timings of each variant.
        towards: the result's gradient; None: a random one in the shape and layout of the first argument.
    """
    towards = torch.randn_like(arguments[0]) if towards is None else towards
    variants = [variant for variant in variants if counted in (None, variant.name)]
    leaves = tuple(a.detach().requires_grad_(backward) for a in arguments)

    def task(call: Callable) -> list[torch.Tensor]:
        return _results(call, leaves, towards, backward)

    exact = _exact(reference, leaves, towards, backward)
    tolerance = selfcheck.TOLERANCES[arguments[0].dtype] * 5           # over many more values than the self-check has
    found = {variant.name: Measured(tolerance=tolerance) for variant in variants}
    for variant in variants:
        _examine(found[variant.name], task, variant, exact)
    right = [variant for variant in variants if found[variant.name].failure is None]
    for variant in right:
        found[variant.name].peak = _peak(task, variant) if arguments[0].is_cuda else None
        found[variant.name].saved = saved(variant.call, leaves) if backward else None
    if counted is not None:
        _count(task, right)
    timer = _gpu_timer(arguments[0].device) if arguments[0].is_cuda else _cpu_timer
    for turn in range(rounds + 1):
        for variant in right:
            seconds = timer(lambda call=variant.call: task(call))
            if turn:                                    # the first round warms up
                found[variant.name].times.append(seconds())
    return found


def _results(call: Callable, leaves: tuple, towards: torch.Tensor, backward: bool) -> list[torch.Tensor]:
    out = call(*leaves)
    return [*(out if isinstance(out, tuple) else (out,)), *(torch.autograd.grad(out, leaves, towards) if backward else ())]


def _exact(reference: Callable, leaves: tuple, towards: torch.Tensor, backward: bool) -> list[torch.Tensor]:
    doubles = tuple(x.detach().double().requires_grad_(backward) for x in leaves)
    return [x.detach() for x in _results(reference, doubles, towards.double(), backward)]


def _examine(measured: Measured, task: Callable, variant: Variant, exact: list[torch.Tensor]) -> None:
    try:
        start = time.perf_counter()
        found = task(variant.call)
        if found[0].is_cuda:
            torch.cuda.synchronize(found[0].device)
        measured.first = time.perf_counter() - start
    except Exception as error:                          # a variant that does not run is a finding; the others are measured
        measured.failure = f"{type(error).__name__}: {error}".splitlines()[0]
        return
    errors = torch.stack([(f.double() - e).norm() / e.norm().clamp(min=1e-30) for f, e in zip(found, exact, strict=True)])
    measured.error = errors.max().item() if errors.isfinite().all() else float("inf")
    if not measured.error <= measured.tolerance:
        measured.failure = f"wrong: relative error {measured.error:.2g}, allowed {measured.tolerance:.2g}"


def saved(call: Callable, leaves: tuple) -> int:
    """Bytes that a call keeps for backward: those of every storage that autograd holds, once."""
    storages = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = call(*leaves)
    del out
    return sum(storages.values())


def _count(task: Callable, variants: list[Variant]) -> None:
    """Run each once between the marks that a profiler waits for; what compiles has run before."""
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    for variant in variants:
        task(variant.call)
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def _peak(task: Callable, variant: Variant) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    task(variant.call)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


# -- clocks: each runs a task and returns a function that gives its seconds ------------------------------------------------------

def _cpu_timer(task: Callable) -> Callable[[], float]:
    start = time.perf_counter()
    task()
    seconds = time.perf_counter() - start
    return lambda: seconds


def _gpu_timer(device: torch.device) -> Callable:
    cold = torch.empty(COLD, dtype=torch.uint8, device=device)

    def timer(task: Callable) -> Callable[[], float]:
        cold.zero_()                                    # empties the L2 cache
        torch.cuda._sleep(AHEAD)                        # the host queues the task meanwhile, so that launches are not what is timed
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        task()
        stop.record()

        def seconds() -> float:
            stop.synchronize()
            return start.elapsed_time(stop) / 1e3

        return seconds

    return timer


def copy_bandwidth(device: torch.device | str, size: int, rounds: int = 15) -> float:
    """Bytes a second, read and written together, at which memory is copied: the median of several."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    timer = _gpu_timer(source.device) if source.is_cuda else _cpu_timer
    times = sorted(timer(lambda: target.copy_(source))() for _ in range(rounds + 1))
    return 2 * source.nbytes / times[len(times) // 2]
