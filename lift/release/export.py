"""`python -m lift.release.export RUN [RUN ...] --data_root D`: ship the weights of a training, with
their card, curve and scores.

Writes below lift/weights, for the preset that was trained: `<preset>.safetensors` (at most 16 MB a
file), `<preset>_curve.csv` and `.png`, `<preset>.json` with everything that is known of them, and
the blocks of README.md that are made from it.
"""

import csv
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lift import provenance
from lift.config import PRESETS, Config
from lift.config import schema as configuration
from lift.config.flags import Parser
from lift.errors import LiftError, run
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import real16
from lift.evaluation.reversal import reversal
from lift.files import atomic
from lift.io.manifest import read_manifest
from lift.model.weights import differing_fields, load_weights, pretrained_path, save_small, sha256
from lift.release import curves as curve
from lift.release import model_card as card
from lift.training import checkpoints
from lift.training.phases import phase_folders

LIMIT = 16_000_000  # bytes of a file
# What a command in the card leaves out: places, and how a run was watched.
LEFT_OUT = {
    "data_root",
    "init_weights",
    "output",
    "resume",
    "max_minutes",
    "checkpoint_minutes",
    "log_steps",
    "preload",
    "num_workers",
}


@dataclass(frozen=True)
class Past:
    """A run that has made steps.

    Attributes:
        folder: where its files lie.
        config: the configuration it had.
        facts: of its newest checkpoint.
    """

    folder: Path
    config: Config
    facts: dict


def main(argv: list[str]) -> None:
    """Read the runs, score the weights, and write all files when that has worked."""
    parser = Parser(prog="python -m lift.release.export", description=__doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run, or of a training in phases; several are phases, each from the weights of the one before",
    )
    parser.add_argument(
        "--data_root",
        required=True,
        metavar="DIR",
        help="folder with the clips and their manifest.json",
    )
    parser.add_argument(
        "--weights",
        default="last.safetensors",
        metavar="NAME",
        help="which weights of the last run: last.safetensors (default) or best.safetensors",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="where they are scored: cpu, cuda, cuda:N or auto (default auto)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=pretrained_path("any").parent,
        metavar="DIR",
        help="where to write instead of lift/weights",
    )
    args = parser.parse_args(argv)

    runs = [read(folder) for folder in expanded(args.runs)]
    model, config = load_weights(runs[-1].folder / args.weights)
    preset = config.model.preset
    if difference := differing_fields(asdict(config.model), asdict(PRESETS[preset]())):
        raise LiftError(
            f"{runs[-1].folder} has other sizes than the preset {preset} ({difference}); bundled are weights of a whole preset"
        )
    with tempfile.TemporaryDirectory() as scratch:
        made = save_small(Path(scratch) / f"{preset}.safetensors", model, shortened(config), LIMIT)
        stored = (
            "float16"
            if sum(path.stat().st_size for path in made) < 4 * model.count_parameters()["total"]
            else "float32"
        )
        record = {
            "preset": preset,
            "files": {path.name: sha256(path) for path in made},
            "stored": stored,
            "weights": args.weights,
            "parameters": model.count_parameters()["total"],
            "phases": phases(runs),
            "data": sources(runs, Path(args.data_root)),
            "scores": scores(made[0], args.data_root, args.device),
        }
        args.output.mkdir(parents=True, exist_ok=True)
        for path in made:
            with atomic(args.output / path.name) as part:
                part.write_bytes(path.read_bytes())
    for path in args.output.glob(
        f"{preset}.*.safetensors"
    ):  # parts of larger weights that stood here
        if path.name not in record["files"]:
            path.unlink()
    write_curve([past.folder for past in runs], args.output / f"{preset}_curve.csv")
    curve.draw([curve.read(past.folder) for past in runs], args.output / f"{preset}_curve.png")
    with atomic(args.output / f"{preset}.json") as part:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in card.renew(args.output):
        print(f"written: {path}")
    print(
        f"written: {', '.join([*record['files'], f'{preset}.json', f'{preset}_curve.csv', f'{preset}_curve.png'])} in {args.output}"
    )


# -- what is known of the runs ---------------------------------------------------------------------


def expanded(paths: Iterable[Path]) -> list[Path]:
    """Folders of runs; the folder of a training in phases stands for its phases."""
    return [run for path in paths for run in (phase_folders(path) or [path])]


