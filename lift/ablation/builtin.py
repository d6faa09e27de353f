"""The built-in variants: the model without each of its parts, and with less context."""

from dataclasses import dataclass, field

from lift.ablation.variants import Variant
from lift.config import Config, from_dict
from lift.config.values import did_you_mean
from lift.errors import LiftError

NAME = "builtin"  # what --variants takes
FULL = "full"
WINDOWS = (1, 2, 4, 8)
CONTEXTS = (2, 4, 7, 15)


@dataclass(frozen=True)
class Change:
    """A built-in variant.

    Attributes:
        name: of the variant.
        asks: the question that it answers.
        settings: what differs from the full model, by section.
    """

    name: str
    asks: str
    settings: dict[str, dict] = field(default_factory=dict)


CHANGES = (
    Change(FULL, "what the others are compared with"),
    Change(
        "no_transformer",
        "does the context of the input frames help?",
        {"model": {"context_mode": "none", "self_attention": False}},
    ),
    Change(
        "average_context",
        "does attention do more than an average of the frames' features?",
        {"model": {"context_mode": "average", "self_attention": False}},
    ),
    Change(
        "no_occlusion",
        "do predicted visibilities beat a blend by time?",
        {"model": {"occlusion": False}},
    ),
    *(
        Change(f"window{n}", "how far has the attention to look?", {"model": {"window": n}})
        for n in WINDOWS
    ),
    *(
        Change(
            f"context{n}",
            "how many input frames help, in training and in use?",
            {"data": {"context_frames": n}},
        )
        for n in CONTEXTS
    ),
    Change(
        "quarter_blend",
        "what does the blend at full resolution add?",
        {"model": {"full_resolution_blend": False}},
    ),
    Change(
        "bilinear_samples",
        "do sharper samples than bilinear ones help?",
        {"model": {"sharpness": False}},
    ),
    Change(
        "no_global_motion",
        "does the estimate at 1/16 find motion that 1/8 cannot?",
        {"model": {"global_motion": False}},
    ),
    Change(
        "no_propagation",
        "do flows from where they explain the images better help?",
        {"model": {"propagation": 0}},
    ),
    Change("no_bend", "do curved paths beat straight ones?", {"model": {"path_frames": 2}}),
)


def builtin_variants(common: Config) -> tuple[list[Variant], dict[str, str]]:
    """The built-in variants of a configuration.

    Returns:
        The variants, the full model first, and by name those that are the full model itself (the
        window of 4 of a preset with that window), which are not trained twice.
    """
    variants, same = [], {}
    for change in CHANGES:
        config = _changed(common, change)
        if config == common and change.name != FULL:
            same[change.name] = FULL
        else:
            variants.append(Variant(change.name, config))
    return variants, same


def _changed(common: Config, change: Change) -> Config:
    settings = {section: dict(values) for section, values in change.settings.items()}
    if frames := settings.get("data", {}).get("context_frames"):
        least = min(common.data.min_context_frames, frames)
        settings["data"]["min_context_frames"] = least
    return from_dict(settings, common)


def selected(variants: list[Variant], same: dict[str, str], names: list[str]) -> list[Variant]:
    """The variants with these names, in the order of the set; all of them for no name.

    Raises:
        LiftError: a name is none of the variants'.
    """
    known = [*(variant.name for variant in variants), *same]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise LiftError(f"--only: no variant is named '{name}'{hint}")
    chosen = {same.get(name, name) for name in names}
    return [variant for variant in variants if not names or variant.name in chosen]
