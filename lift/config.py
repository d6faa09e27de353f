"""Every hyperparameter and its default, in one place.

A `Config` is built from the defaults below, then a TOML file, then flags, in that order, and is stored in every checkpoint.
"""
from dataclasses import dataclass, field


def _field(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the five stages. Channels are counts, radii are in pixels of the scale they are named after."""
    preset: str = _field("base", "name of the preset the sizes come from")
    stem: int = _field(48, "encoder channels at 1/2")
    c4: int = _field(96, "encoder channels at 1/4")
    c8: int = _field(160, "encoder channels at 1/8")
    c16: int = _field(256, "encoder channels at 1/16")
    blocks: int = _field(2, "residual blocks per encoder scale")
    context: int = _field(256, "channels of the temporal transformer and of its context")
    heads: int = _field(8, "attention heads")
    layers: int = _field(4, "temporal transformer layers")
    window: int = _field(8, "spatial attention window in 1/16 pixels: 1, 2, 4 or 8")
    self_attention: bool = _field(False, "let frames attend to each other before the target's query reads them (ablation)")
    match: int = _field(64, "channels compared in a correlation")
    radius16: int = _field(6, "search radius of the global motion estimate, 1/16 pixels of motion from reference to reference")
    radius8: int = _field(3, "search radius of the correlation at 1/8")
    radius4: int = _field(3, "search radius of the correlation at 1/4")
    hidden16: int = _field(192, "hidden channels of the global motion estimate")
    hidden8: int = _field(192, "hidden channels of the 1/8 flow block")
    hidden4: int = _field(128, "hidden channels of the 1/4 flow block")
    flow_blocks: int = _field(3, "residual blocks per flow scale")
    refine: int = _field(32, "channels of the full-resolution stage, after the reduction")
    refine_reduce: int = _field(128, "channels of the full-resolution stage, before the reduction")
    refine_stride: int = _field(1, "space-to-depth factor of the full-resolution stage: 1, 2 or 4")


def base() -> ModelConfig:
    """15 to 20 M parameters: the thesis-sized model, for one RTX card."""
    return ModelConfig()


def small() -> ModelConfig:
    """At most 6 M parameters."""
    return ModelConfig("small", stem=32, c4=48, c8=80, c16=128, blocks=2, context=128, heads=4, layers=3, window=8, match=48,
                       radius16=6, radius8=3, radius4=3, hidden16=128, hidden8=128, hidden4=80, flow_blocks=3,
                       refine=24, refine_reduce=96, refine_stride=1)


def tiny() -> ModelConfig:
    """At most 1.5 M parameters, for CPUs and tests."""
    return ModelConfig("tiny", stem=16, c4=32, c8=48, c16=64, blocks=1, context=64, heads=2, layers=2, window=4, match=24,
                       radius16=5, radius8=3, radius4=2, hidden16=64, hidden8=64, hidden4=48, flow_blocks=2,
                       refine=24, refine_reduce=64, refine_stride=2)


PRESETS = {"base": base, "small": small, "tiny": tiny}


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they are cut."""
    data: str = _field("folder", "source of clips: folder (real ones in data_root), synthetic (none needed), or mixed")
    data_root: str = _field("", "folder of sequences/<split>/<name>/im00.png, X-TRAIN's train/<a>/<b>/0000.png, numbered frames, or videos")
    train_split: str = _field("train", "split to train on, where the layout has splits")
    val_split: str = _field("val", "split to validate on; where it is missing, every eighth sequence is held back")
    sampling: str = _field("skip", "how a clip is cut: skip (every s-th frame is an input) or dense (sixteen in a row, target 8)")
    strides: tuple[int, ...] = _field((2, 2, 2, 4), "the s of skip sampling, drawn from this list")
    context_frames: int = _field(15, "largest number of input frames")
    context_min: int = _field(2, "smallest number of input frames that training draws")
    context_full: float = _field(0.5, "share of batches that get all context_frames; the others draw fewer at random")
    crop_height: int = _field(224, "height of a training crop, pixels")
    crop_width: int = _field(224, "width of a training crop, pixels")
    cover: int = _field(0, "area-resize frames as they are read so that their short side is at most this; 0 keeps their size")
    preload: bool = _field(False, "decode all sequences into memory once (fast; needs room for the frames)")
    synthetic_share: float = _field(0.25, "share of synthetic clips when data is mixed")
    synthetic_size: int = _field(2000, "synthetic clips in an epoch when data is synthetic")
    num_workers: int = _field(2, "processes that load data")


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation. Learning rates are AdamW's; steps are optimiser steps."""
    batch_size: int = _field(4, "clips per step and device")
    epochs: int = _field(300, "passes over the data")
    epoch_steps: int = _field(0, "steps counted as an epoch; 0: as many as the data holds")
    lr: float = _field(3e-4, "peak learning rate")
    lr_min: float = _field(3e-6, "learning rate at the end of the cosine")
    warmup_steps: int = _field(2000, "steps of linear warm-up")
    weight_decay: float = _field(1e-3, "AdamW weight decay")
    clip_grad: float = _field(1.0, "largest gradient norm")
    amp: str = _field("auto", "autocast: off, bfloat16, float16, or auto (bfloat16 on a GPU that has it, float16 on others, off on a CPU)")
    ema: float = _field(0.999, "decay of the averaged weights")
    freeze_epochs: int = _field(10, "epochs during which the encoder is frozen")
    census: float = _field(0.1, "weight of the census loss")
    coarse: float = _field(0.5, "weight of the coarse frame's Laplacian loss")
    cascade: float = _field(0.25, "weight of the loss on each intermediate scale of the flow cascade")
    flow: float = _field(0.02, "weight of the flow loss where the true flow is known (synthetic clips)")
    validate_epochs: int = _field(5, "epochs between validations")
    validate_clips: int = _field(64, "clips a validation looks at")
    log_steps: int = _field(50, "steps between TensorBoard entries")
    checkpoint_minutes: float = _field(10.0, "minutes between checkpoints; one is written at the end of every epoch too")
    max_minutes: float = _field(0.0, "stop cleanly, with a checkpoint, after this many minutes; 0: no limit")
    pretrained_encoder: str = _field("", "weights to start the encoder from; what fits is loaded and listed")
    init: str = _field("", "weights of a whole model to start from (a .safetensors file)")
    resume: str = _field("auto", "auto (go on from output's checkpoint where there is one), never, or a checkpoint folder")
    output: str = _field("runs/lift", "folder of checkpoints and TensorBoard logs")
    device: str = _field("auto", "auto, cpu, cuda, or cuda:N")
    seed: int = _field(0, "seed of weights, data and dropout of context")


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=base)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    kernels: str = _field("auto", "which kernels serve: auto, fused (an error where they cannot), or reference")
