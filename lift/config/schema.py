"""Every hyperparameter and its default, in one place.

A `Config` is built from the defaults below, then a TOML file, then flags, in that order, and is
stored in every checkpoint.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lift.config import flags, old_names, values
from lift.errors import LiftError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _field(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the five stages. Channels are counts, radii are in pixels of the scale they are
    named after.
    """

    preset: str = _field("base", "name of the preset the sizes come from")
    stem_channels: int = _field(48, "encoder channels at 1/2")
    c4: int = _field(96, "encoder channels at 1/4")
    c8: int = _field(192, "encoder channels at 1/8")
    c16: int = _field(256, "encoder channels at 1/16")
    encoder_blocks: int = _field(2, "residual blocks per encoder scale")
    attn_channels: int = _field(256, "channels of the temporal transformer and of its output")
    heads: int = _field(8, "attention heads")
    layers: int = _field(4, "temporal transformer layers")
    window: int = _field(8, "spatial attention window in 1/16 pixels: 1, 2, 4 or 8")
    self_attention: bool = _field(
        False, "let frames attend to each other before the target's query reads them (ablation)"
    )
    corr_channels: int = _field(64, "channels of the features that are correlated")
    radius16: int = _field(
        6,
        "search radius of the global motion estimate, 1/16 pixels of motion from reference to reference",
    )
    radius8: int = _field(3, "search radius of the correlation at 1/8")
    radius4: int = _field(3, "search radius of the correlation at 1/4")
    hidden16: int = _field(256, "hidden channels of the global motion estimate")
    hidden8: int = _field(256, "hidden channels of the 1/8 flow block")
    hidden4: int = _field(160, "hidden channels of the 1/4 flow block")
    flow_blocks: int = _field(3, "residual blocks per flow scale")
    trajectory_channels: int = _field(64, "channels of the trajectory curvature stage")
    refine_channels: int = _field(32, "channels of the full-resolution stage, after the reduction")
    refine_stride: int = _field(1, "space-to-depth factor of the full-resolution stage: 1, 2 or 4")


def base() -> ModelConfig:
    """15 to 20 M parameters: the thesis-sized model, for one RTX card."""
    return ModelConfig()


def small() -> ModelConfig:
    """At most 6 M parameters."""
    return ModelConfig(
        "small",
        stem_channels=32,
        c4=48,
        c8=80,
        c16=128,
        encoder_blocks=2,
        attn_channels=128,
        heads=4,
        layers=3,
        window=8,
        corr_channels=48,
        radius16=6,
        radius8=3,
        radius4=3,
        hidden16=128,
        hidden8=128,
        hidden4=80,
        flow_blocks=3,
        trajectory_channels=32,
        refine_channels=24,
        refine_stride=1,
    )


def tiny() -> ModelConfig:
    """At most 1.5 M parameters, for CPUs and tests."""
    return ModelConfig(
        "tiny",
        stem_channels=16,
        c4=32,
        c8=48,
        c16=64,
        encoder_blocks=1,
        attn_channels=64,
        heads=2,
        layers=2,
        window=4,
        corr_channels=24,
        radius16=5,
        radius8=3,
        radius4=2,
        hidden16=64,
        hidden8=64,
        hidden4=48,
        flow_blocks=2,
        trajectory_channels=24,
        refine_channels=24,
        refine_stride=2,
    )


