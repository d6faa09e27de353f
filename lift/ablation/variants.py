"""The variants of an ablation from a TOML file, and their runs.

[model]                      # and [data], [train]: for all variants
[variants.NAME.model]        # and .data, .train: what differs in one of them
[variants.OTHER]
checkpoint = "FILE"          # not trained, only scored; or the name of bundled weights
"""

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path

from lift.config import Config, DataConfig, apply_flags, from_dict, old_names, to_dict
from lift.config.schema import SECTIONS, read_toml
from lift.config.values import did_you_mean
from lift.errors import LiftError
from lift.evaluation.protocols.real16 import BASELINES
from lift.model.pretrained import weights_path

FRAMES = "frames"  # the folder beside those of the variants
RESERVED = (FRAMES, *BASELINES)
DEFAULT_CONTEXT = DataConfig.context_frames  # of weights that are only scored
# What must be the same in all runs, or belongs to the command.
COMMON = ("seed", "output", "resume", "max_minutes", "device")


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: of the variant and its folder.
        config: of its runs, but for seed and output; None where it is not trained.
        checkpoint: weights that are only scored; None where it is trained.
    """

    name: str
    config: Config | None = None
    checkpoint: Path | None = None


def read_variants(
    path: str | Path, base: Config, flags: argparse.Namespace
) -> tuple[Config, list[Variant]]:
    """Read the variants of a file.

    Args:
        path: the TOML file.
        base: what the file leaves out.
        flags: apply to all variants, after the common part and before what differs.

    Returns:
        The common configuration, and the variants in the file's order.

    Raises:
        LiftError: no such file, not TOML, no variants, or a setting that cannot be used; one
            sentence that names the file and the variant.
    """
    path = Path(path)
    if not path.is_file():
        raise LiftError(f"{path} is not a file; give a TOML file of variants")
    try:
        data = read_toml(path)
    except LiftError as error:
        raise LiftError(f"{path}: {error}") from error
    entries = data.pop("variants", None)
    if not isinstance(entries, dict) or not entries:
        raise LiftError(
            f"{path} has no variants; add a section such as [variants.wide.model] for each"
        )
    try:
        old_names.reject(data)
        if "seed" in data.get("train", {}):
            raise LiftError("'train.seed' is of a single run; give --seeds")
        common = apply_flags(from_dict(data, base), flags)
    except LiftError as error:
        raise LiftError(f"{path}: {error}") from error
    variants = []
    for name, entry in entries.items():
        try:
            variants.append(_variant(name, entry, common, flags))
        except LiftError as error:
            raise LiftError(f"{path}, variant '{name}': {error}") from error
    return common, variants


def _variant(name: str, entry: object, common: Config, flags: argparse.Namespace) -> Variant:
    if not re.fullmatch(r"\w[\w.+-]*", name) or name in RESERVED:
        raise LiftError(
            "a name consists of letters, digits and _ . + -, and is none of " + ", ".join(RESERVED)
        )
    if not isinstance(entry, dict):
        raise LiftError(f"a variant is a section of keys and values, got {entry!r}")
    known = (*SECTIONS, "checkpoint")
    if unknown := [key for key in entry if key not in known]:
        hint = did_you_mean(unknown[0], known) or f"; accepted are {', '.join(known)}"
        raise LiftError(f"unknown key '{unknown[0]}'{hint}")
    if "checkpoint" in entry:
        return Variant(name, checkpoint=_checkpoint(entry))
    old_names.reject(entry)
    for section in SECTIONS:
        for key in entry.get(section, {}):
            if section == "train" and key in COMMON:
                raise LiftError(f"'train.{key}' is the same for all variants; leave it out here")
            if key != "preset" and hasattr(flags, f"{section}.{key}"):
                raise LiftError(f"'{section}.{key}' is also a flag for all variants; leave one out")
    return Variant(name, config=from_dict(entry, common))


def _checkpoint(entry: dict) -> Path:
    checkpoint = entry["checkpoint"]
    if len(entry) > 1:
        raise LiftError("a variant with a checkpoint is not trained; leave its other keys out")
    if not isinstance(checkpoint, str):
        raise LiftError(f"checkpoint must be text, got {checkpoint!r}")
    path = weights_path(checkpoint)
    if not path.is_file():
        raise LiftError(f"{path} is not a file; give weights, or the name of bundled ones")
    return path


# -- runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One variant under one seed.

    Attributes:
        variant: its name.
        folder: of its files.
        weights: what is scored, the averaged weights of a training.
        seed: of everything random; None where it is not trained.
        config: of the training; None where it is not trained.
        context_frames: the numbers of input frames that it is scored with.
        shuffled: whether it is also scored with another clip's context.
    """

    variant: str
    folder: Path
    weights: Path
    seed: int | None = None
    config: Config | None = None
    context_frames: tuple[int, ...] = (15,)
    shuffled: bool = False

    @property
    def label(self) -> str:
        return self.variant if self.seed is None else f"{self.variant}, seed {self.seed}"


def runs_of(
    variants: list[Variant],
    seeds: list[int],
    output: str | Path,
    context_frames: list[int] | None = None,
    shuffled: str = "none",
) -> list[Run]:
    """All runs, those of one seed one after another, so that a comparison is complete early.

    Args:
        variants: in the order of the table.
        seeds: of the trained ones.
        output: the folder of everything.
        context_frames: the numbers of input frames to score with; None: a variant's own.
        shuffled: which variants are also scored with another clip's context: first, all or none.
    """
    root, scored, trained = Path(output), [], []

    def options(variant: Variant) -> dict:
        own = [variant.config.data.context_frames if variant.config else DEFAULT_CONTEXT]
        is_shuffled = shuffled == "all" or (shuffled == "first" and variant is variants[0])
        return {"context_frames": tuple(context_frames or own), "shuffled": is_shuffled}

    for variant in variants:
        if variant.checkpoint:
            folder = root / variant.name
            scored.append(Run(variant.name, folder, variant.checkpoint, **options(variant)))
    for seed in seeds:
        for variant in variants:
            if variant.config:
                folder = root / variant.name / f"seed{seed}"
                train = replace(variant.config.train, seed=seed, output=str(folder))
                config = replace(variant.config, train=train)
                weights = folder / "last.safetensors"
                trained.append(Run(variant.name, folder, weights, seed, config, **options(variant)))
    return [*trained, *scored]


def differences(config: Config, common: Config) -> dict:
    """What a variant changes, {section: {key: value}}; of a section only the keys that differ."""
    own, shared = to_dict(config), to_dict(common)
    return {
        section: changed
        for section in SECTIONS
        if (changed := {k: v for k, v in own[section].items() if shared[section][k] != v})
    }
