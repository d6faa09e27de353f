"""What more training would buy: the validation curve, a fit of it, and an hour on a GPU projected.

The fit is psnr = a - b n^-c, with n the samples since the first phase. Only phases at the end whose
validation is alike (`_validation`) enter. The range of a projection is that of all exponents c
whose sum of squares is within the 95 % bound of the best one (F test), each with its own 95 % range
of b. It is the range of the fit alone: phases that differ in model, schedule or data are one curve
to it.
"""

import csv
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from lift import kernels
from lift.config import Config
from lift.errors import LiftError
from lift.model.lift import LIFT
from lift.profiling.memory import empty_batch
from lift.training.losses import total_loss

FEWEST = 4  # points of a fit: three parameters, and something left to judge it by
EXPONENTS = np.geomspace(0.03, 3, 80)
HOURS = (1, 4)
# Student's t, 97.5 %, by degrees of freedom from 1; two standard errors beyond.
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True)
class Point:
    """A validation during training.

    Attributes:
        phase: its name.
        samples: seen since the first phase.
        psnr: of the averaged weights, dB.
    """

    phase: str
    samples: float
    psnr: float


def measure(path: Path, record: dict, model: LIFT, config: Config) -> dict:
    """The points, the fit and the projections, JSON-able.

    Args:
        path: `<name>_curve.csv`.
        record: `<name>.json`, with the phases.
        model: what was trained.
        config: of the last phase.

    Raises:
        LiftError: the curve has a phase that the record lacks.
    """
    points = comparable(read(path, record), record["phases"])
    total = sum(phase["samples"] for phase in record["phases"])
    pace = projected_pace(sample_flops(model, config), bool(config.data.flow_teacher))
    fits = [
        {"hours": hours, "samples": 3600 * hours * pace["samples_per_second"]} for hours in HOURS
    ]
    for each in fits:
        each["gain"] = gain(points, total, total + each["samples"])
    return {
        "points": [asdict(point) for point in points],
        "samples": total,
        "pace": pace,
        "projections": fits,
    }


# -- the points ------------------------------------------------------------------------------------


def read(path: Path, record: dict) -> list[Point]:
    """All validations of a curve, with the samples counted through its phases.

    Raises:
        LiftError: a phase is not in the record, or the file cannot be read.
    """
    per_step, start, total = {}, {}, 0
    for phase in record["phases"]:
        start[phase["name"]] = total
        per_step[phase["name"]] = phase["samples"] / max(phase["steps"], 1)
        total += phase["samples"]
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["val_psnr"]]
    except (OSError, KeyError):
        raise LiftError(
            f"{path} is not the curve of released weights; python -m lift.release.export writes it"
        ) from None
    if unknown := {row["phase"] for row in rows} - start.keys():
        raise LiftError(f"{path} has the phase {min(unknown)}, which its record lacks; export anew")
    return [
        Point(
            row["phase"],
            start[row["phase"]] + per_step[row["phase"]] * float(row["step"]),
            float(row["val_psnr"]),
        )
        for row in rows
    ]


def comparable(points: list[Point], phases: list[dict]) -> list[Point]:
    """The points of the last phases, as far back as their validation is the same."""
    names = set()
    for phase in reversed(phases):
        if _validation(phase["flags"]) != _validation(phases[-1]["flags"]):
            break
        names.add(phase["name"])
    return [point for point in points if point.phase in names]


def _validation(flags: dict[str, str]) -> tuple:
    """What decides which targets a validation scores, and whether it has more than two frames."""
    strides = flags.get("strides", "").split()[1:2]
    frames = flags.get("context_frames", "--context_frames 15").split()[1]
    return flags.get("validate_clips"), flags.get("resize_short_side"), strides, int(frames) > 2


# -- the fit ---------------------------------------------------------------------------------------


def gain(points: list[Point], now: float, then: float) -> dict | None:
    """Change of PSNR by the fit from `now` to `then` samples, JSON-able.

    Returns:
        "best" and its range "low", "high", dB; "scatter", the standard deviation of the points
        around the fit, dB; "exponents", the lowest and highest that the points allow. None with
        fewer than FEWEST points, which decide nothing.
    """
    if len(points) < FEWEST:
        return None
    n = np.array([point.samples for point in points]) / now  # near 1, which conditions the fit
    y = np.array([point.psnr for point in points])
    later, solutions = then / now, []
    for c in EXPONENTS:
        X = np.stack((np.ones_like(n), -(n**-c)), 1)
        solution, *_ = np.linalg.lstsq(X, y, rcond=None)
        squares = float(((y - X @ solution) ** 2).sum())
        step = 1 - later**-c  # what b is multiplied by
        variance = np.linalg.pinv(X.T @ X)[1, 1] * step**2
        solutions.append((squares, c, float(solution[1] * step), float(variance)))
    best = min(solutions)
    scatter2 = best[0] / (len(points) - 3)
    degrees = len(points) - 3
    t = STUDENT[degrees - 1] if degrees <= len(STUDENT) else 2.0
    allowed = [s for s in solutions if s[0] <= best[0] + t**2 * scatter2]
    return {
        "best": best[2],
        "low": float(min(value - t * np.sqrt(v * scatter2) for _, _, value, v in allowed)),
        "high": float(max(value + t * np.sqrt(v * scatter2) for _, _, value, v in allowed)),
        "scatter": float(np.sqrt(scatter2)),
        "exponents": [float(allowed[0][1]), float(allowed[-1][1])],
    }


# -- an hour on a GPU ------------------------------------------------------------------------------

# Assumptions of the projection, those of lift/config/presets/pairs128.toml. None is measured on a
# GPU; samples per second of a loading process were measured on a Xeon core, the teacher on an EPYC.
FLOPS_PER_SECOND = 60e12  # of convolutions this narrow, on an H200
BATCH = 128
STEP_SECONDS = 0.05  # least time of a step: launches
LOADERS = 14
LOADER_RATE = 220.0  # samples per second of a process
TEACHER_SECONDS = 0.03  # a sample, of the process that loads it


def sample_flops(model: LIFT, config: Config) -> float:
    """Floating-point operations of one training sample, forward and backward.

    Convolutions and matrix products are counted, with the reference kernels, which consist of them.
    """
    config = replace(config, train=replace(config.train, batch_size=1))
    batch = empty_batch(config)
    wanted = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(True).train()
    try:
        with kernels.use("reference"), FlopCounterMode(display=False) as counter:
            loss = total_loss(model(batch.clip, batch.t, with_attention=False), batch, config.train)
            loss[0].backward()
    finally:
        model.eval().zero_grad(set_to_none=True)
        for parameter, flag in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)
    return counter.get_total_flops() / config.data.targets


def projected_pace(flops: float, with_teacher: bool) -> dict:
    """Samples per second of a training on a GPU under the assumptions above, JSON-able.

    Args:
        flops: of a sample.
        with_teacher: DIS flow is computed for every sample, in the processes that load it.
    """
    loading = 1 / LOADER_RATE + (TEACHER_SECONDS if with_teacher else 0.0)
    rates = {
        "arithmetic": FLOPS_PER_SECOND / flops,
        "launches": BATCH / STEP_SECONDS,
        "loading": LOADERS / loading,
    }
    return {
        "flops_per_sample": flops,
        "rates": rates,
        "samples_per_second": min(rates.values()),
        "limited_by": min(rates, key=rates.get),
        "with_teacher": with_teacher,
    }
