"""What a training step is made of, as the configuration says: the model, and the precision it
computes in.
"""

import torch

from lift.config import Config
from lift.model.lift import LIFT


def build(config: Config) -> LIFT:
    """The model with random weights, its memory layout, its kernels, and the stages that backward
    computes once more.
    """
    model = LIFT(config.model, config.kernels)
    model.freeze_epochs = config.train.freeze_epochs
    model.encoder.recompute, model.refine.recompute = (
        config.train.recompute_encoder,
        config.train.recompute_refine,
    )
    if config.train.channels_last:
        for p in model.parameters():
            if p.ndim == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
    return model


def autocast_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """The type that autocast computes in, or None for full precision."""
    if amp == "auto":
        amp = (
            "off"
            if device.type == "cpu"
            else "bfloat16"
            if torch.cuda.is_bf16_supported()
            else "float16"
        )
    return {"off": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[amp]
