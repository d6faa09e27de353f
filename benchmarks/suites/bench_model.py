"""Speed and memory of a training step.

The fused kernels and the options that save memory are compared with the reference kernels. A step
is forward, loss, backward and the optimizer's update, with a learning rate of 0 so that every step
computes the same. The loss and gradients of a variant are first compared with the reference's, then
it is timed alternately with the reference. Each variant is a test of its own, so its row is written
before the next one starts.

In `fused+graph` forward, losses and backward are a CUDA graph, and the optimizer is launched: what
`lift train --cuda_graph` does.

Peak memory counts weights, optimizer, batch and everything else that the step allocates. The peak
of a CUDA graph is that of the first step, which warms up and records. Rows also hold saved
activations and time by stage; `python -m lift.train --memory_report` prints them for any size.
"""

import gc
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
import torch

from benchmarks.harness import measure
from benchmarks.harness.parameters import fill_zeros, nudge
from lift import kernels
from lift.config import PRESETS, Config, DataConfig, TrainConfig
from lift.data.clip import Batch
from lift.profiling import memory
from lift.training.cuda_graph import GraphedGradients
from lift.training.losses import total_loss
from lift.training.state import build_model

SEPARATE = "separate passes"  # one forward per target
SHARED = "shared encoding"  # one encoding of the frames for all targets of a clip
LEAN = {"recompute_encoder": True, "recompute_refine": True}
SETTINGS = {
    "reference": {},
    "fused": {},
    "fused+recompute": LEAN,
    "fused+compile": {"compile": True},
    "fused+graph": {},
    SEPARATE: {},
    SHARED: {},
    f"{SHARED}+recompute": LEAN,
}
NUDGES = 5  # changes by rounding that the tolerance is measured with
ROUNDING = {None: 1e-4, torch.bfloat16: 1e-3}  # relative error that is always allowed


@dataclass(frozen=True)
class Case:
    """One training setup.

    Attributes:
        size: side of the square crops, pixels.
        batch: clips of fifteen frames; 0 for the largest batch that fits.
        frozen: whether the encoder is frozen.
        targets: target frames per clip.
    """

    device: str
    preset: str
    size: int
    batch: int
    dtype: str = "float32"
    frozen: bool = False
    targets: int = 1
    frames: int = 15

    def __str__(self) -> str:
        encoder = "frozen" if self.frozen else "free"
        batch = f"{self.batch or 'most'}x{self.targets}"
        return "-".join([self.device, self.preset, str(self.size), batch, self.dtype, encoder])

    @property
    def autocast(self) -> torch.dtype | None:
        return None if self.dtype == "float32" else getattr(torch, self.dtype)


def cases(device: str, quick: bool, toy: bool) -> list[Case]:
    """The cases of a device."""
    if toy:
        return [
            Case(device, "tiny", 32, 1, frames=3),
            Case(device, "tiny", 32, 1, targets=2, frames=3),
        ]
    if device == "cpu":
        found = [Case(device, "tiny", 128, 2), Case(device, "tiny", 96, 1, targets=4)]
        return (
            found
            if quick
            else [*found, Case(device, "tiny", 128, 2, frozen=True), Case(device, "tiny", 224, 1)]
        )
    found = [
        Case(device, "base", 256, 4, "bfloat16"),
        Case(device, "base", 256, 0, "bfloat16"),
        Case(device, "base", 256, 2, "bfloat16", targets=4),
    ]
    if quick:
        return found
    return (
        found
        + [
            Case(device, preset, size, batch, "bfloat16", frozen)
            for preset in ("base", "small")
            for size in (256, 224)
            for batch in (4, 0)
            for frozen in (False, True)
            if (preset, size, frozen) != ("base", 256, False)
        ]
        + [Case(device, "base", 256, 4)]
    )


def names(case: Case) -> list[str]:
    if case.targets > 1:
        return [SEPARATE, SHARED, f"{SHARED}+recompute"]
    gpu = ["fused+compile", "fused+graph"] if case.device == "cuda" and case.batch else []
    return ["reference", "fused", "fused+recompute", *gpu]


def in_order(chosen: list[Case], forms: str) -> list[tuple[Case, str]]:
    """Cases with their variants, form by form; last those that fill the memory on purpose."""
    pairs = measure.by_form([(case, name) for case in chosen for name in names(case)], forms)
    return sorted(pairs, key=lambda pair: pair[0].batch == 0)


def pytest_generate_tests(metafunc):
    quick, toy, forms = map(metafunc.config.getoption, ("--quick", "--toy", "--forms"))
    chosen = cases("cuda" if torch.cuda.is_available() else "cpu", quick, toy)
    metafunc.parametrize(("case", "variant"), in_order(chosen, forms), ids=lambda value: str(value))


