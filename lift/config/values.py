"""Typed values of a configuration: from and to plain data, and which values are allowed.

Knows dataclasses in general, not the configuration's own fields; only `check` reads those, by name.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, get_type_hints

from lift.errors import LiftError

_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple[int, ...]: "a list of whole numbers",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` when `word` is close to one of the known ones, else nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def kinds(cls: type) -> dict[str, Any]:
    """Type of each field of a dataclass, in the order of the fields."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def convert(value: Any, kind: Any, name: str) -> Any:
    """Check a value that came from a file against its field's type; a whole number serves as a
    number, a list as a tuple.

    Raises:
        LiftError: `name` got a value of another type.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and whole:
        return float(value)
    if kind is int and whole or kind in (float, str, bool) and isinstance(value, kind):
        return value
    if (
        kind == tuple[int, ...]
        and isinstance(value, list | tuple)
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    ):
        return tuple(value)
    raise LiftError(f"{name} must be {_KINDS[kind]}, got {value!r}")


def fill(base: Any, data: Any, where: str = "") -> Any:
    """A copy of the dataclass `base` with the fields named in the dictionary `data` replaced, in
    nested dataclasses too.

    Raises:
        LiftError: an unknown key, or a value of another type; names the key with `where` before it.
    """
    if not isinstance(data, dict):
        raise LiftError(
            f"{where or 'a configuration'} must be a section of keys and values, got {data!r}"
        )
    known, prefix, new = kinds(type(base)), f"{where}." if where else "", {}
    for key, value in data.items():
        if key not in known:
            raise LiftError(
                f"unknown key '{prefix}{key}'"
                + (did_you_mean(key, known) or f"; accepted are {', '.join(known)}")
            )
        nested = is_dataclass(known[key])
        new[key] = (
            fill(getattr(base, key), value, prefix + key)
            if nested
            else convert(value, known[key], prefix + key)
        )
    return replace(base, **new)


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries and tuples as lists: what TOML and JSON can hold."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value


# -- which values are allowed ----------------------------------------------------------------------

_CHOICES = {
    "kernels": ("auto", "fused", "reference"),
    "model.window": (1, 2, 4, 8),
    "model.refine_stride": (1, 2, 4),
    "data.data": ("folder", "synthetic", "mixed"),
    "data.sampling": ("skip", "dense"),
    "train.amp": ("auto", "off", "bfloat16", "float16"),
}
_RANGES = (
    (
        "at least 1",
        lambda v: v >= 1,
        (
            "data.strides",
            "data.targets",
            "data.crop_height",
            "data.crop_width",
            "data.synthetic_size",
            "train.batch_size",
            "train.accumulate",
            "train.epochs",
            "train.validate_epochs",
            "train.validate_clips",
            "train.log_steps",
        ),
    ),
    (
        "at least 2 (the two references)",
        lambda v: v >= 2,
        ("data.context_frames", "data.context_min"),
    ),
    (
        "0 or more",
        lambda v: v >= 0,
        (
            "data.cover",
            "data.num_workers",
            "train.epoch_steps",
            "train.lr_min",
            "train.warmup_steps",
            "train.weight_decay",
            "train.freeze_epochs",
            "train.census",
            "train.coarse",
            "train.cascade",
            "train.flow",
            "train.checkpoint_minutes",
            "train.max_minutes",
            "train.seed",
        ),
    ),
    ("above 0", lambda v: v > 0, ("train.lr", "train.clip_grad")),
    ("from 0 to 1", lambda v: 0 <= v <= 1, ("data.context_full", "data.synthetic_share")),
    ("from 0 to less than 1", lambda v: 0 <= v < 1, ("train.ema",)),
)


def check(config: Any, presets: Iterable[str]) -> None:
    """See that every value is one that the model, the data and the training can use.

    Args:
        config: a `lift.config.Config`.
        presets: names that `model.preset` may have.

    Raises:
        LiftError: the first value that is not; names the key, what came and what is accepted.
    """
    value = {
        f"{section}.{f.name}": getattr(getattr(config, section), f.name)
        for section in ("model", "data", "train")
        for f in fields(getattr(config, section))
    } | {"kernels": config.kernels}

    def need(good: bool, key: str, accepted: str, hint: str = ""):
        if not good:
            given = list(value[key]) if isinstance(value[key], tuple) else value[key]
            raise LiftError(f"{key} must be {accepted}, got {given!r}{hint}")

    for key, v in value.items():
        need(not isinstance(v, float) or math.isfinite(v), key, "a finite number")
    for key, choices in {**_CHOICES, "model.preset": tuple(presets)}.items():
        hint = did_you_mean(value[key], choices) if isinstance(value[key], str) else ""
        need(value[key] in choices, key, "one of " + ", ".join(map(str, choices)), hint)
    sizes = tuple(key for key, v in value.items() if key.startswith("model.") and type(v) is int)
    for accepted, good, keys in (("at least 1", lambda v: v >= 1, sizes), *_RANGES):
        for key in keys:
            v = value[key] if isinstance(value[key], tuple) else (value[key],)
            need(all(map(good, v)), key, accepted)
    need(bool(value["data.strides"]), "data.strides", "at least one stride")
    need(
        value["model.attn_channels"] % value["model.heads"] == 0,
        "model.attn_channels",
        f"a multiple of model.heads ({value['model.heads']})",
    )
    need(
        value["data.context_min"] <= value["data.context_frames"],
        "data.context_min",
        f"at most data.context_frames ({value['data.context_frames']})",
    )
    need(
        value["data.sampling"] == "skip" or value["data.context_frames"] <= 15,
        "data.context_frames",
        "at most 15 where data.sampling is dense (sixteen frames less the target)",
    )
    need(
        value["train.lr_min"] <= value["train.lr"],
        "train.lr_min",
        f"at most train.lr ({value['train.lr']})",
    )
    need(
        re.fullmatch(r"auto|cpu|cuda(:\d+)?", value["train.device"]) is not None,
        "train.device",
        "auto, cpu, cuda or cuda:N",
    )
