"""The C++ extension, `lift.kernels._C`: loaded once, or a clause that says why it is not there.

Loading it defines the operations of `torch.ops.lift_cpp`. It is a file that `python -m
lift.kernels.extension` makes; nothing needs it.
"""

import importlib

import torch

from lift.kernels.checks import unsupported_images
from lift.kernels.extension.build import MODULE, REMEDY, SOURCES, fingerprint


def load() -> tuple[object | None, str | None]:
    """The module, or None and a clause why it cannot be used."""
    if not MODULE.is_file():
        return None, f"the C++ extension is not built; {REMEDY}"
    try:
        found = importlib.import_module("lift.kernels._C")
    except ImportError as error:
        return (
            None,
            f"the C++ extension does not load ({str(error).splitlines()[0]}); {REMEDY} again",
        )
    return judge(found)


def judge(found) -> tuple[object | None, str | None]:
    """The module, or None and a clause, by what it says of its own build."""
    if SOURCES.is_dir() and found.build()["sources"] != fingerprint():
        return (
            None,
            f"the C++ extension was built from other sources than those in csrc; {REMEDY} again",
        )
    missing = found.missing_features()
    if missing:
        return (
            None,
            f"the C++ extension was built for a processor with {missing}, which this one lacks; {REMEDY} here",
        )
    return found, None


module, failure = load()
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)  # of images


def reason(*arguments, shortest_side: int = 0) -> str | None:
    """Why C++ cannot serve an operation, whose first argument is images (B, C, H, W); no arguments
    to ask about the machine.
    """
    if module is None:
        return failure
    return unsupported_images(arguments[0], "cpu", DTYPES, shortest_side) if arguments else None


def describe() -> str:
    """One line on the extension: what it was built with, or why there is none."""
    if module is None:
        return f"none: {failure}"
    info = module.build()
    return (
        f"{info['compiler']}, built with torch {info['torch']} for {info['torch_target']} and newer, "
        f"uses {info['features'].strip() or 'no more than the baseline'}, {info['flags']}"
    )
