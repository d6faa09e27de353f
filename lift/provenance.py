"""What a result depends on: the commit, the machine, versions, weights, and a run's history."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import torch

from lift import __version__
from lift.files import sha256

PACKAGES = ("torch", "numpy", "opencv-python-headless", "av")  # those that decide a score


# -- the sources -----------------------------------------------------------------------------------


def commit() -> str:
    """The commit of the checkout, with a + if tracked files are modified.

    In a copy without git: the value of LIFT_COMMIT, or an empty string.
    """
    return commit_of(Path(__file__)) or os.environ.get("LIFT_COMMIT", "")


def commit_of(path: Path) -> str:
    """The commit of the checkout that tracks a file or a folder, with a + if files are modified.

    Empty without git, or where nothing of it is tracked: a package may be installed inside
    another repository.
    """
    folder, name = (path, ".") if path.is_dir() else (path.parent, path.name)
    try:
        found = _git(folder, "rev-parse", "HEAD") if _git(folder, "ls-files", name) else ""
        changed = found and _git(folder, "status", "--porcelain", "--untracked-files=no")
    except OSError:  # no git
        return ""
    return f"{found}+" if changed else found


def _git(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return ran.stdout.strip() if ran.returncode == 0 else ""


# -- the machine -----------------------------------------------------------------------------------


def processor() -> str:
    """The CPU's name."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def hardware(device: torch.device, world_size: int = 1) -> str:
    """The devices of a run in a few words, such as `4 x NVIDIA H100`."""
    if device.type == "cuda":
        count = f"{world_size} x " if world_size > 1 else ""
        return count + torch.cuda.get_device_name(device)
    count = f"{world_size} processes on " if world_size > 1 else ""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{count}{cores} processors of {processor()}"


def version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, str]:
    """Name and value of everything on this machine that speed and correctness depend on."""
    from lift.kernels import extension  # the kernels are not needed to record a run
    from lift.kernels.ops.grid_sample import cuda

    cuda_build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
    facts = {
        "lift": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": f"{torch.__version__}, built for {cuda_build}",
        "triton": _version_text("triton"),
        "numpy": _version_text("numpy"),
        "av (video files)": _version_text("av"),
        "CPU": f"{processor()}, {os.cpu_count()} processors, "
        f"torch uses {torch.get_num_threads()} threads",
        "C++ kernels": extension.describe(),
        "CUDA kernels": cuda.describe(),
        "C++ compiler": _compiler(os.environ.get("CXX"), "c++", "g++", "clang++"),
        "CUDA compiler": _compiler("nvcc"),
    }
    if not torch.cuda.is_available():
        return facts | {"GPU": "none that torch can use"}
    for i in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(i)
        facts[f"GPU {i}"] = (
            f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, "
            f"{gpu.total_memory / 2**30:.1f} GiB"
        )
    return facts


def _version_text(package: str) -> str:
    return version(package) or "not installed"


def _compiler(*names: str | None) -> str:
    for name in filter(None, names):
        path = shutil.which(name)
        if not path:
            continue
        try:
            ran = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines = ran.stdout.splitlines() or ["version unknown"]
        release = next((line for line in lines if "release" in line), lines[0])
        return f"{release.strip()} ({path})"
    return "none found"


# -- scores ----------------------------------------------------------------------------------------


def of_scores(checkpoint: str | Path | None) -> dict:
    """What scores depend on, JSON-able: versions, machine, threads, and the weights' SHA-256."""
    made_by = {
        "lift": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in PACKAGES},
    }
    if torch.cuda.is_available():
        made_by["gpu"] = torch.cuda.get_device_name()
    if checkpoint is None:
        return {"made_by": made_by}
    digest = sha256(Path(checkpoint))
    return {"made_by": made_by, "weights": {"file": Path(checkpoint).name, "sha256": digest}}


# -- a training run --------------------------------------------------------------------------------


class RunHistory:
    """What computed each part of a run: one entry for every stretch between two stops.

    Args:
        entries: of the stretches before this one: commit, hardware, torch version, precision,
            steps and seconds.
        device: where the steps are computed from now on.
        world_size: number of processes.
        autocast: dtype of mixed precision, None for full precision.
        step: first step of this stretch.
    """

    def __init__(
        self,
        entries: list[dict],
        device: torch.device,
        world_size: int,
        autocast: torch.dtype | None,
        step: int,
    ):
        self.entries, self.step, self.started = entries, step, time.monotonic()
        self.current = {
            "commit": commit(),
            "hardware": hardware(device, world_size),
            "torch": str(torch.__version__),
            "precision": str(autocast or torch.float32).removeprefix("torch."),
        }

    @property
    def seconds(self) -> float:
        """Time spent on the run, earlier stretches included."""
        return sum(entry["seconds"] for entry in self.entries_until(self.step))

    def entries_until(self, step: int) -> list[dict]:
        """All entries, with this stretch ending at `step`."""
        seconds = time.monotonic() - self.started
        return [*self.entries, {**self.current, "steps": step - self.step, "seconds": seconds}]


def stored_history(state: dict) -> list[dict]:
    """The entries in a checkpoint's state.

    Early checkpoints have none: then one entry without commit, hardware and precision.
    """
    if "history" in state:
        return state["history"]
    unknown = dict.fromkeys(("commit", "hardware", "torch", "precision"), "")
    return [{**unknown, "steps": state["step"], "seconds": state["elapsed"]}]
