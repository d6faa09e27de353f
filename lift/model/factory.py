"""Models by preset."""

from dataclasses import fields, replace

from lift.config import PRESETS, ModelConfig, check_model, old_names
from lift.errors import LiftError
from lift.model.lift import LIFT
from lift.model.weights import load_into, pretrained_path


def create_lift_model(
    preset: str = "base", pretrained: bool = False, kernels: str = "auto", **overrides
) -> LIFT:
    """Create a LIFT model from a preset.

    Args:
        preset: "base", "small" or "tiny".
        pretrained: load the weights that ship with the package.
        kernels: "auto", "fused" or "reference".
        overrides: fields of `ModelConfig` to change, e.g. window=4.

    Raises:
        ValueError: an unknown preset or field.
        LiftError: an override has a value that its field does not accept, no weights ship for this
            preset, or the overrides do not fit them.
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
    weights = pretrained_path(preset)
    if pretrained and not weights.is_file():
        raise LiftError(
            f"no weights ship for preset {preset}; leave pretrained out, or choose tiny"
        )
    model = LIFT(config, kernels)
    if pretrained:
        load_into(model, weights)
    return model
