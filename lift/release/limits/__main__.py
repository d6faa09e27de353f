"""`python -m lift.release.limits CHECKPOINT --data_root D`: measure what limits weights.

Writes the record `<name>_limits.json` beside the weights, the picture of the worst frames, and the
generated blocks of docs/limits.md. Parts that are not measured again keep their record if the
weights are the same.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from lift import provenance
from lift.config import Config
from lift.config.flags import Parser
from lift.devices import choose_device
from lift.errors import LiftError, run
from lift.files import atomic
from lift.model.bundled import pretrained_path
from lift.model.pretrained import weights_path
from lift.model.weights import load_weights
from lift.release.limits import curve, flow_error, page, real, worst_frames

DATA_PARTS = ("motion", "noise", "worst")  # need the clips
NOISE_SHARE = 4  # noise has several levels, and takes one target in so many


def main(argv: list[str]) -> None:
    """Measure the parts, write the record after each, then the page."""
    parser = Parser(prog="python -m lift.release.limits", description=__doc__)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .safetensors file, or the name of bundled ones"
    )
    parser.add_argument(
        "--data_root", metavar="DIR", help="folder with the clips and their manifest.json"
    )
    parser.add_argument(
        "--split", choices=("train", "val", "all"), default="val", help="clips (default val)"
    )
    parser.add_argument(
        "--targets",
        type=int,
        default=8,
        help="targets per clip, at most 20; of noise a quarter of them (default 8)",
    )
    parser.add_argument(
        "--scenes", type=int, default=64, help="synthetic scenes with known flow (default 64)"
    )
    parser.add_argument(
        "--parts",
        default=",".join(PARTS),
        metavar="NAMES",
        help=f"of {','.join(PARTS)} (default: all)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=pretrained_path("any").parent,
        metavar="DIR",
        help="folder of the record, and of the training's record and curve (default lift/weights)",
    )
    parser.add_argument(
        "--page",
        type=Path,
        default=page.PAGE,
        metavar="FILE",
        help="page with the generated blocks; the picture is written to figures beside it "
        "(default docs/limits.md)",
    )
    args = parser.parse_args(argv)
    parts = args.parts.split(",")
    if unknown := set(parts) - PARTS.keys():
        raise LiftError(f"--parts has {min(unknown)!r}; choose from {', '.join(PARTS)}")
    if not args.data_root and (needing := [part for part in parts if part in DATA_PARTS]):
        raise LiftError(f"part {needing[0]} needs --data_root, the folder with the clips")
    if args.targets < 1 or args.scenes < 1:
        raise LiftError("--targets and --scenes must be at least 1")

    path = weights_path(args.checkpoint)
    device = choose_device(args.device)
    model, config = load_weights(path)
    model.to(device).eval()
    record_path = args.folder / f"{path.stem}_limits.json"
    record = earlier(record_path, provenance.of_scores(path))
    for part in (name for name in PARTS if name in parts):
        print(f"{part} ...", file=sys.stderr)
        record[part] = PARTS[part](args, record, path.stem, model, config)
        with atomic(record_path) as file:
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {record_path}")
    if page.update(args.page, args.folder):
        print(f"written: {args.page}")


def earlier(path: Path, facts: dict) -> dict:
    """The record at a path with new facts; only the facts if it is of other weights or not there.

    Raises:
        LiftError: the file is no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["weights"]["sha256"] == facts["weights"]["sha256"]
    except FileNotFoundError:
        return facts
    except (ValueError, TypeError, KeyError):
        raise LiftError(f"{path} is not a record of limits; remove it") from None
    return record | facts if same else facts


# -- the parts: (arguments, record so far, name, model, configuration) to what is recorded ---------


def _motion(args: Namespace, _record, _name, model, _config) -> dict:
    found = real.by_motion(model, args.data_root, args.split, args.targets, _bar("clip"))
    return {"split": args.split, "targets_per_clip": args.targets, **found}


def _flow(args: Namespace, _record, _name, model, _config) -> dict:
    return flow_error.measure(model, args.scenes, _bar("scene"))


def _noise(args: Namespace, _record, _name, model, _config) -> dict:
    count = max(1, args.targets // NOISE_SHARE)
    return real.by_noise(model, args.data_root, args.split, count, _bar("clip"))


def _worst(args: Namespace, record: dict, name: str, model, _config) -> dict:
    if "motion" not in record:
        raise LiftError("part worst needs part motion, which scores the frames; give both")
    picture = args.page.parent / "figures" / page.picture(name)
    picture.parent.mkdir(parents=True, exist_ok=True)
    frames = real.scored_frames(record["motion"]["targets"])
    found = worst_frames.draw(picture, frames, args.data_root, model)
    print(f"written: {picture}")
    return found


def _curve(args: Namespace, _record, name: str, model, config: Config) -> dict:
    training = args.folder / f"{name}.json"
    try:
        record = json.loads(training.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise LiftError(
            f"{training} is missing or damaged, and part curve reads it; "
            "leave the part out with --parts"
        ) from None
    return curve.measure(args.folder / f"{name}_curve.csv", record, model.cpu(), config)


MeasuringFunction = Callable[[Namespace, dict, str, torch.nn.Module, Config], dict]
PARTS: dict[str, MeasuringFunction] = {
    "motion": _motion,
    "flow": _flow,
    "noise": _noise,
    "worst": _worst,
    "curve": _curve,  # the last one: it needs the model on the CPU
}


def _bar(unit: str) -> Callable:
    return partial(tqdm, unit=unit, disable=None, leave=False)


if __name__ == "__main__":
    sys.exit(run(main))
