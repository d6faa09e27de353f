"""Check and time variants of an operation on one case.

Every variant is first compared with the reference; one with wrong results gets no time. The others
are timed alternately, round by round: on a GPU by two events around the call, with a cold L2 cache;
on a CPU by the wall clock, with the threads that torch was given.
"""

import functools
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from types import FunctionType

import torch

from lift.kernels import selfcheck
from lift.saved_tensors import saved_bytes

COLD = 512 << 20  # bytes read between two GPU timings: more than the L2 cache of any GPU
OWN_ERROR = 4  # a variant may have this many times the rounding error of the reference
counted: str | None = None  # the only variant to run, for a profiler
LATE = "out of time"
FORMS = ("plain", "graph", "compiled")  # of the model's variants, in the order of measuring
spoiled: str | None = None  # the variant whose graph capture failed in this process
AHEAD = 2_000_000  # cycles, about a millisecond, that a GPU idles before a timing: see _gpu_timer


@dataclass(frozen=True)
class Variant:
    """One way to compute an operation.

    Attributes:
        name: in the rows.
        call: takes the operation's arguments, returns its result or a tuple of results.
    """

    name: str
    call: Callable


@dataclass
class VariantResult:
    """Result of one variant on one case.

    Attributes:
        error: largest relative L2 error of results and gradients against the reference in float64.
        tolerance: largest error that is allowed.
        failure: why there are no times; None if there are.
        times: seconds, one per round.
        saved: bytes of saved activations; None without a backward pass.
        peak: bytes of GPU memory beyond the arguments; None on a CPU.
        peak_of_recording: whether `peak` is that of capturing a CUDA graph (replays allocate none).
        first: seconds of the first call, which compiles.
        baseline: the variant that was timed alternately with this one: name, median, spread.
    """

    error: float | None = None
    tolerance: float | None = None
    failure: str | None = None
    times: list[float] = field(default_factory=list)
    saved: int | None = None
    peak: int | None = None
    peak_of_recording: bool = False
    first: float | None = None
    baseline: dict[str, str | float] | None = None

    @property
    def median(self) -> float:
        return sorted(self.times)[len(self.times) // 2]

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        ordered = sorted(self.times)
        return (ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4]) / self.median


def compare(
    variants: list[Variant],
    reference: Callable,
    arguments: tuple,
    *,
    backward: bool,
    rounds: int,
    towards: torch.Tensor | None = None,
    until: float | None = None,
) -> dict[str, VariantResult]:
    """Check every variant against the reference, then time the correct ones alternately.

    Args:
        variants: to compare.
        reference: the operation's definition.
        arguments: floating-point tensors on one device.
        backward: also compute the gradients of all arguments, of the first result.
        rounds: timings per variant.
        towards: gradient of the result, the first of several; None: random, in shape and layout of
            the first argument.
        until: deadline by `time.monotonic`; variants after the first that have not started by then
            fail with `LATE`.
    """
    towards = torch.randn_like(arguments[0]) if towards is None else towards
    variants = [variant for variant in variants if counted in (None, variant.name)]
    leaves = tuple(a.detach().requires_grad_(backward) for a in arguments)

    def task(call: Callable) -> list[torch.Tensor]:
        return _results(call, leaves, towards, backward)

    exact = _exact(reference, leaves, towards, backward)
    # The self-check has far fewer values.
    tolerance = selfcheck.TOLERANCES[arguments[0].dtype] * 5

    @functools.cache
    def rounding() -> float:
        """Tolerance from the reference's own error: long float32 sums exceed the constant."""
        own = OWN_ERROR * _error(task(reference), exact)
        return max(tolerance, own) if own < float("inf") else tolerance

    found = {variant.name: VariantResult(tolerance=tolerance) for variant in variants}
    for i, variant in enumerate(variants):
        if i and until is not None and time.monotonic() > until:
            found[variant.name].failure = LATE
        else:
            _examine(found[variant.name], task, variant, exact, rounding)
    right = [variant for variant in variants if found[variant.name].failure is None]
    for variant in right:
        found[variant.name].peak = _peak(task, variant) if arguments[0].is_cuda else None
        found[variant.name].saved = saved(variant.call, leaves) if backward else None
    if counted is not None:
        _count(task, right)
    turns = in_turn(
        {v.name: lambda call=v.call: task(call) for v in right}, rounds, timer(arguments[0].device)
    )
    for name, times in turns.items():
        found[name].times = times
    return found