PRESETS = {"base": base, "small": small, "tiny": tiny}


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they are cut."""

    data: str = _field(
        "folder",
        "source of clips: folder (real ones in data_root), synthetic (none needed), or mixed",
    )
    data_root: str = _field(
        "",
        "folder of sequences/<split>/<name>/im00.png, X-TRAIN's train/<a>/<b>/0000.png, numbered frames, or videos",
    )
    train_split: str = _field("train", "split to train on, where the layout has splits")
    val_split: str = _field(
        "val", "split to validate on; where it is missing, every eighth sequence is held back"
    )
    sampling: str = _field(
        "skip",
        "how a clip is cut: skip (every s-th frame is an input) or dense (sixteen in a row, target 8)",
    )
    strides: tuple[int, ...] = _field((2, 2, 2, 4), "the s of skip sampling, drawn from this list")
    context_frames: int = _field(15, "largest number of input frames")
    context_min: int = _field(2, "smallest number of input frames that training draws")
    context_full: float = _field(
        0.5, "share of batches that get all context_frames; the others draw fewer at random"
    )
    targets: int = _field(
        1, "frames to be made out of each window of frames, which is encoded once for all of them"
    )
    crop_height: int = _field(224, "height of a training crop, pixels")
    crop_width: int = _field(224, "width of a training crop, pixels")
    cover: int = _field(
        0,
        "area-resize frames as they are read so that their short side is at most this; 0 keeps their size",
    )
    preload: bool = _field(
        False, "decode all sequences into memory once (fast; needs room for the frames)"
    )
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
    amp: str = _field(
        "auto",
        "autocast: off, bfloat16, float16, or auto (bfloat16 on a GPU that has it, float16 on others, off on a CPU)",
    )
    channels_last: bool = _field(
        True, "keep convolution weights and images channels-last, which convolutions are faster on"
    )
    accumulate: int = _field(
        1,
        "batches whose gradients make up one step; a step sees batch_size * accumulate clips a device",
    )
    compile: bool = _field(False, "run the model through torch.compile")
    recompute_encoder: bool = _field(
        False,
        "keep the frames alone for the encoder's backward, which computes its features once more",
    )
    recompute_refine: bool = _field(
        False,
        "keep the inputs alone for the full-resolution stage's backward, which computes it once more",
    )
    ema: float = _field(0.999, "decay of the averaged weights")
    freeze_epochs: int = _field(10, "epochs during which the encoder is frozen")
    census: float = _field(0.1, "weight of the census loss")
    coarse: float = _field(0.5, "weight of the coarse frame's Laplacian loss")
    cascade: float = _field(
        0.25, "weight of the loss on each intermediate scale of the flow cascade"
    )
    flow: float = _field(
        0.02, "weight of the flow loss where the true flow is known (synthetic clips)"
    )
    validate_epochs: int = _field(5, "epochs between validations")
    validate_clips: int = _field(64, "clips a validation looks at")
    log_steps: int = _field(50, "steps between TensorBoard entries")
    checkpoint_minutes: float = _field(
        10.0, "minutes between checkpoints; one is written at the end of every epoch too"
    )
    max_minutes: float = _field(
        0.0, "stop cleanly, with a checkpoint, after this many minutes; 0: no limit"
    )
    pretrained_encoder: str = _field(
        "", "weights to start the encoder from; what fits is loaded and listed"
    )
    init: str = _field("", "weights of a whole model to start from (a .safetensors file)")
    resume: str = _field(
        "auto",
        "auto (go on from output's checkpoint where there is one), never, or a checkpoint folder",
    )
    output: str = _field("runs/lift", "folder of checkpoints and TensorBoard logs")
    device: str = _field("auto", "auto, cpu, cuda, or cuda:N")
    seed: int = _field(0, "seed of weights, data and dropout of context")


@dataclass(frozen=True)
class InferenceConfig:
    """How files are interpolated; not part of a checkpoint."""

    preset: str = _field("tiny", "whose bundled weights serve where no checkpoint is named")
    context: int = _field(15, "input frames that a made frame looks at")
    multi: int = _field(2, "frames shown in the time of one")
    batch: int = _field(1, "frames between one pair made in one call")
    dtype: str = _field("auto", "precision; auto: bfloat16 or float16 on a GPU, float32 on a CPU")
    channels_last: bool = _field(True, "keep convolutions channels-last, which are faster so")
    crf: int = _field(
        17, "x264's constant quality, 0 (lossless) to 51; 17 is visually close to lossless"
    )
    folder_fps: int = _field(24, "rate of a folder of frames, which states none")


@dataclass(frozen=True)
class Config:
    model: ModelConfig = field(default_factory=base)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    kernels: str = _field(
        "auto", "which kernels serve: auto, fused (an error where they cannot), or reference"
    )


# -- plain data and files --------------------------------------------------------------------------

SECTIONS = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}
READY = Path(__file__).parent / "presets"


def to_dict(config: Config) -> dict[str, Any]:
    """A configuration as dictionaries, lists, numbers and text: what JSON and TOML can hold."""
    return values.plain(config)


def from_dict(data: dict[str, Any], base: Config | None = None) -> Config:
    """A configuration from what `to_dict` gave, or from a part of it.

    What is missing stays as in `base`, by default the defaults. Former names of fields are
    accepted, as stored configurations have them; see `old_names`.

    `model.preset` sets all sizes of the preset first; the other keys of the section then change
    single ones.

    Raises:
        LiftError: an unknown key, a value of another type, or one that cannot be used; one sentence
            that names the key.
    """
    config, data = base or Config(), old_names.update(data)
    model = data.get("model") if isinstance(data, dict) else None
    if isinstance(model, dict) and "preset" in model:
        config = replace(
            config, model=_preset(values.convert(model["preset"], str, "model.preset"))
        )
    config = values.fill(config, data)
    check(config)
    return config


def ready() -> list[str]:
    """Names of the ready configurations."""
    return sorted(file.stem for file in READY.glob("*.toml"))


def load_config(path_or_name: str | Path, base: Config | None = None) -> Config:
    """Read a TOML file with the sections [model], [data], [train] and the key kernels, each of them
    optional.

    Args:
        path_or_name: a file, or the bare name of one of the ready configurations.
        base: what the file leaves out; by default the defaults.

    Raises:
        LiftError: no such file, not TOML, or as `from_dict`; one sentence that names the file.
    """
    path = READY / f"{path_or_name}.toml" if str(path_or_name) in ready() else Path(path_or_name)
    if not path.is_file():
        raise LiftError(
            f"no configuration '{path_or_name}': neither a file nor one of the ready ones, {', '.join(ready())}"
            + values.did_you_mean(str(path_or_name), ready())
        )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        old_names.reject(data)
        return from_dict(data, base)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LiftError(f"{path} is not valid TOML: {error}") from error
    except LiftError as error:
        raise LiftError(f"{path}: {error}") from error


def check(config: Config) -> None:
    """Raise a LiftError naming the first value that the model, the data or the training cannot use."""
    values.check(config, PRESETS)


def _preset(name: str) -> ModelConfig:
    if name not in PRESETS:
        raise LiftError(
            f"model.preset must be one of {', '.join(PRESETS)}, got '{name}'{values.did_you_mean(name, PRESETS)}"
        )
    return PRESETS[name]()


# -- flags -----------------------------------------------------------------------------------------


def add_flags(
    parser: argparse.ArgumentParser, sections: Sequence[str] = ("model", "data", "train")
) -> None:
    """Add `--config`, `--kernels` and a flag per field of the sections; `resolve` reads them back."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"TOML file, or one of {', '.join(ready())}; it overrides the defaults, and flags override it",
    )
    flags.add_fields(parser, Config)
    for section in sections:
        flags.add_fields(parser, SECTIONS[section], section)


