"""Profile one training step by stage and by operator.

    python -m benchmarks.gpu.profile_step [--preset base] [--batch 4] [--size 256]
                                          [--kernels auto] [--device cuda] [--json FILE]
                                          [--trace FILE]

Forward and backward are separate; recomputation counts as backward. Operators of backward belong to
the stage whose forward recorded them, by autograd's sequence number. Times are GPU times on a GPU,
CPU times elsewhere; on a GPU the rest of the step is the GPU waiting for the host.
"""

import argparse
import bisect
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.harness import machine
from benchmarks.harness.training_step import Training, batch
from lift import kernels
from lift.config import PRESETS, Config
from lift.profiling.stages import STAGES, watched

MARK = "lift stage: "
# The profiler's name for autograd running a node of the graph.
NODE = "autograd::engine::evaluate_function: "
SHOWN = 15  # operators in the printed table


def stages(events, unit) -> dict[str, dict[str, float]]:
    """Seconds of forward and backward by stage; "loss and rest" is outside all stages.

    Args:
        events: of a profile, with ranges "forward", "backward", "update" and the marks of stages.
        unit: returns the time of an event and its children, microseconds.
    """
    # A range also has an event on the GPU.
    events = [event for event in events if event.device_type == DeviceType.CPU]
    named = {
        name: next(event for event in events if event.name == name)
        for name in ("forward", "backward", "update")
    }
    marks = [
        event
        for event in events
        if event.name.startswith(MARK) and _inside(event, named["forward"])
    ]
    found = {stage: {"forward": 0.0, "backward": 0.0} for stage in (*STAGES, "loss and rest")}
    numbers = []  # (first sequence number inside or after a range, stage)
    forward = sorted(
        (
            e
            for e in events
            if e.scope == 0
            and e.sequence_nr >= 0
            and e.thread == named["forward"].thread
            and _inside(e, named["forward"])
        ),
        key=lambda e: e.time_range.start,
    )
    for mark in sorted(marks, key=lambda event: event.time_range.start):
        stage = mark.name.removeprefix(MARK)
        found[stage]["forward"] += unit(mark) / 1e6
        first = next(
            (e.sequence_nr for e in forward if e.time_range.start >= mark.time_range.start), None
        )
        after = next(
            (e.sequence_nr for e in forward if e.time_range.start >= mark.time_range.end), None
        )
        numbers += [
            (number, of)
            for number, of in ((first, stage), (after, "loss and rest"))
            if number is not None
        ]
    found["loss and rest"]["forward"] = unit(named["forward"]) / 1e6 - sum(
        times["forward"] for times in found.values()
    )
    for event in events:
        if event.name.startswith(NODE) and not _within_a_node(event):
            place = bisect.bisect_right([number for number, _ in numbers], event.sequence_nr)
            found[numbers[place - 1][1] if place else "loss and rest"]["backward"] += (
                unit(event) / 1e6
            )
    rest = unit(named["backward"]) / 1e6 - sum(times["backward"] for times in found.values())
    found["loss and rest"]["backward"] += max(rest, 0.0)
    return found | {"update": {"forward": unit(named["update"]) / 1e6, "backward": 0.0}}


def _inside(event, other) -> bool:
    return (
        other.time_range.start <= event.time_range.start
        and event.time_range.end <= other.time_range.end
    )


def _within_a_node(event) -> bool:
    """Whether another node runs it: backward of a recomputation."""
    while (event := event.cpu_parent) is not None:
        if event.name.startswith(NODE):
            return True
    return False


