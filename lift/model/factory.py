"""Models by preset."""

from dataclasses import fields, replace
from pathlib import Path

from lift.config import PRESETS, ModelConfig, check_model, old_names
from lift.errors import LiftError
from lift.model.bundled import SETS, bundled_name, loading_call, pretrained_path, shipped_names
from lift.model.lift import LIFT
from lift.model.weights import load_into


def create_lift_model(
    preset: str = "base", pretrained: bool | str = False, kernels: str = "auto", **overrides
) -> LIFT:
    """Create a LIFT model from a preset.

    Args:
        preset: "base", "small" or "tiny".
        pretrained: True loads the weights that ship with the package; "open" those that are trained
            on synthetic motion and on clips whose footage may be redistributed, nothing else.
        kernels: "auto", "fused" or "reference".
        overrides: fields of `ModelConfig` to change, e.g. window=4.

    Raises:
        ValueError: an unknown preset, field or set of weights.
        LiftError: an override has a value that its field does not accept, no such weights ship for
            this preset, the overrides do not fit them, or their file is not as it ships.
    """
    if preset not in PRESETS:
        raise ValueError(
            f"create_lift_model: preset must be one of {', '.join(PRESETS)}, got {preset!r}"
        )
    unknown = sorted(set(overrides) - {f.name for f in fields(ModelConfig)})
    renamed = old_names.RENAMED["model"]
    for name in unknown:
        if name in renamed:
            raise ValueError(f"create_lift_model: {name} is now {renamed[name]}")
    if unknown:
        raise ValueError(
            f"create_lift_model: unknown field {', '.join(unknown)}; "
            "see ModelConfig for the sizes there are"
        )
    config = replace(PRESETS[preset](), **overrides)
    check_model(config)
    weights = _weights(preset, pretrained)
    model = LIFT(config, kernels)
    if weights:
        load_into(model, weights)
    return model


def _weights(preset: str, pretrained: bool | str) -> Path | None:
    """The file of the bundled weights that `pretrained` selects; None for random weights."""
    if not isinstance(pretrained, str):
        if not pretrained:
            return None
        pretrained = "default"
    calls = ", ".join(map(loading_call, shipped_names()))
    if pretrained not in SETS:
        raise ValueError(
            f"create_lift_model: pretrained must be True, False or one of {', '.join(SETS)}, "
            f"got {pretrained!r}; the weights that ship are {calls}"
        )
    path = pretrained_path(bundled_name(preset, pretrained))
    if not path.is_file():
        kind = "" if pretrained == "default" else f" of set {pretrained}"
        raise LiftError(f"no weights{kind} ship for preset {preset}; those that ship are {calls}")
    return path
