"""`lift evaluate`: score weights and baselines on real clips."""

import json
import sys
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from lift import provenance
from lift.config.flags import Parser
from lift.config.old_names import DEPRECATED_FLAGS
from lift.config.schema import BACKENDS
from lift.errors import LiftError
from lift.evaluation import worst
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import long_context, real16, triplets, ucf101
from lift.evaluation.report import (
    context_table,
    differences,
    table,
    triplet_table,
    with_recorded,
)
from lift.evaluation.reversal import reversal
from lift.evaluation.target import ScoredFrame, Target
from lift.files import atomic
from lift.io.manifest import read_manifest


def main(argv: list[str]) -> int | None:
    """Print a table of scores, and write them as JSON with --output."""
    args = _parser().parse_args(argv)
    protocol = PROTOCOLS[args.protocol]
    _check_flags(args, protocol)
    if args.threads:
        torch.set_num_threads(args.threads)
    started = time.perf_counter()
    result, text = protocol.run(args)
    result |= provenance.of_scores(args.checkpoint) | {
        "seconds": round(time.perf_counter() - started, 1)
    }
    print(text)
    if args.output:
        with atomic(args.output) as part:
            part.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {args.output}")
    if args.worst:
        _draw_worst(args, protocol, result)
        print(f"written: {args.worst}")
    return None


# -- protocols -------------------------------------------------------------------------------------


def _real16(args: Namespace) -> tuple[dict, str]:
    """Scores of protocol real16, and the text to print."""
    candidates = _clip_candidates(args)
    result = real16.score(args.data_root, candidates, args.split, args.clips, _bar)
    if args.reversal:
        result["reversal"] = _reversal(args)
    recorded = _recorded(args.data_root)
    rows = with_recorded(result, recorded)
    result["gains_db"] = {m: differences(rows, m) for m in candidates if m.startswith("lift")}
    lines = [table(result, recorded)]
    lines += [
        f"{name}: t = 0.25 against t = 0.75 of the reversed clip: {each['psnr']:.2f} dB, "
        f"at most {each['largest']} of 255"
        for name, each in result.get("reversal", {}).items()
    ]
    return result, "\n".join(lines)


def _long_context(args: Namespace) -> tuple[dict, str]:
    """Scores of protocol long_context, and the text to print."""
    candidates = _clip_candidates(args)
    most = max(args.context_frames)
    lift = candidates.get(f"lift_{most}")
    shuffled = {f"lift_shuffled_{most}": lift} if lift and most > 2 else None
    result = long_context.score(
        args.data_root, candidates, args.split, args.clips, _bar, shuffled=shuffled
    )
    return result, context_table(result)


def _clip_candidates(args: Namespace) -> dict[str, real16.Candidate]:
    """Methods of protocols on clips, lift once for each number of input frames."""
    candidates = {}
    for method in args.methods:
        if method == "lift":
            model = load(args.checkpoint, args.kernels, args.device)
            candidates |= {
                f"lift_{n}": real16.model_candidate(model, n) for n in args.context_frames
            }
        else:
            candidates[method] = real16.baseline_candidate(method)
    return candidates


def _ucf101(args: Namespace) -> tuple[dict, str]:
    """Scores of protocol ucf101, and the text to print."""
    methods = {}
    for method in args.methods:
        if method == "lift":
            model = load(args.checkpoint, args.kernels, args.device)
            methods["lift_2"] = triplets.model_method(model)
        else:
            methods[method] = triplets.baseline_method(method)
    result = triplets.score(ucf101.PROTOCOL, args.data_root, methods, args.limit, _bar)
    return result, triplet_table(result)


def _real16_frames(args: Namespace, result: dict) -> list[ScoredFrame]:
    return real16.scored_frames(result, f"lift_{max(args.context_frames)}", "dis")


def _real16_target(args: Namespace, frame: ScoredFrame) -> Target:
    return real16.target(args.data_root, frame.clip, frame.frame, max(args.context_frames))


def _ucf101_frames(args: Namespace, result: dict) -> list[ScoredFrame]:
    return triplets.scored_frames(result, "lift_2", "dis")


def _ucf101_target(args: Namespace, frame: ScoredFrame) -> Target:
    return triplets.target(ucf101.PROTOCOL, args.data_root, frame.clip)


@dataclass(frozen=True)
class Protocol:
    """A protocol as this command runs it.

    Attributes:
        run: scores (JSON-able, with "protocol" and "description") and the text to print.
        flags: those of OPTIONAL_FLAGS that it takes.
        baselines: its methods beside lift.
        default_baselines: those of them that are scored without --methods.
        frames: the PSNR of every frame in the scores, by lift with its most input frames and by
            dis; None where the protocol does not take --worst.
        target: such a frame with its input frames.
        needs_files: whether it has no targets without --data_root.
        context_frames: numbers of input frames of lift without --context_frames.
    """

    run: Callable[[Namespace], tuple[dict, str]]
    flags: tuple[str, ...]
    baselines: tuple[str, ...]
    default_baselines: tuple[str, ...]
    frames: Callable[[Namespace, dict], list[ScoredFrame]] | None = None
    target: Callable[[Namespace, ScoredFrame], Target] | None = None
    needs_files: bool = True
    context_frames: tuple[int, ...] = (15,)


