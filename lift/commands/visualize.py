"""`lift visualize`: pictures that explain what a model does, on one page and as paper figures."""

import re
import shlex
import time
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from tqdm import tqdm

from lift.commands.machine_flags import add_machine_flags
from lift.config.flag_values import named_folder, whole_number, whole_numbers
from lift.config.flags import Parser
from lift.errors import LiftError, cleanup_on_signals, say
from lift.evaluation import peers

ATTENTION_TARGETS = 24  # of the figure of a whole clip
DEFAULT_TARGETS = 2  # of each clip
DPI = (50, 1200)


def main(argv: list[str]) -> None:
    """Write index.html and figures/ to the output folder."""
    args = _parser().parse_args(argv)
    _check(args)
    _draw(args, shlex.join(["lift", "visualize", *argv]))


def _draw(args: Namespace, command: str) -> None:
    from lift.visualize.gallery import Gallery

    started = time.perf_counter()
    with cleanup_on_signals(), Gallery(args.output, args.format, args.dpi) as gallery:
        sections = []
        if args.inputs:
            sections += _clips(args, gallery)
        if args.evaluation:
            sections.append(_worst(args, gallery))
        if args.runs:
            sections.append(_curves(args, gallery))
        seconds = time.perf_counter() - started
        page = gallery.publish(_title(args), _facts(args, command, seconds), sections)
    size = page.stat().st_size / 2**20
    say(
        f"written: {page} ({size:.1f} MiB), {gallery.count} figures as {', '.join(args.format)} "
        f"in {seconds:.1f} s"
    )


# -- parts of the page -----------------------------------------------------------------------------


def _clips(args: Namespace, gallery) -> list:
    """A section for each input, all of which are read before the first one is drawn."""
    import torch

    from lift.evaluation.checkpoint import load
    from lift.visualize.clip_section import clip_section
    from lift.visualize.clips import open_clip

    if args.threads:
        torch.set_num_threads(args.threads)
    model = load(args.checkpoint, args.kernels, args.device)
    clips = [
        open_clip(path, args.resize_short_side, _bar(f"reading {path.name}"))
        for path in args.inputs
    ]
    chosen = []
    for clip in clips:
        for k in args.frame or ():
            clip.check_target(k)
        if args.point:
            clip.check_point(args.point)
        chosen.append(sorted(set(args.frame or clip.spread_targets(DEFAULT_TARGETS))))
    return [
        clip_section(
            gallery,
            clip,
            model,
            targets,
            attention_targets=clip.spread_targets(ATTENTION_TARGETS),
            context_frames=args.context_frames,
            point=args.point,
            progress=_bar(f"drawing {clip.path.name}"),
        )
        for clip, targets in zip(clips, chosen, strict=True)
    ]


def _worst(args: Namespace, gallery):
    import torch

    from lift.evaluation.checkpoint import load
    from lift.model.weights import sha256
    from lift.visualize.scores import read_scores
    from lift.visualize.worst_cases import methods_of, peers_of, worst_cases
    from lift.visualize.worst_section import worst_section

    if args.threads:
        torch.set_num_threads(args.threads)
    scores = read_scores(args.evaluation)
    chosen = scores.worst(args.worst, args.by)
    if scores.weights and scores.weights != sha256(args.checkpoint):
        raise LiftError(
            f"{args.evaluation} has scores of other weights than {args.checkpoint} (SHA-256 "
            f"{scores.weights[:12]}...); give the --checkpoint that was scored"
        )
    model = load(args.checkpoint, args.kernels, args.device)
    methods = methods_of(scores, model, args.frames, peers_of(scores, args))
    cases = worst_cases(scores, chosen, args.data_root, methods)
    return worst_section(gallery, scores, cases, args.by, _bar("drawing", "sample", len(chosen)))


def _curves(args: Namespace, gallery):
    from lift.visualize.curves import curves_caption, curves_figure, read_runs
    from lift.visualize.page import Section

    runs = read_runs(args.runs, args.labels)
    names = ", ".join(run.label for run in runs)
    picture = gallery.figure(
        gallery.name("curves"),
        lambda: curves_figure(runs),
        "Curves of training",
        curves_caption(runs),
        f"Plots of loss, PSNR, learning rate and gradient norm over steps of {names}.",
    )
    return Section("Training runs", "", [picture])


def _title(args: Namespace) -> str:
    if args.inputs or args.evaluation:
        return f"What {args.checkpoint.name} does"
    return "Curves of training runs"


def _facts(args: Namespace, command: str, seconds: float) -> dict[str, str]:
    """What the pictures depend on."""
    from lift import provenance

    uses_weights = bool(args.inputs or args.evaluation)
    recorded = provenance.of_scores(args.checkpoint if uses_weights else None)
    facts = {"command": command}
    if uses_weights:
        weights = recorded["weights"]
        facts["weights"] = f"{weights['file']}, SHA-256 {weights['sha256']}"
        facts["context frames"] = f"at most {args.context_frames}, references included"
    made_by = recorded["made_by"] | {"commit": provenance.commit() or None}
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in made_by.items() if value)
    facts["drawing time"] = f"{seconds:.1f} s"
    return facts


