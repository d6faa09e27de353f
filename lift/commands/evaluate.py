"""`lift evaluate`: score weights and baselines on real clips."""

import json
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterable
from pathlib import Path

import torch
from tqdm import tqdm

from lift import provenance
from lift.config.flags import Parser
from lift.config.old_names import DEPRECATED_FLAGS
from lift.config.schema import BACKENDS
from lift.errors import LiftError
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import real16
from lift.evaluation.report import differences, table, with_recorded
from lift.evaluation.reversal import reversal
from lift.files import atomic
from lift.io.manifest import ManifestClip, read_manifest

PROTOCOLS = {real16.NAME: real16.score}
RENAMED = {"small": real16.NAME}


def main(argv: list[str]) -> int | None:
    """Print a table of scores, and write them as JSON with --output."""
    args = _parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    started = time.perf_counter()
    candidates = _candidates(args)
    result = PROTOCOLS[args.protocol](args.data_root, candidates, args.split, args.clips, _bar)
    if args.reversal:
        result["reversal"] = _reversal(args)
    recorded = _recorded(args.data_root)
    rows = with_recorded(result, recorded)
    result["gains_db"] = {m: differences(rows, m) for m in candidates if m.startswith("lift")}
    result |= provenance.of_scores(args.checkpoint) | {
        "seconds": round(time.perf_counter() - started, 1)
    }
    print(table(result, recorded))
    for name, each in result.get("reversal", {}).items():
        print(
            f"{name}: t = 0.25 against t = 0.75 of the reversed clip: {each['psnr']:.2f} dB, "
            f"at most {each['largest']} of 255"
        )
    if args.output:
        with atomic(args.output) as part:
            part.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {args.output}")
    return None


def _parser() -> Parser:
    parser = Parser(
        prog="lift evaluate",
        description="Score weights, frame averaging and DIS optical flow on real clips.",
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="weights to score, a .safetensors file"
    )
    parser.add_argument(
        "--data_root",
        required=True,
        metavar="DIR",
        help="folder with the clips and their manifest.json",
    )
    parser.add_argument(
        "--protocol",
        type=_protocol,
        choices=PROTOCOLS,
        default=real16.NAME,
        help=f"how frames are chosen, prepared and scored (default {real16.NAME})",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "all"),
        default="all",
        help="clips of this split (default all)",
    )
    parser.add_argument("--clips", type=_names, metavar="A,B", help="only these clips")
    parser.add_argument(
        "--methods",
        type=_methods,
        metavar="A,B",
        help=f"methods to score: lift, {', '.join(real16.BASELINES)} "
        "(default lift,average,dis,dis_cubic)",
    )
    parser.add_argument(
        "--context_frames",
        type=_counts,
        default=[15],
        metavar="N,M",
        help="input frames of lift, 2 or more; several are compared (default 15)",
    )
    parser.deprecated_flags |= DEPRECATED_FLAGS
    parser.add_argument(
        "--reversal",
        action="store_true",
        help="also compare lift with itself on the time-reversed clips",
    )
    parser.add_argument("--output", metavar="FILE", help="write the scores to this JSON file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--kernels",
        choices=BACKENDS,
        default="auto",
        help="kernels: auto, fused (an error where unsupported) or reference (default auto)",
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="CPU threads; 0: PyTorch's default"
    )
    return parser


def _protocol(text: str) -> str:
    if text in RENAMED:
        print(f"lift evaluate: warning: protocol {text} is now {RENAMED[text]}", file=sys.stderr)
    return RENAMED.get(text, text)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _methods(text: str) -> list[str]:
    names = _names(text)
    for name in names:
        if name != "lift" and name not in real16.BASELINES:
            raise ArgumentTypeError(
                f"unknown method '{name}'; there are lift, {', '.join(real16.BASELINES)}"
            )
    return names


def _counts(text: str) -> list[int]:
    counts = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if min(counts) < 2:
        raise ArgumentTypeError(f"must be numbers of at least 2 separated by commas, got '{text}'")
    return counts


def _candidates(args) -> dict[str, real16.Candidate]:
    default = [*(["lift"] if args.checkpoint else []), "average", "dis", "dis_cubic"]
    methods = args.methods or default
    if "lift" in methods and not args.checkpoint:
        raise LiftError(
            "scoring lift needs weights: give --checkpoint FILE, or leave lift out of --methods"
        )
    if args.checkpoint and "lift" not in methods:
        raise LiftError(
            "--checkpoint is given but --methods does not name lift; add it, or leave out "
            "--checkpoint"
        )
    candidates = {}
    for method in methods:
        if method == "lift":
            model = load(args.checkpoint, args.kernels, args.device)
            candidates |= {
                f"lift_{n}": real16.model_candidate(model, n) for n in args.context_frames
            }
        else:
            candidates[method] = real16.baseline_candidate(method)
    return candidates


def _reversal(args) -> dict[str, dict[str, float]]:
    if not args.checkpoint:
        raise LiftError("--reversal compares lift with itself: give --checkpoint FILE")
    model = load(args.checkpoint, args.kernels, args.device)
    clips = real16.select_clips(read_manifest(args.data_root), args.split, args.clips)
    return {clip.name: reversal(clip, model, max(args.context_frames)) for clip in _bar(clips)}


def _recorded(root: str) -> dict | None:
    """The baselines recorded beside the clips, for gains over baselines that are not scored."""
    path = Path(root) / "baselines.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise LiftError(
            f"{path} is not JSON; restore it, or remove it to compare with this run's own scores"
        ) from None


def _bar(clips: list[ManifestClip]) -> Iterable[ManifestClip]:
    return tqdm(clips, unit="clip", disable=None, leave=False)
