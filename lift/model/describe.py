"""Run a stage on random data and print its shapes, parameters and memory.

This is what `python -m lift.model.<stage>` does.
"""

import time
from dataclasses import fields, is_dataclass

import torch
import torch.nn as nn

from lift.config import PRESETS, ModelConfig
from lift.config.flags import Parser
from lift.model.types import FlowEstimate, FrameFeatures
from lift.saved_tensors import saved_bytes


def preset_from_command_line() -> ModelConfig:
    """The sizes that `--preset` names."""
    parser = Parser(
        description="Run this stage on random data and print shapes, parameters and memory."
    )
    parser.add_argument("--preset", choices=PRESETS, default="base")
    return PRESETS[parser.parse_args().preset]()


def random_features(config: ModelConfig, n: int = 2, size: int = 256) -> FrameFeatures:
    """Features of n square frames."""
    h = size // 16
    kv = torch.rand(n, config.layers, h, h, config.heads, config.attn_channels // config.heads)
    s4, s8, s16 = (
        torch.rand(n, c, size // s, size // s)
        for c, s in ((config.c4, 4), (config.c8, 8), (config.c16, 16))
    )
    image, quarter = (torch.rand(n, 3, size // s, size // s) for s in (1, 4))
    luma2, luma4, luma8 = (torch.rand(n, 1, size // s, size // s) for s in (2, 4, 8))
    images = image, luma2, quarter, luma4, luma8
    return FrameFeatures(s4, s8, s16, *images, kv, kv, (size, size))


def random_estimate(n: int = 2, size: int = 64) -> FlowEstimate:
    """An estimate at 1/4 of n square frames."""
    return FlowEstimate(torch.randn(n, 6, size, size), 4)


def shapes(value, name: str = "") -> list[str]:
    """One line per tensor in nested dataclasses and sequences: name, shape, dtype."""
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return [f"  {name:<22} {str(tuple(value.shape)):<24} {dtype}"]
    if is_dataclass(value):
        parts = {f"{name}.{f.name}".lstrip("."): getattr(value, f.name) for f in fields(value)}
    elif isinstance(value, (list, tuple)):
        parts = {f"{name}[{i}]": item for i, item in enumerate(value)}
    else:
        parts = {}
    return [line for name, part in parts.items() for line in shapes(part, name)]


def describe(module: nn.Module, *inputs) -> None:
    """Print the parameters, input and output shapes and activation memory of a module."""
    print(f"{type(module).__name__}: {sum(p.numel() for p in module.parameters()):,} parameters")
    for name, child in module.named_children():
        print(f"  {name:<22} {sum(p.numel() for p in child.parameters()):,}")
    print("input", *shapes(inputs), sep="\n")
    start = time.perf_counter()
    result, saved = saved_bytes(lambda: module(*inputs))
    seconds = time.perf_counter() - start
    print("output", *shapes(result), sep="\n")
    print(f"activation memory saved for backward: {saved / 2**20:.1f} MiB; forward {seconds:.2f} s")
