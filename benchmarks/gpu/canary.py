"""First checks on a GPU: does everything run, and is it correct? About a minute.

    python -m benchmarks.gpu.canary [--device cuda] [--seconds N] [--json FILE]
    python -m benchmarks.gpu.canary --device cpu --toy           # the same checks at toy size

One line per check: the gradients of `grid_sample` against ATen's, each Triton operation against its
reference, a CUDA graph, a generated frame (base, 1080p, bfloat16) and a training step (base, 4
clips of 256 x 256, bfloat16) against the reference kernels, both also captured as CUDA graphs. A
failed check does not stop the others, unless it killed the CUDA context of the process. The exit
code is 1 if a check failed. Times are of a single run and only show that a check takes seconds
rather than minutes.
"""

import argparse
import itertools
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.harness import machine, training_step
from benchmarks.harness.parameters import fill_zeros
from lift import kernels
from lift.config import PRESETS, Config
from lift.files import atomic
from lift.kernels import dispatch as backend
from lift.kernels import selfcheck
from lift.kernels.ops.grid_sample import cuda
from lift.model.factory import create_lift_model
from lift.video.cuda_graphs import GraphedCall
from lift.video.schedule import MultiplierSchedule

ROOT = Path(__file__).resolve().parents[2]
ROUNDING = {None: 1e-4, torch.bfloat16: 1e-2}  # relative error that is always allowed
REPLAY = 1e-2  # relative, of a graph to the plain call
TRITON_OPERATIONS = tuple(
    name
    for name, backends in backend.operations().items()
    if any(one.name == "triton" for one in backends)
)


class CheckFailed(Exception):
    """A value is wrong; the message has its error."""


class CheckSkipped(Exception):
    """A check cannot run here; the message has the reason."""


