"""What runs were trained on: the clips, their licences, and whether all footage is open."""

from collections.abc import Iterable
from pathlib import Path

from lift.config import Config, DataConfig
from lift.errors import LiftError
from lift.io.manifest import ManifestClip, read_manifest

FIELD = "may_be_redistributed"  # of a clip in manifest.json: its footage is clearly open


def sources(configs: list[Config], root: Path) -> dict:
    """Sources of the training and validation clips from the manifest, JSON-able."""
    clips = read_manifest(root)

    def clips_of(split: str) -> list[dict]:
        return [
            {
                "name": clip.name,
                "repository": clip.source.get("source_repo", ""),
                "commit": clip.source.get("commit", ""),
                "path": clip.source.get("path", ""),
                "licence": clip.source.get("licence", "not known"),
                FIELD: _is_open(clip),
            }
            for clip in clips
            if clip.split == split
        ]

    real = [config.data for config in configs if config.data.data_source != "synthetic"]
    return {
        "synthetic": any(config.data.data_source != "folder" for config in configs),
        "train": clips_of(real[0].train_split) if real else [],
        "val": clips_of(configs[0].data.val_split),
    }


def check_open(runs: Iterable[tuple[str, Config]], root: Path, name: str) -> None:
    """Check that runs saw nothing but synthetic motion and clips that may be redistributed.

    Args:
        runs: name of the folder and configuration of each run, in order.
        root: folder with the clips and their manifest.
        name: of the weights, such as `tiny_open`; runs may go on from them.

    Raises:
        LiftError: a training clip, or what a run began with, is not known to be open.
    """
    earlier: list[str] = []
    for folder, config in runs:
        for start in (config.train.init_weights, config.train.pretrained_encoder):
            path = Path(start)
            if start and path.parent.name not in earlier and path.stem != name:
                raise LiftError(
                    f"{folder} began with {start}, and what that was trained on is not known; "
                    "give the run that it is from first, and keep weights changed by hand in that "
                    "run's folder"
                )
        earlier.append(folder)
        if config.data.data_source != "synthetic":
            trained_on = Path(config.data.data_root)
            for place in {root, trained_on if trained_on.is_dir() else root}:
                _check_clips(place, config.data)


def _check_clips(root: Path, data: DataConfig) -> None:
    clips = [clip for clip in read_manifest(root) if clip.split == data.train_split]
    others = [clip.name for clip in clips if not _is_open(clip)]
    if others:
        raise LiftError(
            f"{len(others)} of {len(clips)} training clips in {root} are not marked {FIELD} "
            f"({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}); train the open set on "
            "a folder without them"
        )


def _is_open(clip: ManifestClip) -> bool:
    return clip.source.get(FIELD) is True