def read(folder: Path) -> Past:
    """A run's configuration and how far it came.

    Raises:
        LiftError: there is no run in the folder, or it is damaged.
    """
    found = checkpoints.find(folder, "auto")
    if found is None:
        raise LiftError(
            f"{folder} holds no run; give the --output of a lift train, or of one with --phases"
        )
    return Past(folder, *checkpoints.read_summary(found))


def phases(runs: list[Past]) -> list[dict]:
    """Name, flags, start, steps, samples and history of each run, JSON-able."""
    rows = []
    for number, past in enumerate(runs):
        data, train, known = past.config.data, past.config.train, past.facts
        flags = {
            name: flag
            for name, flag in configuration.to_flags(past.config).items()
            if name not in LEFT_OUT
        }
        if data.data_source != "synthetic":
            flags = {"data_root": "--data_root D", **flags}
        expected = Path(runs[number - 1].folder.name, "last.safetensors") if number else None
        start = Path(*Path(train.init_weights).parts[-2:]) if train.init_weights else None
        each = train.batch_size * train.accumulate * data.targets * known["world"]
        rows.append(
            {
                "name": past.folder.name,
                "flags": flags,
                "start": "" if start == expected else str(start or "random weights"),
                "steps": known["step"],
                "total_steps": known.get("total_steps", train.epochs * train.epoch_steps or None),
                "samples": each * known["step"],
                "history": provenance.stored_history(known),
            }
        )
    return rows


def shortened(config: Config) -> Config:
    """The configuration without the folders of the machine that it ran on."""
    train = config.train
    init, encoder = (
        "/".join(Path(path).parts[-2:]) for path in (train.init_weights, train.pretrained_encoder)
    )
    return replace(
        config,
        data=replace(config.data, data_root="D" if config.data.data_root else ""),
        train=replace(
            train,
            init_weights=init,
            pretrained_encoder=encoder,
            output=Path(train.output).name,
            resume="auto",
        ),
    )


def sources(runs: list[Past], root: Path) -> dict:
    """Where the frames come from: the clips of the manifest that were trained on, and those held
    back, JSON-able.
    """
    clips = read_manifest(root)

    def known(split: str) -> list[dict]:
        return [
            {
                "name": clip.name,
                "repository": clip.source.get("source_repo", ""),
                "commit": clip.source.get("commit", ""),
                "path": clip.source.get("path", ""),
                "licence": clip.source.get("licence", "not known"),
            }
            for clip in clips
            if clip.split == split
        ]

    real = [past.config.data for past in runs if past.config.data.data_source != "synthetic"]
    return {
        "synthetic": any(past.config.data.data_source != "folder" for past in runs),
        "train": known(real[0].train_split) if real else [],
        "val": known(runs[0].config.data.val_split),
    }


# -- scores and files ------------------------------------------------------------------------------


def scores(weights: Path, root: str, device: str) -> dict:
    """Protocol real16 for fifteen, four and two frames and the baselines, and clips held back
    against themselves reversed, JSON-able.
    """
    bar = partial(tqdm, unit="clip", disable=None, leave=False)
    model = load(weights, device=device)
    candidates = {
        f"lift_{context}": real16.model_candidate(model, context) for context in (15, 4, 2)
    }
    candidates |= {
        name: real16.baseline_candidate(name) for name in ("average", "dis", "dis_cubic")
    }
    result = real16.score(root, candidates, progress=bar)
    clips = {
        name: {
            "split": entry["split"],
            "scores": {
                m: {"psnr": s["psnr"], "ssim": s["ssim"]} for m, s in entry["scores"].items()
            },
        }
        for name, entry in result["clips"].items()
    }
    held = [clip for clip in read_manifest(root) if clip.split == "val"]
    return {
        "protocol": result["protocol"],
        "description": result["description"],
        "clips": clips,
        "mean": result["mean"],
        "reversal": {clip.name: reversal(clip, model) for clip in bar(held)},
        "made_by": provenance.of_scores(None)["made_by"],
    }


def write_curve(runs: list[Path], path: Path) -> None:
    """The tables of the runs as one, with a column that names the run."""
    rows = []
    for folder in runs:
        with open(folder / "curve.csv", newline="", encoding="utf-8") as file:
            rows += [{"phase": folder.name, **row} for row in csv.DictReader(file)]
    with atomic(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(
            file, list(dict.fromkeys(name for row in rows for name in row)), restval=""
        )
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    sys.exit(run(main))