def test_training_step(case, variant, record, request):
    quick, toy = (request.config.getoption(name) for name in ("--quick", "--toy"))
    rounds = 1 if toy else 7 if quick else 15
    row = measured(case, variant, rounds) if case.batch else largest(case, variant, 3)
    size = [row.batch, case.frames, 3, case.size, case.size]
    clips = row.batch * case.targets
    record(
        row.found,
        operation="training_step",
        variant=variant,
        fused=variant not in ("reference", SEPARATE),
        device=case.device,
        direction="frozen encoder" if case.frozen else "encoder trainable",
        dtype=case.dtype,
        layout="channels_last",
        shape=size,
        flow=f"{case.preset}, {case.targets} targets" + ("" if case.batch else ", most that fit"),
        required_bytes=None,
        batch=row.batch,
        samples_per_second=clips / row.found.median if row.found.times else None,
        saved_by_stage=row.saved,
        seconds_by_stage=row.seconds,
    )


# -- a step ----------------------------------------------------------------------------------------


class Step:
    """One variant of a case, as a callable that runs a step.

    Args:
        nudged: seed of a change of the weights by a unit in the last place, which measures the
            effect of rounding; 0: none.
    """

    def __init__(
        self,
        case: Case,
        variant: str,
        batch: Batch,
        nudged: int = 0,
        autocast: torch.dtype | None = None,
    ):
        self.config = configuration(case, variant, len(batch.clip.frames))
        self.autocast, self.graphed = autocast, None
        torch.manual_seed(0)
        self.model = build_model(self.config)
        self.model.set_epoch(0)
        fill_zeros(self.model)
        if nudged:
            nudge(self.model, nudged)
        self.model = self.model.to(case.device).train()
        self.batch = replace(batch, clip=batch.clip.separate()) if variant == SEPARATE else batch
        self.network = (
            torch.compile(self.model, dynamic=False) if self.config.train.compile else self.model
        )
        self.optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=0.0,
            weight_decay=0.0,
            fused=True,
        )
        if measure.is_graph(variant):
            self.graphed = GraphedGradients(self.model, self._forward)
            self()  # records

    def _forward(self, batch: Batch, weight: float) -> tuple:
        """The loss, its scalars and attention, as `lift train` records them."""
        with torch.autocast(
            batch.t.device.type, dtype=self.autocast, enabled=self.autocast is not None
        ):
            prediction = self.network(batch.clip, batch.t)
        loss, scalars = total_loss(prediction, batch, self.config.train)
        return loss * weight, scalars, prediction.attention.detach()

    def gradients(self) -> list[torch.Tensor]:
        """The loss and the gradients of one step before clipping."""
        loss, norm = self()
        clipped = ((norm + 1e-6) / self.config.train.clip_grad).clamp(min=1)  # as clip_grad_norm_
        return [
            loss.clone(),
            *(p.grad * clipped for p in self.model.parameters() if p.grad is not None),
        ]

    def __call__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Run a step; the loss, and the norm of the gradients before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        with kernels.use(self.config.kernels):
            if self.graphed is None:
                loss, scalars, _ = self._forward(self.batch, 1.0)
                loss.backward()
            else:
                scalars, _ = self.graphed(self.batch, 1.0)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.clip_grad)
        self.optimizer.step()
        return scalars["loss"].detach(), norm


# -- measuring -------------------------------------------------------------------------------------


@dataclass
class Row:
    """Result of one variant.

    Attributes:
        found: its errors and times.
        batch: clips.
        saved: bytes of saved activations by stage; None where they are not counted.
        seconds: by direction and stage; None where they are not measured.
    """

    found: measure.VariantResult
    batch: int
    saved: dict[str, int] | None = None
    seconds: dict[str, dict[str, float]] | None = None


def measured(case: Case, variant: str, rounds: int) -> Row:
    """Check a variant, then time it alternately with the first variant of its case."""
    row, first = Row(measure.VariantResult(), case.batch), names(case)[0]
    step = measure.attempted(row.found, variant, lambda: _examined(row, case, variant))
    if step is not None:
        if measure.form(variant) == "plain":
            _measure_stages(row, step)
        other = None if variant == first else (first, baseline(case))
        measure.time_with(row.found, variant, step, other, rounds, measure.timer(case.device))
    return row


@lru_cache(maxsize=1)  # the variants of a case are consecutive
def baseline(case: Case) -> Step:
    """The first variant of a case, which the others are timed alternately with."""
    return Step(case, names(case)[0], standard(case)[0], autocast=case.autocast)


