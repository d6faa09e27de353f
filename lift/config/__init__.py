"""The configuration: its fields and defaults, TOML files, command-line flags."""

from lift.config.model import PRESETS, ModelConfig, base, small, tiny
from lift.config.schema import (
    BUILTIN_FOLDER,
    SECTIONS,
    Config,
    DataConfig,
    InferenceConfig,
    TrainConfig,
    add_flags,
    apply_flags,
    builtin_configs,
    check_config,
    from_dict,
    load_config,
    resolve,
    to_dict,
    to_flags,
)

__all__ = [
    "PRESETS",
    "BUILTIN_FOLDER",
    "SECTIONS",
    "Config",
    "DataConfig",
    "InferenceConfig",
    "ModelConfig",
    "TrainConfig",
    "add_flags",
    "apply_flags",
    "base",
    "check_config",
    "from_dict",
    "load_config",
    "builtin_configs",
    "resolve",
    "small",
    "to_flags",
    "tiny",
    "to_dict",
]
