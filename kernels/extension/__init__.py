"""The C++ extension `lift.kernels._C`: loaded once, or a clause that says why it is not.

Loading it defines the operations of `torch.ops.lift_cpp`. `python -m lift.kernels.extension` builds
it; LIFT runs without it.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

from lift.kernels.checks import unsupported_images
from lift.kernels.extension import requirements
from lift.kernels.extension.build import MODULE, REMEDY, SOURCES, fingerprint
from lift.kernels.extension.folders import existing


def load() -> tuple[ModuleType | None, str | None]:
    """The module and None; or None and a clause that says why it cannot be used."""
    path = existing(MODULE, fingerprint)
    if not path.is_file():
        return None, f"the C++ extension is not built{_remedy()}"
    try:
        found = _import(path)
    except ImportError as error:
        reason = f"the C++ extension does not load ({str(error).splitlines()[0]})"
        return None, f"{reason}; {REMEDY} again"
    return check(found)


def _remedy() -> str:
    """What to do about an extension that is not built, after what this machine lacks for it."""
    try:
        requirements.requirements()
    except requirements.BuildError as error:
        return f": {error}; then {REMEDY}"
    return f"; {REMEDY}"


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("lift.kernels._C", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    sys.modules[spec.name] = found
    return found


def check(found: ModuleType) -> tuple[ModuleType | None, str | None]:
    """The same for a module that was imported: whether its build fits the sources and machine."""
    if SOURCES.is_dir() and found.build()["sources"] != fingerprint():
        reason = "the C++ extension was built from other sources than those in csrc"
        return None, f"{reason}; {REMEDY} again"
    missing = found.missing_features()
    if missing:
        reason = f"the C++ extension was built for a processor with {missing}, which this one lacks"
        return None, f"{reason}; {REMEDY} here"
    return found, None


module, failure = load()
FLOATS = (torch.float32, torch.float64)  # that C++ computes in
FEATURES = (*FLOATS, torch.bfloat16)  # of convolutions
DTYPES = (*FLOATS, torch.float16, torch.bfloat16)  # of images


def unsupported_reason(
    *arguments, min_side: int | None = 0, dtypes: tuple[torch.dtype, ...] = DTYPES
) -> str | None:
    """Why C++ does not support a call, or None.

    Args:
        arguments: those of the operation, of which the first is images (B, C, H, W); none to ask
            about the machine only.
        min_side: the smallest height and width that are supported; None for tensors of any shape.
        dtypes: of the first argument.
    """
    if module is None:
        return failure
    return unsupported_images(arguments[0], "cpu", dtypes, min_side) if arguments else None


def other_dtype(
    expected: torch.dtype, *found: tuple[str, torch.Tensor | torch.dtype | None]
) -> str | None:
    """Why C++, which computes in one dtype, does not support named arguments, or None."""
    for name, x in found:
        dtype = x.dtype if isinstance(x, torch.Tensor) else x
        if dtype is not None and dtype != expected:
            return f"{name} of {dtype}: {expected} only"
    return None


def unsupported_features(
    wide: torch.dtype, *found: tuple[str, torch.Tensor | torch.dtype | None]
) -> str | None:
    """Why C++ does not support named features beside images or maps of a dtype, or None.

    All features have one dtype, that of the maps, or bfloat16 beside float32.
    """
    dtypes = {x.dtype if isinstance(x, torch.Tensor) else x for _, x in found if x is not None}
    narrow = dtypes == {torch.bfloat16} and wide == torch.float32
    return None if narrow else other_dtype(wide, *found)


def describe() -> str:
    """A line that describes the build, or says why there is none."""
    if module is None:
        return f"none: {failure}"
    info = module.build()
    torch_versions = f"torch {info['torch']} for {info['torch_target']} and newer"
    features = info["features"].strip() or "only the baseline"
    return f"{info['compiler']}, built with {torch_versions}, uses {features}, {info['flags']}"
