"""Settings of the optimisation and of a run."""

from dataclasses import dataclass

from lift.config.values import setting
from lift.devices import ACCEPTED


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation. Learning rates are AdamW's; steps are optimiser steps."""

    batch_size: int = setting(4, "clips per step and device", low=1)
    epochs: int = setting(300, "passes over the data", low=1)
    epoch_steps: int = setting(0, "steps per epoch; 0: one pass over the data", low=0)
    lr: float = setting(3e-4, "peak learning rate", above=0)
    lr_min: float = setting(3e-6, "learning rate at the end of the cosine", low=0)
    warmup_steps: int = setting(500, "steps of linear warm-up", low=0)
    weight_decay: float = setting(1e-3, "AdamW weight decay", low=0)
    clip_grad: float = setting(1.0, "largest gradient norm", above=0)
    amp: str = setting(
        "auto",
        "mixed precision: off, bfloat16, float16, or auto "
        "(on a GPU bfloat16 if it is supported, else float16; on a CPU off)",
        choices=("auto", "off", "bfloat16", "float16"),
    )
    channels_last: bool = setting(
        True, "keep convolution weights and images in channels_last memory format (faster)"
    )
    accumulate: int = setting(
        1, "batches whose gradients are accumulated per optimiser step", low=1
    )
    compile: bool = setting(False, "run the model through torch.compile")
    cuda_graph: bool = setting(
        False,
        "record forward and backward of a step as a CUDA graph, which removes the launch overhead "
        "on one GPU",
    )
    recompute_encoder: bool = setting(
        False, "activation checkpointing of the encoder: its features are recomputed in backward"
    )
    recompute_refine: bool = setting(
        False,
        "activation checkpointing of the full-resolution stage and of the flow: both are "
        "recomputed in backward",
    )
    max_skipped: int = setting(
        20,
        "steps in a row that may be skipped, because loss or gradient is not finite or the "
        "gradient explodes, before the run stops",
        low=0,
    )
    spike_ratio: float = setting(
        100.0,
        "a gradient explodes if its norm is more than this many times the median of the last "
        "64 steps; 0: never (also with float16)",
        low=0,
    )
    sharding: str = setting(
        "none",
        "what several processes divide: none (each has everything), or zero1 (the optimiser's "
        "state, ZeRO stage 1)",
        choices=("none", "zero1"),
    )
    ema_decay: float = setting(0.999, "decay of the averaged (EMA) weights", low=0, below=1)
    freeze_epochs: int = setting(
        10,
        "epochs during which an encoder with given weights is frozen; one with random weights "
        "is trained from the start",
        low=0,
    )
    stages: str = setting(
        "all",
        "stages that are trained: all, synthesis (coarse synthesis and refinement, for fixed "
        "flows) or trajectory (how paths curve, everything else fixed)",
        choices=("all", "synthesis", "trajectory"),
    )
    psnr_weight: float = setting(
        0.0, "weight of the loss whose fall raises the mean PSNR of frames", low=0
    )
    census_weight: float = setting(0.1, "weight of the census loss", low=0)
    coarse_weight: float = setting(
        0.5, "weight of the Laplacian loss of the quarter-resolution frame", low=0
    )
    cascade_weight: float = setting(
        0.25, "weight of the loss on each intermediate scale of the flow cascade", low=0
    )
    flow_weight: float = setting(
        0.02, "weight of the flow loss where the true flow is known (synthetic clips)", low=0
    )
    validate_epochs: int = setting(5, "epochs between validations", low=1)
    validate_clips: int = setting(64, "clips per validation", low=1)
    picture_clips: int = setting(
        3, "validation clips of which TensorBoard gets pictures; 0: none", low=0
    )
    log_steps: int = setting(50, "steps between log entries", low=1)
    wandb: str = setting("", "project of Weights & Biases that gets the log too; empty: none")
    checkpoint_minutes: float = setting(
        10.0, "minutes between checkpoints; the end of an epoch writes one too", low=0
    )
    max_minutes: float = setting(
        0.0, "stop cleanly, with a checkpoint, after this many minutes; 0: no limit", low=0
    )
    pretrained_encoder: str = setting(
        "", "weights for the encoder; tensors that fit are loaded and listed"
    )
    init_weights: str = setting(
        "",
        "weights of a whole model to start from: a .safetensors file, or the name of bundled "
        "weights (tiny)",
    )
    resume: str = setting(
        "auto",
        "auto (resume from output's checkpoint if there is one), never, or a checkpoint folder",
    )
    output: str = setting("runs/lift", "folder of checkpoints and TensorBoard logs")
    device: str = setting("auto", ACCEPTED)
    seed: int = setting(0, "seed of weights, data and random context", low=0)