@dataclass(frozen=True)
class Setting:
    """Sizes and dtypes of the checks.

    Attributes:
        device: "cuda" or "cpu".
        preset: of the model.
        frame: (H, W) of the generated frames, pixels.
        context: input frames of one generated frame.
        batch: (B, T, H, W) of the training step.
        autocast: of the model, or None.
    """

    device: str
    preset: str = "base"
    frame: tuple[int, int] = (1080, 1920)
    context: int = 15
    batch: tuple[int, int, int, int] = (4, 15, 256, 256)
    autocast: torch.dtype | None = torch.bfloat16

    @property
    def is_cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def flag(self) -> str:
        """The kernels flag: only fused kernels on a GPU, the fast ones on a CPU."""
        return "fused" if self.is_cuda else "auto"

    def synchronize(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()


def toy(device: str) -> Setting:
    """Small enough for a CPU and Triton's interpreter."""
    return Setting(device, "tiny", (32, 48), 3, (1, 3, 32, 32), None)


# -- operations ------------------------------------------------------------------------------------


def cuda_build(setting: Setting) -> str:
    """The CUDA kernels of `grid_sample` are built and support this GPU."""
    _only_on_a_gpu(setting)
    reason = cuda.unsupported_reason()
    if reason is not None:
        raise CheckFailed(f"the CUDA kernels of grid_sample are not supported: {reason}")
    return cuda.describe()


def grid_sample(setting: Setting, deterministic: bool) -> str:
    """Both gradients against ATen's in float64; deterministic ones are bitwise reproducible."""
    name = "cuda" if setting.is_cuda else "cpp"
    reason = next(
        x for x in backend.operations()["grid_sample"] if x.name == name
    ).unsupported_reason()
    if reason is not None and not setting.is_cuda:
        raise CheckSkipped(reason)
    generator = torch.Generator().manual_seed(0)
    B, C, H, W = (2, 32, 96, 128) if setting.is_cuda else (1, 4, 9, 12)
    image, towards = torch.randn(2, B, C, H, W, generator=generator).to(setting.device)
    # Between a quarter and three quarters of a pixel: the gradients jump at whole numbers.
    last = torch.tensor([W - 1, H - 1])
    place = ((last + 4) * torch.rand(B, H, W, 2, generator=generator)).floor() - 2
    place += 0.25 + 0.5 * torch.rand(B, H, W, 2, generator=generator)
    grid = (2 * place / last - 1).to(setting.device)
    how = {"padding_mode": "border", "align_corners": True}
    inputs = image, grid, towards
    exact = _gradients(partial(F.grid_sample, **how), *(x.double() for x in inputs))
    call = partial(kernels.grid_sample, **how, backend=name)
    with _deterministic(deterministic):
        found, again = _gradients(call, *inputs), _gradients(call, *inputs)
    if deterministic and not all(map(torch.equal, found, again)):
        raise CheckFailed("two deterministic runs gave different bits")
    errors = [
        (a.double() - b).abs().max() / b.abs().max() for a, b in zip(found, exact, strict=True)
    ]
    return _within(
        torch.stack(errors).max().item(),
        selfcheck.TOLERANCES[torch.float32],
        "error against ATen in float64",
    )


def _gradients(call: Callable, image: torch.Tensor, grid: torch.Tensor, towards: torch.Tensor):
    inputs = [x.clone().requires_grad_() for x in (image, grid)]
    return torch.autograd.grad(call(*inputs), inputs, towards)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def triton_operation(setting: Setting, name: str) -> str:
    """Results and gradients of a Triton operation against the reference in float64."""
    implementation = next(x for x in backend.operations()[name] if x.name == "triton")
    reason = implementation.unsupported_reason(*selfcheck.samples(name, device=setting.device))
    if reason is not None:
        if setting.is_cuda:
            raise CheckFailed(f"not supported: {reason}")
        raise CheckSkipped(reason)
    found = selfcheck.check(name, implementation, torch.float32, setting.device)
    return _within(found.error, found.tolerance, "error")


def graph(setting: Setting) -> str:
    """A fused operation captured as a CUDA graph and replayed on other values."""
    _only_on_a_gpu(setting)
    image, flow = selfcheck.samples("warp", device=setting.device)
    replayed = GraphedCall(partial(kernels.warp, backend="triton"))
    replayed(image, flow)
    other = image.flip(-1).contiguous()
    found, expected = replayed(other, flow), kernels.warp(other, flow, backend="triton")
    return _within(_distance([found], [expected]), REPLAY, "distance from the plain call")


# -- the model -------------------------------------------------------------------------------------


def frame(setting: Setting, in_graphs: bool) -> str:
    """A generated frame with the fused kernels against the reference's in float32."""
    if in_graphs:
        _only_on_a_gpu(setting)
    expected, allowed = _reference_frame(setting)
    start = time.perf_counter()
    stream = _stream(setting, setting.autocast, setting.flag, in_graphs)
    found = next(stream)
    setting.synchronize()
    first = time.perf_counter() - start
    start = time.perf_counter()
    next(stream)
    setting.synchronize()
    text = _within(_distance([found], [expected]), allowed, "distance from the reference's")
    return f"{text}; first {first:.2f} s, second {time.perf_counter() - start:.4f} s"


@cache
def _reference_frame(setting: Setting) -> tuple[torch.Tensor, float]:
    """The frame in float32, and the tolerance: twice the reference's error under autocast."""
    with _full_precision():
        exact = next(_stream(setting, None, "reference", False)).clone()
    allowed = ROUNDING[setting.autocast]
    if setting.autocast is not None:
        rounded = next(_stream(setting, setting.autocast, "reference", False))
        allowed += 2 * _distance([rounded], [exact])
    return exact, allowed


def _stream(
    setting: Setting, autocast: torch.dtype | None, flag: str, in_graphs: bool
) -> Iterator[torch.Tensor]:
    """The generated frames of a moving texture."""
    try:
        from lift.video.interpolator import Interpolator
    except ImportError as error:  # it reads video files too
        raise CheckSkipped(f"lift.video cannot be imported ({error})") from error
    torch.manual_seed(0)
    model = create_lift_model(setting.preset, kernels=flag)
    fill_zeros(model)
    interpolator = Interpolator(
        model,
        setting.context,
        setting.device,
        detect_scenes=False,
        dtype=autocast or torch.float32,
        cuda_graph=in_graphs,
    )
    (H, W), generator = setting.frame, torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, H // 16 + 4, W // 16 + 4, generator=generator)
    texture = F.interpolate(coarse, (H + 16, W + 16), mode="bicubic").clamp(0, 1)[0]
    moved = [
        texture[:, 2 * k : 2 * k + H, 3 * k : 3 * k + W].contiguous().to(setting.device)
        for k in (0, 1, 2, 3, 4, 3, 2, 1)
    ]
    timed = ((moved[k % len(moved)], Fraction(k)) for k in itertools.count())
    return (
        shown.frame
        for shown in interpolator.stream(timed, MultiplierSchedule(2))
        if shown.is_generated
    )


def training(setting: Setting, captured: bool) -> str:
    """Loss and gradients of the fused kernels against the reference; captured: plain calls."""
    if captured:
        _only_on_a_gpu(setting)
        expected, allowed = _training_gradients(setting, setting.flag), REPLAY
        what = "distance from the plain step's"
    else:
        expected, allowed = _reference_gradients(setting)
        what = "distance from the reference's"
    start = time.perf_counter()
    step = _Step(setting, setting.flag)
    if captured:
        recording, loss = training_step.capture(step.gradients, warm_up=3)
        again = recording.replay
        again()
    else:
        again, loss = step.gradients, step.gradients()
    setting.synchronize()
    first, found = time.perf_counter() - start, step.found(loss)
    _within(_distance(found[:1], expected[:1]), allowed, f"the loss's {what}")
    text = _within(_distance(found[1:], expected[1:]), allowed, what)
    start = time.perf_counter()
    again()
    setting.synchronize()
    return f"{text}; first {first:.2f} s, second {time.perf_counter() - start:.4f} s"


class _Step:
    """Forward, loss and backward on one batch."""

    def __init__(self, setting: Setting, flag: str, autocast: bool = True):
        config = replace(Config(), model=PRESETS[setting.preset](), kernels=flag)
        dtype = setting.autocast if autocast else None
        self.training = training_step.Training(config, setting.device, dtype)
        fill_zeros(self.training.model)
        self.batch, self.flag = training_step.batch(*setting.batch, 0, setting.device), flag

    def gradients(self) -> torch.Tensor:
        """Compute the gradients of the weights; the loss, detached."""
        self.training.optimizer.zero_grad(set_to_none=True)
        with kernels.use(self.flag):
            loss = self.training.loss(self.batch)
            loss.backward()
        return loss.detach()

    def found(self, loss: torch.Tensor) -> list[torch.Tensor]:
        """The loss and every gradient, copied."""
        weights = self.training.model.parameters()
        return [loss.clone(), *(p.grad.clone() for p in weights if p.grad is not None)]


def _training_gradients(setting: Setting, flag: str, autocast: bool = True) -> list[torch.Tensor]:
    step = _Step(setting, flag, autocast)
    return step.found(step.gradients())


@cache
def _reference_gradients(setting: Setting) -> tuple[list[torch.Tensor], float]:
    """Loss and gradients in float32, and the tolerance of others."""
    with _full_precision():
        exact = _training_gradients(setting, "reference", autocast=False)
    allowed = 10 * ROUNDING[None]
    if setting.autocast is not None:
        rounded = _training_gradients(setting, "reference")
        allowed = 2 * _distance(rounded, exact) + ROUNDING[setting.autocast]
    return exact, allowed


# -- shared by checks ------------------------------------------------------------------------------


def _only_on_a_gpu(setting: Setting) -> None:
    if not setting.is_cuda:
        raise CheckSkipped("needs a GPU")


@contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _distance(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Relative L2 distance of all values together; NaN if one is."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True)]
    difference = sum((a - b).square().sum() for a, b in pairs)
    return (difference / sum(b.square().sum() for _, b in pairs)).sqrt().item()


def _within(error: float, allowed: float, what: str) -> str:
    text = f"{what} {error:.1e}, allowed {allowed:.1e}"
    if not error <= allowed:  # NaN too
        raise CheckFailed(text)
    return text


CHECKS: dict[str, Callable[[Setting], str]] = {
    "CUDA build": cuda_build,
    "grid_sample, fast gradients": partial(grid_sample, deterministic=False),
    "grid_sample, deterministic gradients": partial(grid_sample, deterministic=True),
    **{f"{name}, Triton": partial(triton_operation, name=name) for name in TRITON_OPERATIONS},
    "frame": partial(frame, in_graphs=False),
    "training step": partial(training, captured=False),
    "CUDA graph": graph,  # last: a failed capture spoils what follows
    "frame, in graphs": partial(frame, in_graphs=True),
    "training step, captured": partial(training, captured=True),
}


# -- running them ----------------------------------------------------------------------------------


def run(
    setting: Setting,
    seconds: float | None = None,
    write: Callable[[list[dict]], None] = lambda rows: None,
) -> list[dict]:
    """Name, status ("passed", "FAILED" or "skipped"), text and seconds of each check.

    Args:
        setting: sizes and dtypes.
        seconds: checks that have not started by then are skipped; None for no limit.
        write: called with the rows so far after each check.
    """
    rows, begun, dead = [], time.perf_counter(), None
    for name, check in CHECKS.items():
        start = time.perf_counter()
        print(f"{name}: ", end="", flush=True)  # before a possible crash of the process
        if dead:
            status, text = "skipped", f"the CUDA context died in {dead}"
        elif seconds is not None and start - begun > seconds:
            status, text = "skipped", "out of time"
        else:
            status, text = _outcome(check, setting)
            if status == "FAILED" and setting.is_cuda and not _alive():
                dead, text = name, f"{text}; the CUDA context died"
        took = time.perf_counter() - start
        rows.append({"check": name, "status": status, "text": text, "seconds": took})
        print(f"{status}, {text} ({took:.1f} s)", flush=True)
        write(rows)
    return rows


def _outcome(check: Callable[[Setting], str], setting: Setting) -> tuple[str, str]:
    try:
        text = check(setting)
        setting.synchronize()  # an asynchronous error of a kernel is raised here
        return "passed", text
    except CheckSkipped as reason:
        return "skipped", str(reason)
    except CheckFailed as found:
        return "FAILED", str(found)
    except Exception as error:
        what = str(error).strip().split("\n")[0]
        return "FAILED", f"{type(error).__name__}: {what} ({_place(error)})"


def _place(error: Exception) -> str:
    """File, line and function of the innermost frame of this project."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        x for x in frames if x.filename.startswith(f"{ROOT}/") and "site-packages" not in x.filename
    ]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"


def _alive() -> bool:
    """Whether the CUDA context of this process still works."""
    try:
        torch.ones(1, device="cuda").add(1).item()
        return True
    except Exception:
        return False


def main(argv: list[str] | None = None) -> int:
    """Run the checks and print a line for each; return 1 if one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.canary",
        description="Quick checks of the kernels and the model on this machine.",
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), help="(default: cuda if there is one)")
    parser.add_argument("--toy", action="store_true", help="tiny sizes")
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="start no check after so many seconds"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the result of each check there"
    )
    arguments = parser.parse_args(argv)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    setting = toy(device) if arguments.toy else Setting(device)

    def write(rows: list[dict]) -> None:
        if arguments.json:
            with atomic(arguments.json) as part:
                report = {"toy": arguments.toy, "checks": rows, "machine": described}
                part.write_text(json.dumps(report, indent=1) + "\n")

    described = machine.describe() if arguments.json else None
    rows = run(setting, arguments.seconds, write)
    failed = [row["check"] for row in rows if row["status"] == "FAILED"]
    passed = sum(row["status"] == "passed" for row in rows)
    print(
        f"{len(failed)} of {len(rows)} checks failed: {'; '.join(failed)}"
        if failed
        else f"{passed} of {len(rows)} checks passed, {len(rows) - passed} skipped"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
