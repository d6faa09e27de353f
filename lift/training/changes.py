"""What a resumed run may compute differently from the run that wrote its checkpoint."""

from typing import Any

from lift.config import Config, to_dict
from lift.model.weights import differing_fields

# Where the run computes and how it is watched, not what it computes: no word about these.
SILENT = {
    "data": {"data_root", "preload", "frame_cache", "num_workers"},
    "train": {
        "amp",
        "compile",
        "cuda_graph",
        "sharding",
        "recompute_encoder",
        "recompute_refine",
        "max_skipped",
        "validate_epochs",
        "validate_clips",
        "picture_clips",
        "log_steps",
        "wandb",
        "checkpoint_minutes",
        "max_minutes",
        "pretrained_encoder",
        "init_weights",
        "resume",
        "output",
        "device",
    },
}
# What makes it another run: its weights do not fit, or its samples are others.
FIXED = {"data": {"data_source"}, "train": {"seed"}}

Change = tuple[Any, Any]  # before and now


def changed_settings(stored: Config, wanted: Config) -> dict[str, Change]:
    """Settings that a run may only change on purpose, and does: name -> (before, now)."""
    before, now = to_dict(stored), to_dict(wanted)
    return {
        name: (before[section][name], value)
        for section in ("data", "train")
        for name, value in now[section].items()
        if name not in SILENT[section] | FIXED[section] and before[section][name] != value
    }


def difference(stored: Config, wanted: Config, on_purpose: bool) -> str:
    """The first section in which a run may not differ from its checkpoint, in words; or empty.

    Args:
        stored: of the run that wrote the checkpoint.
        wanted: of the run that resumes.
        on_purpose: accept what `changed_settings` lists.
    """
    before, now = to_dict(stored), to_dict(wanted)
    for section in ("model", "data", "train"):
        names = set(now[section])
        if section != "model":
            names = FIXED[section] if on_purpose else names - SILENT[section]
        pair = [{k: v for k, v in side[section].items() if k in names} for side in (before, now)]
        if found := differing_fields(*pair):
            return f"in [{section}]: {found}"
    return ""


def in_words(changes: dict[str, Change]) -> str:
    """For example `epochs 2 -> 4, lr 0.0003 -> 0.0001`."""
    return ", ".join(f"{name} {_word(a)} -> {_word(b)}" for name, (a, b) in changes.items())


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def unused_weights(stored: Config, wanted: Config) -> list[str]:
    """A sentence for every file of weights that a new run would start from and this one does not.

    The same flags as those of the first start are no reason for one.
    """
    return [
        f"--{name} {given} is not used: the run resumes with its own weights; to start from the "
        "file, give another --output"
        for name in ("init_weights", "pretrained_encoder")
        if (given := getattr(wanted.train, name)) not in ("", getattr(stored.train, name))
    ]