def in_turn(tasks: dict[str, Callable], rounds: int, clock: Callable) -> dict[str, list[float]]:
    """Seconds of each task, alternating round by round; a warm-up precedes several rounds."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(-1 if rounds > 1 else 0, rounds):
        for name, task in tasks.items():
            seconds = clock(task)()
            if turn >= 0:
                times[name].append(seconds)
    return times


def time_with(
    found: VariantResult,
    name: str,
    task: Callable,
    baseline: tuple[str, Callable] | None,
    rounds: int,
    clock: Callable,
) -> None:
    """Time a variant alternately with its baseline; alone if there is none."""
    others = {} if baseline is None else {baseline[0]: baseline[1]}
    turns = in_turn(others | {name: task}, rounds, clock)
    found.times = turns.pop(name)
    for other, times in turns.items():
        result = VariantResult(times=times)
        found.baseline = {"variant": other, "median": result.median, "spread": result.spread}


def form(variant: str) -> str:
    """Which of FORMS a variant has, by its name; compiled and captured counts as compiled."""
    return "compiled" if "compile" in variant else "graph" if is_graph(variant) else "plain"


def is_graph(variant: str) -> bool:
    """Whether a variant replays a CUDA graph."""
    return "graph" in variant


def by_form(pairs: list[tuple], forms: str) -> list[tuple]:
    """The (case, variant) pairs of some forms (comma-separated), one form after the other."""
    chosen = [pair for pair in pairs if form(pair[1]) in forms.split(",")]
    return sorted(chosen, key=lambda pair: FORMS.index(form(pair[1])))


def attempted(found: VariantResult, variant: str, task: Callable) -> object | None:
    """Result of `task`; None, with `failure` set, where it raises or could not be trusted.

    A failed graph capture leaves torch's streams and allocator in an undefined state, so that later
    measurements of the same process would mean nothing.
    """
    global spoiled
    if spoiled:
        found.failure = (
            f"not measured: the graph capture of {spoiled} failed earlier in this process; "
            "run this variant alone, with -k"
        )
        return None
    try:
        return task()
    except Exception as error:  # the other variants are still measured
        found.failure = f"{type(error).__name__}: {error}".splitlines()[0]
        spoiled = variant if is_graph(variant) and torch.cuda.is_available() else None
        return None


_compiled: dict[Hashable, Callable] = {}


def compiled(call: FunctionType, key: Hashable, **options) -> Callable:
    """`call` through torch.compile, once per key, shared by cases that differ in values only."""
    if key not in _compiled:
        # Dynamo caches by code object and gives up after eight entries: each key gets a copy.
        own = FunctionType(
            call.__code__.replace(),
            call.__globals__,
            call.__name__,
            call.__defaults__,
            call.__closure__,
        )
        own.__kwdefaults__ = call.__kwdefaults__
        _compiled[key] = torch.compile(own, dynamic=False, **options)
    return _compiled[key]


def _results(
    call: Callable, leaves: tuple, towards: torch.Tensor, backward: bool
) -> list[torch.Tensor]:
    out = call(*leaves)
    outputs = out if isinstance(out, tuple) else (out,)
    return [*outputs, *(torch.autograd.grad(outputs[0], leaves, towards) if backward else ())]


def _exact(
    reference: Callable, leaves: tuple, towards: torch.Tensor, backward: bool
) -> list[torch.Tensor]:
    doubles = tuple(x.detach().double().requires_grad_(backward) for x in leaves)
    return [x.detach() for x in _results(reference, doubles, towards.double(), backward)]


def _examine(
    measured: VariantResult,
    task: Callable,
    variant: Variant,
    exact: list[torch.Tensor],
    rounding: Callable[[], float],
) -> None:
    try:
        start = time.perf_counter()
        found = task(variant.call)
        if found[0].is_cuda:
            torch.cuda.synchronize(found[0].device)
        measured.first = time.perf_counter() - start
    except Exception as error:  # the other variants are still measured
        measured.failure = f"{type(error).__name__}: {error}".splitlines()[0]
        return
    measured.error = _error(found, exact)
    if not measured.error <= measured.tolerance:  # only then: it costs a run of the reference
        measured.tolerance = rounding()
    if not measured.error <= measured.tolerance:
        measured.failure = wrong(measured)


def wrong(measured: VariantResult) -> str:
    """The failure of a variant whose error is too large."""
    return f"wrong: relative error {measured.error:.2g}, allowed {measured.tolerance:.2g}"


def _error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    """The largest relative L2 error of a result; infinite where one is not finite."""
    errors = torch.stack(
        [
            (f.double() - e.double()).norm() / e.double().norm().clamp(min=1e-30)
            for f, e in zip(found, exact, strict=True)
        ]
    )
    return errors.max().item() if errors.isfinite().all() else float("inf")


def saved(call: Callable, leaves: tuple) -> int:
    """Activation memory that a call saves for backward, bytes."""
    return saved_bytes(lambda: call(*leaves))[1]


def _count(task: Callable, variants: list[Variant]) -> None:
    """Run each once inside the range that a profiler records; all are compiled before."""
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


# -- clocks: each runs a task and returns a function that returns its seconds ----------------------


def timer(device: torch.device | str) -> Callable:
    """The clock of a device."""
    device = torch.device(device)
    return _gpu_timer(device) if device.type == "cuda" else _cpu_timer


def _cpu_timer(task: Callable) -> Callable[[], float]:
    start = time.perf_counter()
    task()
    seconds = time.perf_counter() - start
    return lambda: seconds


def _gpu_timer(device: torch.device) -> Callable:
    other = torch.zeros(COLD // 4, dtype=torch.int32, device=device)

    def clock(task: Callable) -> Callable[[], float]:
        other.amax()  # read, not written: modified cache lines would be written back
        torch.cuda._sleep(AHEAD)  # the host queues the task meanwhile: launches are not timed
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        task()
        stop.record()

        def seconds() -> float:
            stop.synchronize()
            return start.elapsed_time(stop) / 1e3

        return seconds

    return clock


def copy_bandwidth(device: torch.device | str, size: int, rounds: int = 15) -> float:
    """Bytes per second, read and written together, of a copy: the median of several."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    clock = timer(source.device)
    times = sorted(clock(lambda: target.copy_(source))() for _ in range(rounds + 1))
    return 2 * source.nbytes / times[len(times) // 2]
