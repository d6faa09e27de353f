"""`python -m lift.release.export RUN [RUN ...] --data_root D`: export trained weights for release.

Writes to lift/weights, under the name of the preset that was trained, or with --set open under
`<preset>_open`: `<name>.safetensors` (at most 16 MB per file), `<name>_curve.csv` and `.png`, the
record `<name>.json`, and the generated blocks of the model card in README.md. The scores are those
of the stored weights.
"""

import csv
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lift import provenance
from lift.config import PRESETS, Config, to_flags
from lift.config.flags import Parser
from lift.errors import LiftError
from lift.errors import run as run_command
from lift.files import atomic, sha256
from lift.model.bundled import FOLDER, SETS, bundled_name
from lift.model.weights import differing_fields, load_weights, read_weights, save_small
from lift.release import curves, model_card, scores
from lift.release.sources import check_open, sources
from lift.training import checkpoints
from lift.training.phases import phase_folders
from lift.visualize.curve_table import read_phases

LIMIT = 16_000_000  # bytes of a file
LARGEST_LOSS = 0.005  # dB of the mean PSNR, which the model card states to 0.01 dB
# Flags that a command in the card omits: paths, and how a run was watched.
OMITTED_FLAGS = {
    "data_root",
    "init_weights",
    "output",
    "resume",
    "max_minutes",
    "checkpoint_minutes",
    "log_steps",
    "preload",
    "frame_cache",
    "num_workers",
    "picture_clips",
    "wandb",
}


@dataclass(frozen=True)
class RunRecord:
    """A run with at least one checkpoint.

    Attributes:
        folder: of the run's files.
        config: its configuration.
        summary: of its newest checkpoint: step, history and so on.
    """

    folder: Path
    config: Config
    summary: dict


def main(argv: list[str]) -> None:
    """Read the runs, score the weights, then write all files."""
    parser = Parser(prog="python -m lift.release.export", description=__doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run or of a training in phases; several are phases, each from the "
        "weights of the one before",
    )
    parser.add_argument(
        "--data_root",
        required=True,
        metavar="DIR",
        help="folder with the clips and their manifest.json",
    )
    parser.add_argument(
        "--continued",
        action="store_true",
        help="the first run began with the weights that are there now: their phases come first in "
        "the record and in the curve",
    )
    parser.add_argument(
        "--weights",
        default="last.safetensors",
        metavar="NAME",
        help="weights of the last run: last.safetensors (default) or best.safetensors",
    )
    parser.add_argument(
        "--set",
        choices=tuple(SETS),
        default="default",
        help="open: trained on synthetic motion and clips that may be redistributed, which is "
        "checked (default %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32", "auto"),
        default="float16",
        help="how weights are stored; float16: all but vectors and scalars, and their loss is "
        "measured; auto: float16 where float32 exceeds 16 MB (default %(default)s)",
    )
    parser.add_argument(
        "--chosen",
        metavar="TEXT",
        help="what else was chosen on the validation clips, for the model card",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "all"),
        default="val",
        help="score the clips of this split (default val)",
    )
    parser.add_argument(
        "--ucf101",
        metavar="DIR",
        help="also score the triplets in this folder under protocol ucf101",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="device for scoring: auto, cpu, cuda or cuda:N (default auto)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help="folder to write to (default lift/weights)",
    )
    args = parser.parse_args(argv)

    runs = [read(folder) for folder in run_folders(args.runs)]
    model, config = load_weights(runs[-1].folder / args.weights)
    preset = config.model.preset
    if difference := differing_fields(asdict(config.model), asdict(PRESETS[preset]())):
        raise LiftError(
            f"{runs[-1].folder} has other sizes than the preset {preset} ({difference}); "
            "only weights of an unchanged preset can be released"
        )
    name, data_root = bundled_name(preset, args.set), Path(args.data_root)
    if args.set == "open":
        check_open([(run.folder.name, run.config) for run in runs], data_root, name)
    with tempfile.TemporaryDirectory() as scratch:
        files = save_small(
            Path(scratch) / f"{name}.safetensors", model, anonymized(config), LIMIT, args.dtype
        )
        record = {
            "name": name,
            "preset": preset,
            "set": args.set,
            "files": {path.name: sha256(path) for path in files},
            "stored": values_by_dtype(files[0]),
            "weights": args.weights,
            "chosen": args.chosen or "",
            "parameters": model.count_parameters()["total"],
            "phases": earlier_phases(args.output, name, args.continued) + phases(runs),
            "data": sources([run.config for run in runs], data_root),
            "scores": scores.of_clips(files[0], args.data_root, args.split, args.device),
        }
        if "float16" in record["stored"]:
            record["rounding"] = scores.of_rounding(
                runs[-1].folder / args.weights,
                record["scores"],
                args.data_root,
                args.split,
                args.device,
            )
            check_rounding(record["rounding"])
        if args.ucf101:
            record["ucf101"] = scores.of_triplets(files[0], args.ucf101, args.device)
        args.output.mkdir(parents=True, exist_ok=True)
        for path in files:
            with atomic(args.output / path.name) as part:
                part.write_bytes(path.read_bytes())
    with atomic(args.output / f"{name}.json") as part:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in former_parts(args.output, name):
        if path.name not in record["files"]:
            path.unlink()
    curve = args.output / f"{name}_curve.csv"
    write_curve([run.folder for run in runs], curve, args.continued)
    curves.draw(read_phases(curve), args.output / f"{name}_curve.png")
    for path in model_card.update(args.output):
        print(f"written: {path}")
    others = (f"{name}{suffix}" for suffix in (".json", "_curve.csv", "_curve.png"))
    print(f"written: {', '.join([*record['files'], *others])} in {args.output}")