def _bar(text: str, unit: str = "frame", total: int | None = None):
    options = {"desc": text, "unit": unit, "total": total, "disable": None, "leave": False}
    return lambda items: tqdm(items, **options)


# -- command line ----------------------------------------------------------------------------------


def _check(args: Namespace) -> None:
    """Set the weights.

    Raises:
        LiftError: there is nothing to draw, or flags contradict each other.
    """
    if not (args.inputs or args.runs or args.evaluation):
        raise LiftError(
            "there is nothing to draw; give a video or a folder of frames, --evaluation or --runs"
        )
    if not args.inputs and (args.frame or args.point):
        raise LiftError("--frame and --point choose in clips; give a video or a folder of frames")
    if args.labels and not args.runs:
        raise LiftError("--labels names training runs; give them with --runs")
    args.inputs = [Path(text) for text in args.inputs]
    for path in args.inputs:
        if not path.exists():
            raise LiftError(
                f"{path}: no such file or folder; give a video or a folder of numbered frames"
            )
    if args.evaluation and not args.data_root:
        raise LiftError(
            "--evaluation needs --data_root, the folder of the test set that was scored"
        )
    if not args.evaluation and (args.data_root or args.frames or peers.models_named(args)):
        raise LiftError(
            "--data_root, --frames and other models belong to --evaluation FILE; give it too"
        )
    from lift.model.pretrained import weights_path

    args.checkpoint = weights_path(args.checkpoint)


def _parser() -> Parser:
    parser = Parser(
        prog="lift visualize",
        description="Draw what a model does: attention, motion, errors, worst cases and curves. "
        "DIR/index.html shows\nall pictures and opens without a network; DIR/figures has them for "
        "a paper.",
    )
    parser.gathers = "inputs"
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="videos or folders of frames; every second frame is dropped and interpolated",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for index.html and figures/"
    )
    parser.add_argument(
        "--checkpoint",
        default="tiny",
        metavar="FILE",
        help="weights, a .safetensors file, or the name of bundled weights (default tiny)",
    )
    parser.add_argument(
        "--frame",
        type=whole_numbers(0),
        metavar="K,L",
        help=f"frames to explain, from 0 (default {DEFAULT_TARGETS} evenly spread ones)",
    )
    parser.add_argument(
        "--point",
        type=_point,
        metavar="X,Y",
        help="point of these frames, in pixels of the input, whose attention and path are drawn "
        "(default: where the error is largest)",
    )
    parser.add_argument(
        "--context_frames",
        type=whole_number(2, 15),
        default=15,
        metavar="N",
        help="input frames per generated frame, 2 to 15 (default 15)",
    )
    parser.add_argument(
        "--resize_short_side",
        type=whole_number(0),
        default=256,
        metavar="N",
        help="reduce frames so that their short side has at most N pixels; 0 keeps their size "
        "(default 256)",
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="scores that lift evaluate --output wrote, whose worst samples are drawn",
    )
    parser.add_argument(
        "--data_root", type=Path, metavar="DIR", help="folder of the test set that was evaluated"
    )
    parser.add_argument(
        "--worst",
        type=whole_number(1),
        default=5,
        metavar="N",
        help="samples of the evaluation to draw (default 5)",
    )
    parser.add_argument(
        "--by",
        type=_order,
        default="psnr",
        metavar="ORDER",
        help="the worst samples have the lowest psnr, or with gain:METHOD the lowest PSNR gain "
        "over that method (default psnr)",
    )
    parser.add_argument(
        "--frames",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="frames of a scored method, as lift evaluate --save_frames writes them; for methods "
        "that are not part of lift",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        type=Path,
        default=[],
        metavar="RUN",
        help="output folders of training runs whose curves are drawn side by side",
    )
    parser.add_argument("--labels", nargs="+", metavar="TEXT", help="names of these runs")
    parser.add_argument(
        "--format",
        type=_formats,
        default=("png", "pdf"),
        metavar="A,B",
        help="formats of the figures: png, pdf, svg (default png,pdf)",
    )
    parser.add_argument(
        "--dpi",
        type=whole_number(*DPI),
        default=300,
        metavar="N",
        help=f"resolution of PNG figures, {DPI[0]} to {DPI[1]} (default 300)",
    )
    add_machine_flags(parser)
    peers.add_flags(parser)
    return parser


def _order(text: str) -> str:
    if not re.fullmatch(r"psnr|gain:.+", text):
        raise ArgumentTypeError(f"must be psnr or gain:METHOD, as in gain:dis, got '{text}'")
    return text


def _point(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d+,\d+", text):
        raise ArgumentTypeError(f"must be two numbers of pixels, as in 320,180, got '{text}'")
    x, y = text.split(",")
    return int(x), int(y)


def _formats(text: str) -> tuple[str, ...]:
    formats = tuple(dict.fromkeys(text.lower().split(",")))
    if not set(formats) <= {"png", "pdf", "svg"}:
        raise ArgumentTypeError(f"must be of png, pdf and svg, separated by commas, got '{text}'")
    return formats
