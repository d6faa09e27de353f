"""Run a stage on random data and print its shapes, parameters and memory: what `python -m
lift.model.<stage>` does.
"""

import time
from dataclasses import fields, is_dataclass

import torch
import torch.nn as nn

from lift.config import PRESETS, ModelConfig
from lift.config.flags import Parser
from lift.model.features import FrameFeatures
from lift.model.prediction import FlowEstimate


def preset_from_command_line() -> ModelConfig:
    parser = Parser(
        description="Run this stage on random data and print shapes, parameters and memory."
    )
    parser.add_argument("--preset", choices=PRESETS, default="base")
    return PRESETS[parser.parse_args().preset]()


def random_features(config: ModelConfig, n: int = 2, size: int = 256) -> FrameFeatures:
    h = size // 16
    kv = torch.rand(n, config.layers, h, h, config.heads, config.attn_channels // config.heads)
    s4, s8, s16 = (
        torch.rand(n, c, size // s, size // s)
        for c, s in ((config.c4, 4), (config.c8, 8), (config.c16, 16))
    )
    return FrameFeatures(s4, s8, s16, kv, kv)


def random_estimate(n: int = 2, size: int = 64) -> FlowEstimate:
    return FlowEstimate(*torch.randn(2, n, 2, size, size), *torch.randn(2, n, 1, size, size), 4)


def saved_bytes(run) -> tuple[object, int]:
    """What `run()` returns and the bytes autograd keeps for its backward (unique storages)."""
    storages = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    return result, sum(storages.values())


def shapes(value, name: str = "") -> list[str]:
    """One line a tensor, nested values spelled out."""
    if isinstance(value, torch.Tensor):
        return [
            f"  {name:<22} {str(tuple(value.shape)):<24} {str(value.dtype).removeprefix('torch.')}"
        ]
    if is_dataclass(value):
        return [
            line
            for f in fields(value)
            for line in shapes(getattr(value, f.name), f"{name}.{f.name}".lstrip("."))
        ]
    if isinstance(value, (list, tuple)):
        return [line for i, item in enumerate(value) for line in shapes(item, f"{name}[{i}]")]
    return []


def describe(module: nn.Module, *inputs) -> None:
    """Print what goes in, what comes out, the parameters and the memory kept for backward."""
    print(f"{type(module).__name__}: {sum(p.numel() for p in module.parameters()):,} parameters")
    for name, part in module.named_children():
        print(f"  {name:<22} {sum(p.numel() for p in part.parameters()):,}")
    print("in", *shapes(inputs), sep="\n")
    start = time.perf_counter()
    result, kept = saved_bytes(lambda: module(*inputs))
    seconds = time.perf_counter() - start
    print("out", *shapes(result), sep="\n")
    print(f"kept for backward: {kept / 2**20:.1f} MiB; forward {seconds:.2f} s")