PROTOCOLS = {
    real16.NAME: Protocol(
        _real16,
        ("split", "clips", "context_frames", "reversal", "worst"),
        real16.BASELINES,
        ("average", "dis", "dis_cubic"),
        _real16_frames,
        _real16_target,
    ),
    ucf101.NAME: Protocol(
        _ucf101,
        ("limit", "worst"),
        triplets.BASELINES,
        ("average", "dis"),
        _ucf101_frames,
        _ucf101_target,
    ),
    long_context.NAME: Protocol(
        _long_context,
        ("split", "clips", "context_frames"),
        real16.BASELINES,
        ("average", "dis", "dis_cubic"),
        needs_files=False,
        context_frames=long_context.CONTEXT_FRAMES,
    ),
}
RENAMED = {"small": real16.NAME}
# Flags that not every protocol takes, with their defaults.
OPTIONAL_FLAGS = {
    "split": "all",
    "clips": None,
    "context_frames": None,  # the protocol's
    "reversal": False,
    "limit": None,
    "worst": None,
}


def _check_flags(args: Namespace, protocol: Protocol) -> None:
    """Set defaults of flags and methods.

    Raises:
        LiftError: the protocol does not take a flag or a method, or weights are missing.
    """
    for name, default in OPTIONAL_FLAGS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif name not in protocol.flags:
            raise LiftError(f"protocol {args.protocol} takes no --{name}; leave it out")
    args.context_frames = args.context_frames or protocol.context_frames
    if protocol.needs_files and args.data_root is None:
        raise LiftError(f"protocol {args.protocol} needs --data_root, the folder with its frames")
    lift = ["lift"] if args.checkpoint else []
    args.methods = args.methods or [*lift, *protocol.default_baselines]
    for method in args.methods:
        if method not in ("lift", *protocol.baselines):
            raise LiftError(
                f"protocol {args.protocol} has no method {method}; "
                f"it has lift, {', '.join(protocol.baselines)}"
            )
    if "lift" in args.methods and not args.checkpoint:
        raise LiftError(
            "scoring lift needs weights: give --checkpoint FILE, or leave lift out of --methods"
        )
    if args.checkpoint and "lift" not in args.methods:
        raise LiftError(
            "--checkpoint is given but --methods does not name lift; add it, or leave out "
            "--checkpoint"
        )
    if args.reversal and not args.checkpoint:
        raise LiftError("--reversal compares lift with itself: give --checkpoint FILE")
    if args.worst and not {"lift", "dis"} <= set(args.methods):
        raise LiftError("--worst compares lift with dis: score both, with --checkpoint FILE")


def _draw_worst(args: Namespace, protocol: Protocol, result: dict) -> None:
    """Write the picture of the worst frames."""
    chosen = worst.choose(protocol.frames(args, result), args.worst_count, args.worst_by)
    rows = [(frame, protocol.target(args, frame)) for frame in _bar(chosen)]
    model = load(args.checkpoint, args.kernels, args.device)
    measure = {"gain": "PSNR gain over DIS", "psnr": "PSNR"}[args.worst_by]
    title = f"protocol {args.protocol}: frames with the lowest {measure}"
    worst.draw(args.worst, rows, model, title)


def _reversal(args: Namespace) -> dict[str, dict[str, float]]:
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


def _bar(clips: list) -> Iterable:
    return tqdm(clips, unit="clip", disable=None, leave=False)


# -- command line ----------------------------------------------------------------------------------


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
        metavar="DIR",
        help="folder with the clips and their manifest.json, or of the test set; "
        f"without it {long_context.NAME} scores its synthetic clips only",
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
        help="clips of this split (default all)",
    )
    parser.add_argument("--clips", type=_names, metavar="A,B", help="only these clips")
    parser.add_argument(
        "--limit",
        type=_positive,
        metavar="N",
        help="only the first N triplets of a test set (default all)",
    )
    parser.add_argument(
        "--methods",
        type=_methods,
        metavar="A,B",
        help=f"methods to score: lift, {', '.join(_BASELINES)} (default "
        + "; ".join(
            f"{name}: {','.join(('lift', *each.default_baselines))}"
            for name, each in PROTOCOLS.items()
        )
        + ")",
    )
    parser.add_argument(
        "--context_frames",
        type=_counts,
        metavar="N,M",
        help="input frames of lift, 2 or more; several are compared (default 15; "
        f"{long_context.NAME}: {','.join(map(str, long_context.CONTEXT_FRAMES))})",
    )
    parser.deprecated_flags |= DEPRECATED_FLAGS
    parser.add_argument(
        "--reversal",
        action="store_true",
        default=None,
        help="also compare lift with itself on the time-reversed clips",
    )
    parser.add_argument(
        "--worst",
        type=_picture,
        metavar="FILE",
        help="also draw the worst frames: inputs, truth, result, flow, errors of lift and dis",
    )
    parser.add_argument(
        "--worst_count",
        type=_positive,
        default=5,
        metavar="N",
        help="frames in that picture, one of each clip where there are enough (default 5)",
    )
    parser.add_argument(
        "--worst_by",
        choices=worst.ORDERS,
        default="gain",
        help="the worst frames have the lowest PSNR gain over dis, or the lowest psnr "
        "(default gain)",
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
        if name not in ("lift", *_BASELINES):
            raise ArgumentTypeError(
                f"unknown method '{name}'; there are lift, {', '.join(_BASELINES)}"
            )
    return names


# those of any protocol, each once
_BASELINES = tuple(dict.fromkeys(name for each in PROTOCOLS.values() for name in each.baselines))


def _picture(text: str) -> str:
    if Path(text).suffix.lower() not in (".png", ".jpg", ".pdf"):
        raise ArgumentTypeError(f"must be a .png, .jpg or .pdf file, got '{text}'")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"must be a number of at least 1, got '{text}'")
    return int(text)


def _counts(text: str) -> list[int]:
    counts = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if min(counts) < 2:
        raise ArgumentTypeError(f"must be numbers of at least 2 separated by commas, got '{text}'")
    return counts
