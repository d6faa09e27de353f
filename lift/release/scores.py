"""`python -m lift.release.scores NAME FILE [FILE ...]`: put evaluations into the model card.

A FILE is what `lift evaluate --output` wrote for the bundled weights of that name: under protocol
real16 with `--context_frames 2,4,15`, or under ucf101. It takes the place of the earlier scores of
its protocol in the record `<name>.json`; then the generated blocks are written again.
"""

import json
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lift import provenance
from lift.config.flags import Parser
from lift.errors import LiftError, run
from lift.evaluation.builtin_methods import baseline, lift_method
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import real16
from lift.evaluation.protocols.ucf101 import UCF101
from lift.evaluation.reversal import reversal
from lift.evaluation.run import Evaluation
from lift.evaluation.scoring import STANDARD
from lift.files import atomic
from lift.io.manifest import read_manifest
from lift.model.bundled import FOLDER
from lift.release import model_card

CONTEXTS = (15, 4, 2)
CLIP_METHODS = (*(f"lift_{n}" for n in CONTEXTS), "average", "dis", "dis_cubic")
TRIPLET_METHODS = ("lift_2", "average", "dis")


# -- evaluations -----------------------------------------------------------------------------------


def of_clips(weights: Path, root: str, split: str, device: str) -> dict:
    """Scores under protocol real16 with 15, 4 and 2 frames and of the baselines, for a record.

    Also compares the model with itself on time-reversed validation clips.
    """
    bar = partial(tqdm, unit="clip", disable=None, leave=False)
    model = load(weights, device=device)
    candidates = {f"lift_{n}": real16.model_candidate(model, n) for n in CONTEXTS}
    for name in CLIP_METHODS[len(CONTEXTS) :]:
        candidates[name] = real16.baseline_candidate(name)
    result = real16.score(root, candidates, split, progress=bar)
    validation = [clip for clip in read_manifest(root) if clip.split == "val"]
    result["reversal"] = {clip.name: reversal(clip, model) for clip in bar(validation)}
    return clip_record(result | provenance.of_scores(None))


def of_rounding(weights: Path, stored: dict, root: str, split: str, device: str) -> dict:
    """How far PSNR with all context frames moves when float32 weights are stored smaller.

    Args:
        weights: the weights in float32.
        stored: scores of the stored weights, as `of_clips` returns them, of the same clips.
        root, split, device: as for `of_clips`.

    Returns:
        JSON-able: the number of frames and clips, the largest difference of a clip with its name,
        and the means of both, in dB.
    """
    bar = partial(tqdm, unit="clip", disable=None, leave=False)
    model, name = load(weights, device=device), f"lift_{CONTEXTS[0]}"
    full = real16.score(
        root, {name: real16.model_candidate(model, CONTEXTS[0])}, split, progress=bar
    )

    def psnr(entry: dict) -> float:
        return entry["scores"][name]["psnr"]

    moved = {
        clip: abs(psnr(entry) - psnr(stored["clips"][clip]))
        for clip, entry in full["clips"].items()
    }
    clip = max(moved, key=moved.__getitem__)
    return {
        "context_frames": CONTEXTS[0],
        "clips": len(moved),
        "largest": moved[clip],
        "clip": clip,
        "mean": stored["mean"]["all"][name]["psnr"],
        "mean_float32": full["mean"]["all"][name]["psnr"],
    }


def of_triplets(weights: Path, root: str, device: str) -> dict:
    """Scores under protocol ucf101 of the model and of the baselines, for a record."""
    methods = [lift_method(load(weights, device=device), 2)]
    methods += [baseline(name) for name in TRIPLET_METHODS[1:]]
    evaluation = Evaluation(UCF101, UCF101.find(Path(root), 2), methods, STANDARD)
    bar = partial(tqdm, unit="triplet", disable=None, leave=False)
    result = evaluation.run(lambda samples, done: bar(samples))
    return triplet_record(result | provenance.of_scores(None))


# -- what a record holds of them -------------------------------------------------------------------