@lru_cache(maxsize=1)
def standard(case: Case) -> tuple[Batch, list[torch.Tensor], float]:
    """The batch, loss and gradients of the reference in full precision, and the tolerance.

    The tolerance is twice the error of the reference in the precision of the case or, in full
    precision, four times the largest effect of rounding its weights in several ways: a gradient is
    not continuous where a sign changes, and only some of them meet such a place.
    """
    batch, name = clips(case, case.batch), names(case)[0]
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    exact = Step(case, name, batch).gradients()
    if case.autocast is None:
        steps = (Step(case, name, batch, nudged=seed) for seed in range(1, NUDGES + 1))
        noise = 4 * max(max(distance(step.gradients(), exact)) for step in steps)
    else:
        noise = 2 * max(
            distance(Step(case, name, batch, autocast=case.autocast).gradients(), exact)
        )
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    return batch, exact, noise + ROUNDING[case.autocast]


def distance(found: list[torch.Tensor], exact: list[torch.Tensor]) -> tuple[float, float]:
    """Relative L2 distances of the losses and of all gradients together."""

    def relative(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
        difference = sum(
            (x.double() - y.double()).square().sum() for x, y in zip(a, b, strict=True)
        )
        return (difference / sum(y.double().square().sum() for y in b)).sqrt().item()

    return relative(found[:1], exact[:1]), relative(found[1:], exact[1:])


def _examined(row: Row, case: Case, variant: str) -> Step | None:
    """Build and compare a variant; measure its peak memory and its first step.

    Returns None, and sets the failure, where its results are wrong.
    """
    cuda, found = case.device == "cuda", row.found
    batch, exact, found.tolerance = standard(case)
    gc.collect()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else 0
    start = time.perf_counter()
    step = Step(case, variant, batch, autocast=case.autocast)
    if step.graphed is not None:
        found.peak, found.peak_of_recording = (
            torch.cuda.max_memory_allocated() - before + _bytes(batch),
            True,
        )
    gradients = step.gradients()
    if cuda:
        torch.cuda.synchronize()
    found.first = time.perf_counter() - start
    found.error = max(distance(gradients, exact))
    del gradients
    if not found.error <= found.tolerance:
        found.failure = measure.wrong(found)
        return None
    if cuda and step.graphed is None:
        step()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        found.peak = torch.cuda.max_memory_allocated() - before + _bytes(batch)
    return step


def _measure_stages(row: Row, step: Step) -> None:
    with kernels.use(step.config.kernels):
        saved = memory.count(step.config, step.model, step.batch, step.autocast)
        row.found.saved, row.saved = saved.total, saved.stages
        for _ in range(2):  # the first warms up
            found = memory.times(step.config, step.model, step.batch, step.autocast)
        row.seconds = {"forward": found.forward, "backward": found.backward}


def _bytes(batch: Batch) -> int:
    return sum(x.nbytes for x in (batch.clip.frames, batch.target, batch.flow, batch.visible))


# -- the largest batch -----------------------------------------------------------------------------


def largest(case: Case, variant: str, rounds: int) -> Row:
    """As `largest_that_fits`, or a row without times and with the reason."""
    found = measure.VariantResult()
    row = measure.attempted(found, variant, lambda: largest_that_fits(case, variant, rounds))
    return row or Row(found, 0)


def largest_that_fits(case: Case, variant: str, rounds: int) -> Row:
    """The largest batch of 4, 8, 16, ... whose step fits into memory, and its times."""
    best, size = None, 4
    while True:
        row = Row(measure.VariantResult(tolerance=0.0), size)
        try:
            step = Step(case, variant, clips(case, size), autocast=case.autocast)
            step()
            torch.cuda.reset_peak_memory_stats()
            step()
            torch.cuda.synchronize()
            # Before the clock allocates the memory that it flushes the cache with.
            row.found.peak = torch.cuda.max_memory_allocated()
            clock = measure.timer("cuda")
            row.found.times = [clock(step)() for _ in range(rounds)]
            row.found.error, row.found.first = 0.0, row.found.median
        except torch.cuda.OutOfMemoryError:
            row = None
        step = clock = None
        gc.collect()
        torch.cuda.empty_cache()
        if row is None:
            break
        best, size = row, 2 * size
    if best is None:
        pytest.fail(f"{variant}: a batch of 4 does not fit", pytrace=False)
    return best


# -- data ------------------------------------------------------------------------------------------


def configuration(case: Case, variant: str, size: int) -> Config:
    train = TrainConfig(
        batch_size=size,
        freeze_epochs=int(case.frozen),
        lr=0.0,
        lr_min=0.0,
        weight_decay=0.0,
        **SETTINGS[variant],
    )
    data = DataConfig(
        crop_height=case.size,
        crop_width=case.size,
        context_frames=case.frames,
        targets=case.targets,
    )
    return Config(
        PRESETS[case.preset](), data, train, "reference" if variant == "reference" else "auto"
    )


def clips(case: Case, size: int) -> Batch:
    """`size` clips of noise with all their targets, on the device of the case."""
    torch.manual_seed(0)
    with torch.device(case.device):
        return memory.empty_batch(configuration(case, "fused", size))