def apply_flags(config: Config, namespace: argparse.Namespace) -> Config:
    """The configuration with the flags that were given; `--preset` sets all sizes first, then the
    other model flags change single ones.
    """
    preset = getattr(namespace, "model.preset", None)
    if preset is not None:
        config = replace(config, model=_preset(preset))
    config = replace(
        flags.given(config, namespace),
        **{name: flags.given(getattr(config, name), namespace, name) for name in SECTIONS},
    )
    check(config)
    return config


def resolve(namespace: argparse.Namespace, base: Config | None = None) -> Config:
    """Defaults, then the file that `--config` names, then the flags.

    Args:
        namespace: parsed by a parser that `add_flags` prepared.
        base: takes the place of the defaults, for example the configuration of a checkpoint.

    Raises:
        LiftError: as `load_config`, or a flag's value that cannot be used.
    """
    config = base or Config()
    if hasattr(namespace, "config"):
        config = load_config(namespace.config, config)
    return apply_flags(config, namespace)


def spelled(config: Config) -> dict[str, str]:
    """The flags that give a configuration, by field, in the order of the fields; the inverse of
    `resolve`.
    """
    found = flags.spelled(config, Config())
    model = flags.spelled(config.model, ModelConfig())
    if "preset" in model:  # it sets all sizes; only what differs from them needs a flag
        model = {
            "preset": model["preset"],
            **flags.spelled(config.model, _preset(config.model.preset)),
        }
    return {
        **model,
        **flags.spelled(config.data, DataConfig()),
        **flags.spelled(config.train, TrainConfig()),
        **found,
    }