def clip_record(result: dict) -> dict:
    """Scores of clips without those of single frames, JSON-able."""
    clips = {}
    for name, entry in result["clips"].items():
        scores = {m: _only(entry["scores"][m], "psnr", "ssim") for m in CLIP_METHODS}
        clips[name] = {"split": entry["split"], "scores": scores}
    return {
        "protocol": result["protocol"],
        "description": result["description"],
        "clips": clips,
        "mean": {
            group: {m: mean[m] for m in CLIP_METHODS} for group, mean in result["mean"].items()
        },
        "reversal": result.get("reversal", {}),
        "made_by": result["made_by"],
    }


def triplet_record(result: dict) -> dict:
    """Scores of triplets without those of single frames, JSON-able."""
    return {
        "protocol": result["protocol"],
        "description": result["description"],
        "count": result["count"],
        "scores": {m: _triplet_scores(result["scores"][m]) for m in TRIPLET_METHODS},
        "published": {
            name: {"psnr": score["psnr"], "ssim": score["ssim"], "paper": score["source"]}
            for name, (score,) in result["published"].items()
            if score["ssim"] is not None
        },
        "made_by": result["made_by"],
    }


def _triplet_scores(means: dict) -> dict:
    return {
        "psnr": means["psnr"],
        "psnr_unrounded": means["psnr_float"],
        "ssim": means["ssim"],
        "ssim_rife": means["ssim_rife"],
    }


def _only(score: dict, *names: str) -> dict:
    return {name: score[name] for name in names}


# -- files of lift evaluate ------------------------------------------------------------------------


def read(path: Path, record: dict) -> tuple[str, dict]:
    """The key of an evaluation in a record, and what the record holds of it.

    Args:
        path: a file of `lift evaluate --output`.
        record: of the weights that were evaluated.

    Raises:
        LiftError: the file is no such evaluation, is of other weights or protocols, or is not
            complete.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        protocol = result["protocol"]
    except (OSError, ValueError, TypeError, KeyError):
        raise LiftError(f"{path} is not a file of lift evaluate --output; write it again") from None
    if result.get("weights", {}).get("sha256") not in record["files"].values():
        raise LiftError(
            f"{path} has scores of other weights than {', '.join(record['files'])}; "
            "evaluate these with --checkpoint"
        )
    if protocol == real16.NAME:
        scored = set.intersection(*(set(e["scores"]) for e in result["clips"].values()))
        _check_methods(path, scored, CLIP_METHODS, "--context_frames 2,4,15")
        return "scores", clip_record(result)
    if protocol == UCF101.name:
        _check_methods(path, set(result["scores"]), TRIPLET_METHODS, "without --methods")
        if len(result["samples"]) != result["count"]:
            raise LiftError(
                f"{path} has {len(result['samples'])} of {result['count']} triplets; "
                "evaluate without --limit"
            )
        return "ucf101", triplet_record(result)
    raise LiftError(f"{path}: the model card has no scores of protocol {protocol}; leave it out")


def _check_methods(path: Path, scored: set[str], needed: tuple[str, ...], remedy: str) -> None:
    if missing := [name for name in needed if name not in scored]:
        raise LiftError(f"{path} has no scores of {', '.join(missing)}; evaluate with {remedy}")


def main(argv: list[str]) -> None:
    """Put the scores into the record and generate the documents."""
    parser = Parser(prog="python -m lift.release.scores", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="name of the weights, for example tiny")
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a file of lift evaluate --output"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help="folder of the weights (default lift/weights)",
    )
    args = parser.parse_args(argv)
    path = args.folder / f"{args.name}.json"
    if not path.is_file():
        raise LiftError(f"{path} is missing; python -m lift.release.export writes it")
    record = json.loads(path.read_text(encoding="utf-8"))
    record |= dict(read(file, record) for file in args.files)
    with atomic(path) as part:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for document in (path, *model_card.update(args.folder)):
        print(f"written: {document}")


if __name__ == "__main__":
    sys.exit(run(main))
