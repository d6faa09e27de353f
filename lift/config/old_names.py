"""Former names of configuration fields, in one place.

Stored configurations (checkpoints, shipped weights) load under their former names. In a TOML file
or on the command line a former name is an error that states the new one.
"""

from typing import Any

from lift.errors import LiftError

RENAMED: dict[str, dict[str, str]] = {
    "model": {
        "stem": "stem_channels",
        "blocks": "encoder_blocks",
        "context": "attn_channels",
        "match": "corr_channels",
        "bend": "trajectory_channels",
        "refine": "refine_channels",
    },
    "data": {
        "data": "data_source",
        "context_min": "min_context_frames",
        "context_full": "full_context_prob",
        "cover": "resize_short_side",
        "synthetic_share": "synthetic_fraction",
    },
    "train": {
        "ema": "ema_decay",
        "init": "init_weights",
        "census": "census_weight",
        "coarse": "coarse_weight",
        "cascade": "cascade_weight",
        "flow": "flow_weight",
    },
}

# Sizes that stored models did not have when they lacked the field: the model as it was then.
FORMER_MODEL = {
    "align8": 0,
    "align4": 0,
    "align2": 0,
    "convex_upsampling": False,
    "path_frames": 4,
    "refine_unet": False,
    "sharpness": False,
}

# Flags whose former name could mean two of today's.
AMBIGUOUS_FLAGS = {
    "context": "--context_frames is the number of input frames, "
    "--attn_channels the width of the transformer",
}

# Former flags of the commands that use a model, and of lift train, which are accepted with a
# warning.
DEPRECATED_FLAGS = {"--context": "--context_frames"}
DEPRECATED_TRAIN_FLAGS = {"--init": "--init_weights"}


def update(data: Any) -> Any:
    """A stored configuration, as nested dictionaries, with today's names of its fields.

    A field that is there under both names keeps the value of the new one.
    """
    if not isinstance(data, dict):
        return data
    return {name: _update(name, value) for name, value in data.items()}


def of_stored_model(data: Any) -> Any:
    """The configuration stored with a model, with the sizes that came after it switched off."""
    model = data.get("model") if isinstance(data, dict) else None
    return data | {"model": FORMER_MODEL | model} if isinstance(model, dict) else data


def _update(section: str, values: Any) -> Any:
    names = RENAMED.get(section)
    if not names or not isinstance(values, dict):
        return values
    old = {names[name]: value for name, value in values.items() if name in names}
    return old | {name: value for name, value in values.items() if name not in names}


def reject(data: Any) -> None:
    """Raise a LiftError that states the new names of all former ones that `data` uses."""
    found = [
        f"{section}.{name} is now {section}.{names[name]}"
        for section, names in RENAMED.items()
        if isinstance(values := data.get(section), dict)
        for name in values
        if name in names
    ]
    if found:
        raise LiftError(f"{', '.join(found)}; rename the key{'s' * (len(found) > 1)}")


def renamed_flags(section: str) -> dict[str, str]:
    """What to say of each former flag of a section: {"--match": "it is now --corr_channels"}."""
    advice = {name: f"it is now --{new}" for name, new in RENAMED.get(section, {}).items()}
    advice |= {name: text for name, text in AMBIGUOUS_FLAGS.items() if name in advice}
    return {f"--{name}": text for name, text in advice.items()}


def current_flag(flag: str) -> str:
    """A recorded flag such as `--ema 0.99` or `--no_preload` under the name that it has today."""
    name, *value = flag.split(" ", 1)
    switch = "--no_" if name.startswith("--no_") else "--"
    for names in RENAMED.values():
        if new := names.get(name.removeprefix(switch)):
            return " ".join([switch + new, *value])
    return flag