# -- the record of the runs ---------------------------------------------------------------------


def run_folders(paths: Iterable[Path]) -> list[Path]:
    """Folders of runs; the folder of a training in phases gives those of its phases."""
    return [run for path in paths for run in (phase_folders(path) or [path])]


def read(folder: Path) -> RunRecord:
    """The record of a run.

    Raises:
        LiftError: the folder has no checkpoint, or a corrupt one.
    """
    found = checkpoints.find(folder, "auto")
    if found is None:
        raise LiftError(
            f"{folder} has no run; give the --output of lift train, with --phases or without"
        )
    return RunRecord(folder, *checkpoints.read_summary(found))


def earlier_phases(folder: Path, name: str, continued: bool) -> list[dict]:
    """The phases of the weights in a folder, where the runs continue them.

    Raises:
        LiftError: the folder has no record of such weights.
    """
    if not continued:
        return []
    try:
        return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["phases"]
    except (OSError, ValueError, KeyError):
        raise LiftError(
            f"{folder} has no record of {name} that the runs could continue; leave out "
            "--continued, or give the folder of the weights that they began with as --output"
        ) from None


def phases(runs: list[RunRecord]) -> list[dict]:
    """Name, flags, start, steps, samples and history of each run, JSON-able."""
    rows = []
    for number, run in enumerate(runs):
        data, train, summary = run.config.data, run.config.train, run.summary
        flags = {
            name: flag for name, flag in to_flags(run.config).items() if name not in OMITTED_FLAGS
        }
        if data.data_source != "synthetic":
            flags = {"data_root": "--data_root D", **flags}
        expected = Path(runs[number - 1].folder.name, "last.safetensors") if number else None
        start = Path(*Path(train.init_weights).parts[-2:]) if train.init_weights else None
        each = train.batch_size * train.accumulate * summary["world"]
        clips = summary.get("data", {}).get("samples", each * summary["step"])
        rows.append(
            {
                "name": run.folder.name,
                "flags": flags,
                "start": "" if start == expected else str(start or "random weights"),
                "steps": summary["step"],
                "total_steps": summary.get("total_steps", train.epochs * train.epoch_steps or None),
                "samples": clips * data.targets,
                "history": provenance.stored_history(summary),
            }
        )
    return rows


def anonymized(config: Config) -> Config:
    """The configuration without the paths of the machine that it ran on."""
    train = config.train
    init, encoder = (
        "/".join(Path(path).parts[-2:]) for path in (train.init_weights, train.pretrained_encoder)
    )
    return replace(
        config,
        data=replace(config.data, data_root="D" if config.data.data_root else "", frame_cache=""),
        train=replace(
            train,
            init_weights=init,
            pretrained_encoder=encoder,
            output=Path(train.output).name,
            resume="auto",
        ),
    )


# -- files -----------------------------------------------------------------------------------------


def values_by_dtype(path: Path) -> dict[str, int]:
    """The number of values that weights hold in each dtype, for example {"float16": 795_246}."""
    counts: dict[str, int] = {}
    for tensor in read_weights(path)[0].values():
        dtype = str(tensor.dtype).removeprefix("torch.")
        counts[dtype] = counts.get(dtype, 0) + tensor.numel()
    return counts


def check_rounding(found: dict) -> None:
    """Refuse a storage that loses score.

    Raises:
        LiftError: the mean PSNR of the stored weights is lower by more than LARGEST_LOSS.
    """
    loss = found["mean_float32"] - found["mean"]
    if loss > LARGEST_LOSS:
        raise LiftError(
            f"float16 loses {loss:.3f} dB of the mean PSNR on {found['clips']} clips; "
            "export with --dtype float32"
        )


def former_parts(folder: Path, name: str) -> list[Path]:
    """The parts of the weights of a name beside the first, `tiny.2.safetensors` and on."""
    part = re.compile(rf"{re.escape(name)}\.\d+\.safetensors")
    return [path for path in folder.glob("*.safetensors") if part.fullmatch(path.name)]


def write_curve(runs: list[Path], path: Path, append: bool = False) -> None:
    """Write the curves of the runs as one table, with a column for the name of the run.

    With `append` the rows that the file has come first.
    """
    rows = []
    if append:
        with open(path, newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
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
    sys.exit(run_command(main))
