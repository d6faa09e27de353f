"""The machine, recorded with every result."""

import hashlib
import os
import platform
from pathlib import Path

import torch

from lift.provenance import commit
from lift.provenance import machine as facts

REASONS = {
    "SwThermalSlowdown": "software heat limit",
    "HwThermalSlowdown": "hardware heat limit",
    "HwSlowdown": "hardware slowdown",
    "SwPowerCap": "power limit",
    "HwPowerBrakeSlowdown": "power brake",
}


ROOT = Path(__file__).resolve().parents[2]
MEASURED = ("kernels", "csrc", "lift/model", "benchmarks")  # folders whose sources are hashed


def describe() -> dict:
    """Machine, versions, commit, and the present state of each GPU."""
    return {
        "facts": facts(),
        "threads": torch.get_num_threads(),
        "bound": os.environ.get("OMP_PROC_BIND"),
        "cuda": torch.version.cuda,
        "commit": commit(),
        "sources": sources(),
        "gpus": gpus(),
        "host": platform.node(),
    }


def sources() -> str:
    """Hash of the sources, to identify the code where there is no commit."""
    digest = hashlib.sha256()
    for path in sorted(
        path
        for folder in MEASURED
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".cpp", ".cu", ".h")
    ):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def gpus() -> list[dict]:
    """Present state of every GPU: driver, clocks (MHz), throttle reasons, power (W), degrees C."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, or no such package: no GPU to describe
        return []
    try:
        return [
            _gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i))
            for i in range(pynvml.nvmlDeviceGetCount())
        ]
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml, handle) -> dict:
    def ask(function: str, *arguments):
        try:
            return getattr(nvml, function)(handle, *arguments)
        except nvml.NVMLError:  # not every GPU supports every query
            return None

    def watts(milliwatts: int | None) -> float | None:
        return None if milliwatts is None else milliwatts / 1000

    now = "nvmlDeviceGetCurrentClocksEventReasons"  # older packages have the other name
    lowered = ask(now if hasattr(nvml, now) else "nvmlDeviceGetCurrentClocksThrottleReasons")
    return {
        "name": ask("nvmlDeviceGetName"),
        "driver": nvml.nvmlSystemGetDriverVersion(),
        "clock": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        "highest clock": ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
        "memory clock": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
        "lowered by": None
        if lowered is None
        else [
            text
            for name, text in REASONS.items()
            if lowered
            & getattr(
                nvml,
                f"nvmlClocksEventReason{name}",
                getattr(nvml, f"nvmlClocksThrottleReason{name}", 0),
            )
        ],
        "power": watts(ask("nvmlDeviceGetPowerUsage")),
        "power limit": watts(ask("nvmlDeviceGetEnforcedPowerLimit")),
        "temperature": ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
    }
