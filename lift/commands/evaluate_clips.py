"""`lift evaluate` under the protocols on clips, `real16` and `long_context`."""

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lift import provenance
from lift.errors import LiftError
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import long_context, real16
from lift.evaluation.report import context_table, differences, table, with_recorded
from lift.evaluation.reversal import reversal
from lift.evaluation.target import ScoredFrame, Target
from lift.files import atomic
from lift.io.manifest import has_manifest, read_manifest


def evaluate(args: Namespace) -> dict:
    """Score clips, print the table and write the JSON file of --output."""
    protocol = PROTOCOLS[args.protocol]
    _check(args, protocol)
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
    return result


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


def scored_frames(args: Namespace, result: dict) -> list[ScoredFrame]:
    """The PSNR of every target of real16 by lift with its most input frames and by dis."""
    return real16.scored_frames(result, f"lift_{max(args.context_frames)}", "dis")


def target(args: Namespace, frame: ScoredFrame) -> Target:
    """Such a target with its input frames."""
    return real16.target(args.data_root, frame.clip, frame.frame, max(args.context_frames))


@dataclass(frozen=True)
class Protocol:
    """A protocol as this command runs it.

    Attributes:
        run: scores (JSON-able, with "protocol" and "description") and the text to print.
        flags: which of --reversal and --worst it takes.
        baselines: its methods beside lift.
        default_baselines: those of them that are scored without --methods.
        needs_files: whether it has no targets without --data_root.
        context_frames: numbers of input frames of lift without --context_frames.
    """

    run: Callable[[Namespace], tuple[dict, str]]
    flags: tuple[str, ...]
    baselines: tuple[str, ...]
    default_baselines: tuple[str, ...]
    needs_files: bool = True
    context_frames: tuple[int, ...] = (15,)


PROTOCOLS = {
    real16.NAME: Protocol(
        _real16,
        ("reversal", "worst"),
        real16.BASELINES,
        ("average", "dis", "dis_cubic"),
    ),
    long_context.NAME: Protocol(
        _long_context,
        (),
        real16.BASELINES,
        ("average", "dis", "dis_cubic"),
        needs_files=False,
        context_frames=long_context.CONTEXT_FRAMES,
    ),
}


def _check(args: Namespace, protocol: Protocol) -> None:
    """Set the protocol's defaults.

    Raises:
        LiftError: the protocol does not take a flag or a method, or its files are not there.
    """
    for name in ("reversal", "worst"):
        if getattr(args, name) and name not in protocol.flags:
            raise LiftError(f"protocol {args.protocol} takes no --{name}; leave it out")
    args.context_frames = args.context_frames or protocol.context_frames
    if protocol.needs_files and args.data_root is None:
        raise LiftError(f"protocol {args.protocol} needs --data_root, the folder with its frames")
    if args.data_root is not None and not has_manifest(args.data_root):
        raise LiftError(
            f"{args.data_root} has no manifest.json, which protocol {args.protocol} reads; for "
            "videos and folders of frames without one use --protocol frames"
        )
    lift = ["lift"] if args.checkpoint else []
    args.methods = args.methods or [*lift, *protocol.default_baselines]
    for method in args.methods:
        if method not in ("lift", *protocol.baselines):
            raise LiftError(
                f"protocol {args.protocol} has no method {method}; "
                f"it has lift, {', '.join(protocol.baselines)}"
            )


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
