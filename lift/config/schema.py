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
from lift.config.model import PRESETS, ModelConfig, base
from lift.config.train import TrainConfig
from lift.devices import ACCEPTED, is_device_name
from lift.errors import LiftError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


BACKENDS = ("auto", "fused", "reference")
_field = values.setting


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they are cut."""

    data_source: str = _field(
        "folder",
        "source of clips: folder (videos or frames in data_root), synthetic, or mixed",
        choices=("folder", "synthetic", "mixed"),
    )
    data_root: str = _field(
        "",
        "folder of sequences/<split>/<name>/im00.png, X-TRAIN's train/<a>/<b>/0000.png, "
        "numbered frames, or videos",
    )
    train_split: str = _field("train", "split to train on, where the layout has splits")
    val_split: str = _field(
        "val", "split to validate on; without one, every eighth sequence is used"
    )
    sampling: str = _field(
        "skip",
        "how a clip is cut: skip (every s-th frame is an input) "
        "or dense (sixteen consecutive frames, the ninth is the target)",
        choices=("skip", "dense"),
    )
    strides: tuple[int, ...] = _field(
        (2, 2, 2, 4), "the s of skip sampling, drawn from this list", low=1
    )
    context_frames: int = _field(15, "number of input frames, at most", low=2)
    min_context_frames: int = _field(2, "smallest number of input frames in training", low=2)
    full_context_prob: float = _field(
        0.5,
        "probability that a batch gets all context_frames; else their number is drawn at random",
        low=0,
        high=1,
    )
    targets: int = _field(
        1, "target frames per window of input frames, which is encoded once for all of them", low=1
    )
    crop_height: int = _field(224, "height of a training crop, pixels", low=1)
    crop_width: int = _field(224, "width of a training crop, pixels", low=1)
    resize_short_side: int = _field(
        0,
        "shrink frames while loading until their short side is at most this, pixels; 0: never",
        low=0,
    )
    rescale: float = _field(
        1.0,
        "largest factor by which training clips are enlarged or reduced, at random, and stretched "
        "a little; 1: only some are enlarged to twice their size",
        low=1,
    )
    jpeg_prob: float = _field(
        0.0,
        "probability that all frames of a training clip, targets too, are compressed as JPEG",
        low=0,
        high=1,
    )
    scan_videos: bool = _field(
        True,
        "look for cuts and damaged frames in videos without a manifest, which are then decoded "
        "once; what was found is kept in frame_cache or in the user's cache folder",
    )
    skip_bad: bool = _field(
        False, "take another sample in the place of one with a damaged file, and count it"
    )
    enlarge: bool = _field(
        True,
        "enlarge frames that are smaller than the crop, with a note; else they are left out",
    )
    flow_teacher: str = _field(
        "none",
        "teacher of the flows on real clips: dis (optical flow that sees the target), or none",
        choices=("none", "dis"),
    )
    preload: bool = _field(False, "decode all sequences into memory before training")
    frame_cache: str = _field(
        "",
        "folder in which decoded frames are kept for this run and others, as large as with "
        "preload; empty: none",
    )
    synthetic_fraction: float = _field(
        0.25, "fraction of synthetic clips with --data_source mixed", low=0, high=1
    )
    synthetic_size: int = _field(
        2000, "synthetic clips per epoch with --data_source synthetic", low=1
    )
    num_workers: int = _field(2, "processes that load data", low=0)


@dataclass(frozen=True)
class InferenceConfig:
    """How files are interpolated; not part of a checkpoint."""

    preset: str = _field("tiny", "name of the bundled weights, used without a checkpoint")
    context_frames: int = _field(15, "input frames per generated frame")
    multi: int = _field(2, "interpolation factor (2 doubles the frame rate)")
    batch: int = _field(1, "frames of one pair that are generated in one call")
    dtype: str = _field("auto", "precision; auto: bfloat16 or float16 on a GPU, float32 on a CPU")
    channels_last: bool = _field(True, "keep convolutions in channels_last format (faster)")
    crf: int = _field(
        17, "x264's constant rate factor, 0 (lossless) to 51; 17 is visually near lossless"
    )
    folder_fps: int = _field(24, "frame rate assumed for a folder of frames")


@dataclass(frozen=True)
class Config:
    """A whole configuration: the sections, and the kernels that run the operations."""

    model: ModelConfig = field(default_factory=base)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    kernels: str = _field(
        "auto",
        "kernels: auto, fused (an error where unsupported), or reference",
        choices=BACKENDS,
    )


# -- plain data and files --------------------------------------------------------------------------

SECTIONS = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}
BUILTIN_FOLDER = Path(__file__).parent / "presets"


def to_dict(config: Config) -> dict[str, Any]:
    """A configuration as dictionaries, lists, numbers and text: what JSON and TOML can hold."""
    return values.to_plain(config)


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
    config = values.merge(config, data)
    check_config(config)
    return config


def builtin_configs() -> list[str]:
    """Names of the built-in configurations."""
    return sorted(file.stem for file in BUILTIN_FOLDER.glob("*.toml"))


def load_config(path_or_name: str | Path, base: Config | None = None) -> Config:
    """Read a TOML file with the sections [model], [data], [train] and the key kernels.

    Args:
        path_or_name: a file, or the name of one of the built-in configurations.
        base: supplies what the file leaves out; by default the defaults.

    Raises:
        LiftError: no such file, not TOML, or as `from_dict`; one sentence that names the file.
    """
    name, known = str(path_or_name), builtin_configs()
    path = BUILTIN_FOLDER / f"{name}.toml" if name in known else Path(path_or_name)
    if not path.is_file():
        raise LiftError(
            f"no configuration '{name}': it is neither a file nor built in; built-in ones are "
            f"{', '.join(known)}{values.did_you_mean(name, known)}"
        )
    try:
        data = read_toml(path)
        old_names.reject(data)
        return from_dict(data, base)
    except LiftError as error:
        raise LiftError(f"{path}: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        LiftError: not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LiftError(f"not valid TOML: {error}") from error


def check_config(config: Config) -> None:
    """Raise a LiftError naming the first value that model, data or training cannot use."""
    values.check_limits(config.kernels, "kernels", values.limits_of(Config)["kernels"])
    check_model(config.model)
    for name in ("data", "train"):
        _check_section(name, getattr(config, name))
    _check_relations(config.model, config.data, config.train)


def check_model(model: ModelConfig) -> None:
    """Raise a LiftError naming the first size or switch that a model cannot have."""
    _check_section("model", model)
    _preset(model.preset)
    if model.attn_channels % model.heads:
        multiple = f"a multiple of model.heads ({model.heads})"
        values.reject("model.attn_channels", multiple, model.attn_channels)
    if model.self_attention and model.context_mode != "attention":
        off = f"false where model.context_mode is {model.context_mode}, which has no transformer"
        values.reject("model.self_attention", off, model.self_attention)


def _check_section(name: str, section: Any) -> None:
    for key, limits in values.limits_of(type(section)).items():
        values.check_limits(getattr(section, key), f"{name}.{key}", limits)


def _check_relations(model: ModelConfig, data: DataConfig, train: TrainConfig) -> None:
    """Check the values whose limits depend on a value of another section."""
    if train.stages == "trajectory" and model.path_frames == 2:
        values.reject("train.stages", "all or synthesis where model.path_frames is 2", train.stages)
    if data.min_context_frames > data.context_frames:
        most = f"at most data.context_frames ({data.context_frames})"
        values.reject("data.min_context_frames", most, data.min_context_frames)
    if data.sampling == "dense" and data.context_frames > 15:
        most = "at most 15 where data.sampling is dense (sixteen frames less the target)"
        values.reject("data.context_frames", most, data.context_frames)
    if train.lr_min > train.lr:
        values.reject("train.lr_min", f"at most train.lr ({train.lr})", train.lr_min)
    if not is_device_name(train.device):
        values.reject("train.device", ACCEPTED, train.device)


def _preset(name: str) -> ModelConfig:
    if name not in PRESETS:
        hint = values.did_you_mean(name, PRESETS)
        values.reject("model.preset", f"one of {', '.join(PRESETS)}", name, hint)
    return PRESETS[name]()


# -- flags -----------------------------------------------------------------------------------------


def add_flags(
    parser: argparse.ArgumentParser, sections: Sequence[str] = ("model", "data", "train")
) -> None:
    """Add `--config`, `--kernels` and a flag per field of the sections.

    `resolve` reads them back.
    """
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"TOML file, or a built-in configuration ({', '.join(builtin_configs())}); "
        "it overrides the defaults, and flags override it",
    )
    flags.add_fields(parser, Config)
    for section in sections:
        flags.add_fields(parser, SECTIONS[section], section)


def apply_flags(config: Config, namespace: argparse.Namespace) -> Config:
    """The configuration with the flags that were given.

    `--preset` sets all sizes first; the other model flags then change single ones.
    """
    preset = getattr(namespace, "model.preset", None)
    if preset is not None:
        config = replace(config, model=_preset(preset))
    config = replace(
        flags.overrides(config, namespace),
        **{name: flags.overrides(getattr(config, name), namespace, name) for name in SECTIONS},
    )
    check_config(config)
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


def to_flags(config: Config) -> dict[str, str]:
    """The flags that give a configuration, by field: the inverse of `resolve`."""
    found = flags.to_flags(config, Config())
    model = flags.to_flags(config.model, ModelConfig())
    if "preset" in model:  # it sets all sizes; only what differs from them needs a flag
        model = {
            "preset": model["preset"],
            **flags.to_flags(config.model, _preset(config.model.preset)),
        }
    return {
        **model,
        **flags.to_flags(config.data, DataConfig()),
        **flags.to_flags(config.train, TrainConfig()),
        **found,
    }
