"""Host time of a call of each fused op: everything but the GPU's own work.

    python -m benchmarks.host_time [--only "warp;warp_blend"] [--training] [--profile]

On a GPU it is what a call costs the thread that makes it. Without one, CPU tensors take the same
path through checks, dispatch, autograd, the arguments of the kernels and Triton's launcher in
Python; the kernels are compiled for compute capability 9.0 and never run. That leaves out the part
of the launcher that is written in C, and the driver.
"""

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

from benchmarks.harness.table import aligned
from lift import kernels
from lift.kernels import autograd, dispatch, selfcheck

# From the tensors of `selfcheck.samples` to a call of the public function.
CALLS: dict[str, Callable] = {
    "warp": lambda a: kernels.warp(*a),
    "warp_blend": lambda a: kernels.warp_blend(*a),
    "correlation": lambda a: kernels.correlation(*a, 1, True),
    "lucas_kanade": lambda a: kernels.lucas_kanade(*a),
    "align": lambda a: kernels.align(*a, 2),
    "temporal_attention": lambda a: kernels.temporal_attention(
        *a[:3],
        window=4,
        shift=1,
        time_bias=a[3],
        window_bias=a[4],
        mask=a[5],
        with_frame_weights=False,
    ),
    "temporal_attention, window 1": lambda a: kernels.temporal_attention(
        *a[:3], window=1, time_bias=a[3], mask=a[5], with_frame_weights=False
    ),
    "bias_act": lambda a: kernels.bias_act(*a, 0.1),
    "add_layer_norm": lambda a: kernels.add_layer_norm(*a),
    "group_norm": lambda a: kernels.group_norm(
        a[0], a[2], a[3], 2, x_bias=a[4], skip=a[1], slope=0.1
    ),
    "refine_inputs": lambda a: kernels.refine_inputs(*a, 2, torch.float32),
    "refine_output": lambda a: kernels.refine_output(*a, 2),
    "propagate": lambda a: kernels.propagate(*a, 3),
    "convex_upsample": lambda a: kernels.convex_upsample(*a),
    "global_motion": lambda a: kernels.global_motion(*a, 2, torch.float32),
    "flow_inputs": lambda a: kernels.flow_inputs(*a, 8, torch.float32),
    "adjacent_frames": lambda a: kernels.adjacent_frames(*a, 3, 3),
    "path_inputs": lambda a: kernels.path_inputs(*a, 6, (0.25, 0.125, 1.0)),
    "curve_flows": lambda a: kernels.curve_flows(*a, 2.0, 2.0, (-0.8, -0.9)),
    "change_map": lambda a: kernels.change_map(*a),
    "frame_inputs": lambda a: kernels.frame_inputs(a[0], 16, torch.half),
    "time_mlp": lambda a: kernels.time_mlp(*a),
    "census": lambda a: kernels.census(*a),
}
ROUNDS, CALLS_PER_ROUND = 200, 20
MOST_FUNCTIONS = 30  # of a profile


# -- a GPU that does nothing -----------------------------------------------------------------------


class NoDriver:
    """A driver of Triton for a GPU of compute capability 9.0 that runs nothing."""

    def __init__(self) -> None:
        limits = {"max_shared_mem": 232448}
        self.utils = SimpleNamespace(
            load_binary=lambda *arguments: (0, 0, 32, 0, 1024),
            get_device_properties=lambda device: limits,
        )

    def launcher_cls(self, source, metadata) -> Callable:
        return lambda *arguments: None

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


def take_cpu_tensors() -> None:
    """Let the Triton backends take CPU tensors, for kernels that are launched on no GPU."""
    from triton.runtime import driver

    driver.set_active(NoDriver())
    for name, module in list(sys.modules.items()):
        if name.endswith(".triton_launch"):
            module.INTERPRETED = True  # that is, for unsupported_reason: on the CPU
    libraries = []
    for name, function in autograd.implementations.items():
        namespace, op = name.split("::")
        if namespace == "lift_triton":
            libraries.append(torch.library.Library(namespace, "FRAGMENT"))
            libraries[-1].impl(op, function, "CPU")
    NoDriver.libraries = libraries  # an implementation lives as long as its library


# -- measuring -------------------------------------------------------------------------------------


def microseconds(call: Callable[[], object]) -> float:
    """The least time of a call over short rounds, which other processes rarely interrupt."""
    found = []
    for _ in range(ROUNDS):
        start = time.thread_time_ns()
        for _ in range(CALLS_PER_ROUND):
            call()
        found.append(time.thread_time_ns() - start)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return min(found) / CALLS_PER_ROUND / 1000


def call_of(name: str, device: str, training: bool) -> Callable[[], object]:
    """A call of an op with tensors of the self-check; in training with gradients of all inputs."""
    arguments = selfcheck.samples(name.split(",")[0], device=device)
    tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
    if not training:
        return lambda: CALLS[name](tensors)
    tensors = [x.requires_grad_() if x.is_floating_point() else x for x in tensors]
    inputs = [x for x in tensors if x.requires_grad]

    def forward_and_backward() -> None:
        out = CALLS[name](tensors)
        out = out[0] if isinstance(out, tuple) else out
        torch.autograd.grad(out, inputs, out, allow_unused=True)

    return forward_and_backward


def profile_of(call: Callable[[], object]) -> str:
    """The functions of a call that take the most time, in us; the profiler adds to each."""
    profile, calls = cProfile.Profile(), 50 * CALLS_PER_ROUND
    profile.runcall(lambda: [call() for _ in range(calls)])
    found = [
        (own, count, f"{Path(file).name}:{line} {name}")
        for (file, line, name), (_, count, own, _, _) in pstats.Stats(profile).stats.items()
    ]
    lines = [
        (f"{1e6 * own / calls:.2f}", f"{count / calls:.0f}", name)
        for own, count, name in sorted(found, reverse=True)[:MOST_FUNCTIONS]
    ]
    return "\n".join(aligned([("us", "calls", "function"), *lines]))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.host_time", description="Host time of a call of each op."
    )
    parser.add_argument("--only", help="ops, separated by semicolons (all)")
    parser.add_argument("--training", action="store_true", help="with the backward")
    parser.add_argument("--profile", action="store_true", help="the slowest functions of each op")
    arguments = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        take_cpu_tensors()
    rows = []
    for name in arguments.only.split(";") if arguments.only else CALLS:
        call = call_of(name, device, arguments.training)
        with torch.set_grad_enabled(arguments.training):
            try:
                with dispatch.use("fused"):
                    call()
            except RuntimeError:  # without gradients, for example
                rows.append((name, "-"))
                continue
            rows.append((name, f"{microseconds(call):.1f}"))
            if arguments.profile:
                print(profile_of(call))
    print("\n".join(aligned([("op", "us a call"), *rows])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
