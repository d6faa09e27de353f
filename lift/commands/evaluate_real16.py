"""`lift evaluate` under protocol `real16`: scores by clip beside recorded baselines."""

import json
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lift.commands import evaluate_samples
from lift.errors import LiftError
from lift.evaluation.checkpoint import load
from lift.evaluation.protocols import real16
from lift.evaluation.report import differences, table, with_recorded
from lift.evaluation.reversal import reversal
from lift.evaluation.run import Evaluation
from lift.evaluation.target import ScoredFrame, Target
from lift.io.manifest import has_manifest, read_manifest

CONTEXT_FRAMES = [15]  # of lift without --context_frames


def evaluate(args: Namespace) -> tuple[dict | None, int]:
    """Score clips; see `lift.commands.evaluate_samples.evaluate`."""
    if args.data_root is None:
        raise LiftError(f"protocol {real16.NAME} needs --data_root, the folder with its frames")
    if not has_manifest(args.data_root):
        raise LiftError(
            f"{args.data_root} has no manifest.json, which protocol {real16.NAME} reads; for "
            "videos and folders of frames without one use --protocol frames"
        )
    args.context_frames = args.context_frames or CONTEXT_FRAMES
    # a clip that is not chosen may be too short
    chosen = replace(real16.REAL16, find=partial(real16.find, split=args.split, names=args.clips))
    recorded = _recorded(args.data_root)
    complete = partial(_complete, args, recorded)
    result, code = evaluate_samples.evaluate(args, chosen, complete, partial(_text, recorded))
    if args.reversal and result is not None and "reversal" not in result:
        raise LiftError(f"{args.output} was scored without --reversal; give --restart as well")
    return result, code


def scored_frames(args: Namespace, result: dict) -> list[ScoredFrame]:
    """The PSNR of every target by lift with its most input frames and by dis."""
    return real16.scored_frames(result, f"lift_{max(args.context_frames)}", "dis")


def target(args: Namespace, frame: ScoredFrame) -> Target:
    """Such a target with its input frames."""
    return real16.target(args.data_root, frame.clip, frame.frame, max(args.context_frames))


def _complete(args: Namespace, recorded: dict | None, evaluation: Evaluation, result: dict) -> dict:
    """The result with scores by clip and what is stated beside them."""
    by_clip = real16.by_clip(evaluation.samples, evaluation.rows)
    result = {name: value for name, value in result.items() if name not in ("scores", "groups")}
    result |= by_clip
    if args.reversal:
        model = load(args.checkpoint, args.kernels, args.device)
        clips = real16.select_clips(read_manifest(args.data_root), args.split, args.clips)
        bar = tqdm(clips, unit="clip", disable=None, leave=False)
        most = max(args.context_frames)
        result["reversal"] = {clip.name: reversal(clip, model, most) for clip in bar}
    rows = with_recorded(result, recorded)
    methods = [method for method in result["methods"] if method.startswith("lift")]
    result["gains_db"] = {method: differences(rows, method) for method in methods}
    return result


def _text(recorded: dict | None, result: dict) -> str:
    """The table of a result."""
    lines = [table(result, recorded), f"protocol: {result['description']}"]
    times = (f"{method} {ms:.1f}" for method, ms in result["ms_per_frame"].items())
    count = min(len(entry["targets"]) for entry in result["clips"].values())
    if count < real16.TARGETS:
        lines.append(f"means of {count} or more of the {real16.TARGETS} targets of a clip")
    lines.append(f"ms/frame, median: {', '.join(times)}")
    lines += [
        f"{name}: t = 0.25 against t = 0.75 of the reversed clip: {each['psnr']:.2f} dB, "
        f"at most {each['largest']} of 255"
        for name, each in result.get("reversal", {}).items()
    ]
    return "\n".join(lines)


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