def profiled(training: Training, clips, warm_up: int) -> tuple[dict, profile]:
    """The report of one step after a warm-up, and the profiler; `seconds` is without profiler."""
    cuda = training.device.type == "cuda"

    def wait() -> None:
        if cuda:
            torch.cuda.synchronize(training.device)

    for _ in range(warm_up):
        training.step(clips)
    wait()
    start = time.perf_counter()
    training.step(clips)
    wait()
    seconds = time.perf_counter() - start
    with (
        watched(training.model, lambda stage: record_function(MARK + stage)),
        profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda) as profiler,
    ):
        with record_function("forward"):
            loss = training.loss(clips)
        training.optimizer.zero_grad(set_to_none=True)
        with record_function("backward"):
            loss.backward()
        with record_function("update"):
            torch.nn.utils.clip_grad_norm_(
                training.model.parameters(), training.config.train.clip_grad
            )
            training.optimizer.step()
        wait()
    whole, own = (
        ("device_time_total", "self_device_time_total")
        if cuda
        else ("cpu_time_total", "self_cpu_time_total")
    )
    ranges = ("forward", "backward", "update")
    averages = [
        event
        for event in profiler.key_averages()
        if event.key not in ranges
        and not event.key.startswith(MARK)
        and not event.is_user_annotation
    ]
    return {
        "seconds": seconds,
        "stages": stages(profiler.events(), lambda event: getattr(event, whole)),
        "operators": _table(
            [event for event in averages if event.device_type == DeviceType.CPU], own
        ),
        "kernels": _table(
            [event for event in averages if event.device_type != DeviceType.CPU], own
        ),
    }, profiler


def _table(averages: list, own: str) -> list[dict]:
    """A row for every event with time of its own, the longest first."""
    total = sum(getattr(event, own) for event in averages)
    return [
        {
            "name": event.key,
            "calls": event.count,
            "seconds": getattr(event, own) / 1e6,
            "share": getattr(event, own) / total,
        }
        for event in sorted(averages, key=lambda event: -getattr(event, own))
        if getattr(event, own) > 0
    ]


def text(report: dict) -> str:
    """The report as text."""
    lines = [
        f"one training step: {report['seconds'] * 1e3:.1f} ms without profiler; {report['what']}",
        "",
        f"{'stage':<16}{'forward, ms':>14}{'backward, ms':>14}{'share':>8}",
    ]
    total = sum(sum(times.values()) for times in report["stages"].values())
    for stage, times in report["stages"].items():
        forward, backward = times["forward"] * 1e3, times["backward"] * 1e3
        share = sum(times.values()) / total
        lines.append(f"{stage:<16}{forward:>14.2f}{backward:>14.2f}{share:>8.0%}")
    for title, rows in (
        ("operator", report["operators"]),
        ("GPU kernel", report["kernels"]),
    ):
        if rows:
            lines += ["", f"{title:<72}{'calls':>8}{'own ms':>10}{'share':>8}"]
            lines += [
                f"{row['name'][:70]:<72}{row['calls']:>8}"
                f"{row['seconds'] * 1e3:>10.2f}{row['share']:>8.0%}"
                for row in rows[:SHOWN]
            ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Profile a step and print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.profile_step",
        description="Profile a training step by stage and operator.",
    )
    parser.add_argument("--preset", choices=PRESETS, default="base")
    parser.add_argument("--batch", type=int, default=4, help="clips (default %(default)s)")
    parser.add_argument("--frames", type=int, default=15, help="of a clip (default %(default)s)")
    parser.add_argument(
        "--size", type=int, default=256, help="height and width, pixels (default %(default)s)"
    )
    parser.add_argument("--kernels", choices=kernels.dispatch.FLAGS, default="auto")
    parser.add_argument(
        "--amp",
        choices=("off", "bfloat16", "float16"),
        help="autocast (default: bfloat16 on a GPU, off elsewhere)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--warm-up",
        type=int,
        default=3,
        help="steps before the measured one (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write a trace there, for chrome://tracing or Perfetto",
    )
    arguments = parser.parse_args(argv)
    amp = arguments.amp or ("bfloat16" if arguments.device.startswith("cuda") else "off")
    config = replace(Config(), model=PRESETS[arguments.preset](), kernels=arguments.kernels)
    training = Training(config, arguments.device, None if amp == "off" else getattr(torch, amp))
    clips = batch(
        arguments.batch, arguments.frames, arguments.size, arguments.size, 0, arguments.device
    )
    with kernels.use(arguments.kernels):
        report, profiler = profiled(training, clips, arguments.warm_up)
    report |= {
        "what": f"{arguments.preset}, {arguments.batch} clips of {arguments.frames} frames, "
        f"{arguments.size} x {arguments.size}, autocast {amp}, kernels {arguments.kernels}, "
        f"{arguments.device}",
        "machine": machine.describe(),
    }
    print(text(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.trace:
        profiler.export_chrome_trace(str(arguments.trace))
    return 0


if __name__ == "__main__":
    sys.exit(main())
