"""`lift demo`: drop every second frame of the bundled clip, make it again, and hold the result
against the truth.
"""

import json
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from lift import provenance
from lift.config.flags import Parser
from lift.errors import LiftError
from lift.evaluation import baselines
from lift.evaluation.checkpoint import load
from lift.evaluation.figures import ERROR_LIMIT, Tile, caption, error_map, flow_to_color, panel
from lift.evaluation.metrics import psnr, ssim, to_uint8
from lift.evaluation.protocols.real16 import as_clip, context_indices
from lift.files import atomic
from lift.model.types import Prediction

CLIP = Path(__file__).resolve().parents[1] / "assets" / "big_buck_bunny.mp4"
PICTURE_TARGET = 35  # the bird raises its wings: averaging shows them twice
CLIP_NOTE = "Big Buck Bunny (excerpt), (c) 2008 Blender Foundation, CC BY 3.0; see lift/assets/ATTRIBUTION.md"
TRAINING_NOTE = (
    "The bundled weights were trained on video that holds this excerpt: the scores show that the program works, "
    "not how well it does on other video; the model card has scores of clips that were held back."
)
PROTOCOL = (
    "demo: every odd frame of the bundled clip (counted from 0) is dropped and made again from the even ones at t = 0.5; "
    "PSNR and SSIM of 8-bit frames as in protocol real16, mean over the dropped frames"
)


def main(argv: list[str]) -> int | None:
    """Run the command: two videos, a picture and the scores go to the output folder."""
    args = _parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    checkpoint = _checkpoint(args.checkpoint)
    model = load(checkpoint, args.kernels, args.device)
    frames, rate = read_clip()
    started = time.perf_counter()
    made = remake(frames, model, args.context_frames)
    seconds = time.perf_counter() - started
    scores = {
        "protocol": PROTOCOL,
        "clip": CLIP_NOTE,
        "seen_in_training": TRAINING_NOTE,
        **score(frames, made),
        "seconds_for_lift": round(seconds, 2),
        **provenance.of_scores(checkpoint),
    }
    folder = Path(args.output)
    write_videos(folder, frames, made, rate)
    write_picture(folder / "demo.png", frames, made, model, args.context_frames)
    with atomic(folder / "scores.json") as part:
        part.write_text(json.dumps(scores, indent=1) + "\n")
    print(table(scores))
    print(
        f"{len(made['lift'])} frames of {frames.shape[2]}x{frames.shape[1]} made in {seconds:.1f} s by {checkpoint.name}"
    )
    for name, what in (
        ("demo.mp4", "the clip with every second frame made by LIFT"),
        ("side_by_side.mp4", "averaging, LIFT and the truth, at half speed"),
        (
            "demo.png",
            f"frame {PICTURE_TARGET}: inputs, truth, results, errors, flow, visibility, attention",
        ),
        ("scores.json", "the scores of every frame"),
    ):
        print(f"  {folder / name}: {what}")
    return None


# -- the clip, and the frames made again -----------------------------------------------------------


def read_clip() -> tuple[np.ndarray, Fraction]:
    """The bundled clip: frames (N, H, W, 3) uint8, N odd, and frames per second."""
    from lift.io.decode import open_frames

    source = open_frames(CLIP)
    return np.stack(list(source.frames())), source.fps


def remake(frames: np.ndarray, model: torch.nn.Module, context: int = 15) -> dict[str, np.ndarray]:
    """Make the odd frames from the even ones by each method.

    Args:
        frames: (N, H, W, 3) uint8, N odd and at least 3.
        context: input frames LIFT may look at.

    Returns:
        {method: (N // 2, H, W, 3) uint8} for lift, average and dis.
    """
    inputs = frames[::2]
    pairs = list(zip(inputs, inputs[1:], strict=False))
    return {
        "lift": _lift(inputs, model, context),
        **{
            name: np.stack([baselines.METHODS[name](a, b, 0.5) for a, b in pairs])
            for name in ("average", "dis")
        },
    }


def _lift(inputs: np.ndarray, model: torch.nn.Module, context: int) -> np.ndarray:
    from tqdm import tqdm

    from lift.video.interpolator import Interpolator

    tensors = (torch.from_numpy(frame).permute(2, 0, 1).float() / 255 for frame in inputs)
    stream = Interpolator(model, context, detect_scenes=False).frames(
        tensors, multi=2
    )  # the excerpt has no cut
    bar = tqdm(
        stream, total=2 * len(inputs) - 1, desc="LIFT", unit="frame", disable=None, leave=False
    )
    return np.stack([to_uint8(frame) for i, frame in enumerate(bar) if i % 2])


# -- scores ----------------------------------------------------------------------------------------


def score(frames: np.ndarray, made: dict[str, np.ndarray]) -> dict:
    """{"mean": {method: {"psnr", "ssim"}}, "frames": [{"index", method: {"psnr", "ssim"}}]} against
    the dropped frames.
    """
    rows = []
    for i, truth in enumerate(frames[1::2]):
        rows.append(
            {
                "index": 2 * i + 1,
                **{
                    m: {"psnr": psnr(each[i], truth), "ssim": ssim(each[i], truth)}
                    for m, each in made.items()
                },
            }
        )
    mean = {
        m: {metric: float(np.mean([row[m][metric] for row in rows])) for metric in ("psnr", "ssim")}
        for m in made
    }
    return {"mean": mean, "frames": rows}


def table(scores: dict) -> str:
    """The means, and the frame of the picture, as a person reads them."""
    chosen = next(
        (row for row in scores["frames"] if row["index"] == PICTURE_TARGET), scores["frames"][0]
    )
    titles = (
        f"mean of {len(scores['frames'])} dropped frames",
        f"frame {chosen['index']} (the picture)",
    )
    lines = [f"{'protocol demo':<14}" + "".join(f"{title:>30}" for title in titles)]
    for method, mean in scores["mean"].items():
        cells = (f"{each['psnr']:.2f} dB / {each['ssim']:.4f}" for each in (mean, chosen[method]))
        lines.append(f"{method:<14}" + "".join(f"{cell:>30}" for cell in cells))
    return "\n".join([*lines, scores["seen_in_training"]])


# -- videos and picture ----------------------------------------------------------------------------


def write_videos(
    folder: Path, frames: np.ndarray, made: dict[str, np.ndarray], rate: Fraction
) -> None:
    """demo.mp4: LIFT's result at the clip's rate; side_by_side.mp4: averaging, LIFT and truth at
    half of it.
    """
    shown = {name: _woven(frames, each) for name, each in made.items()}
    _write(folder / "demo.mp4", shown["lift"], rate)
    columns = (("frame averaging", shown["average"]), ("LIFT", shown["lift"]), ("truth", frames))
    _write(
        folder / "side_by_side.mp4",
        [
            np.concatenate([caption(video[i], title) for title, video in columns], 1)
            for i in range(len(frames))
        ],
        rate / 2,
    )


def _woven(frames: np.ndarray, made: np.ndarray) -> np.ndarray:
    woven = frames.copy()
    woven[1::2] = made
    return woven


def _write(path: Path, frames, rate: Fraction) -> None:
    from lift.io.encode import VideoWriter

    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, rate, 1 / rate, overwrite=True) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i / rate)


def write_picture(
    path: Path,
    frames: np.ndarray,
    made: dict[str, np.ndarray],
    model: torch.nn.Module,
    context: int = 15,
) -> None:
    """The panel of one dropped frame: what went in, what each method made of it, and how LIFT came
    to its answer.
    """
    target = min(PICTURE_TARGET, len(frames) - 2)
    truth, each = frames[target], {m: video[target // 2] for m, video in made.items()}
    prediction, times = look_inside(frames, target, model, context)
    flow0, flow1 = (
        f[0].permute(1, 2, 0).float().cpu().numpy() * 4
        for f in (prediction.flow_t0, prediction.flow_t1)
    )
    limit = max(
        1.0, float(np.quantile(np.hypot(*np.moveaxis(np.stack((flow0, flow1)), -1, 0)), 0.995))
    )
    names = {"lift": "LIFT", "average": "frame averaging", "dis": "DIS optical flow"}
    rows = [
        [
            Tile("left input", frames[target - 1]),
            Tile("truth (dropped)", truth),
            Tile("right input", frames[target + 1]),
        ],
        [
            Tile(f"{names[m]}: {psnr(x, truth):.2f} dB / {ssim(x, truth):.4f}", x)
            for m, x in each.items()
        ],
        [
            Tile(
                f"error of {names[m]} (brightest: {ERROR_LIMIT} levels or more)",
                error_map(x, truth),
            )
            for m, x in each.items()
        ],
        [
            Tile(
                f"flow to the left input (full colour: {limit:.0f} px)",
                flow_to_color(flow0, limit),
                wheel=True,
            ),
            Tile(
                "share of the left input in the blend\n(white: left, black: right, grey: both)",
                visibility_share(prediction),
            ),
            Tile(
                f"flow to the right input (full colour: {limit:.0f} px)",
                flow_to_color(flow1, limit),
                wheel=True,
            ),
        ],
    ]
    panel(
        path,
        rows,
        (times, prediction.attention[0].float().cpu().tolist()),
        f"{CLIP_NOTE.split(';')[0]}, frame {target}; protocol demo, PSNR / SSIM",
    )


@torch.inference_mode()
def look_inside(
    frames: np.ndarray, target: int, model: torch.nn.Module, context: int = 15
) -> tuple[Prediction, list[float]]:
    """The model's whole prediction of a dropped frame, and the times of its context frames."""
    indices, times, left = context_indices(target, len(frames), context_frames=context)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return model(
        as_clip(frames[indices], times, left, device), torch.tensor([0.5], device=device)
    ), times


def visibility_share(prediction: Prediction) -> np.ndarray:
    """v0 / (v0 + v1), the left reference's part in the blend, as grey: (h, w, 3) uint8."""
    log0, log1 = (
        torch.nn.functional.logsigmoid(occ[0, 0].float())
        for occ in (prediction.occ_t0, prediction.occ_t1)
    )
    share = torch.sigmoid(log0 - log1).cpu().numpy()
    return np.repeat(np.round(255 * share).astype(np.uint8)[..., None], 3, -1)


# -- command line ----------------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="lift demo",
        description="Drop every second frame of the bundled clip, make it again, and compare with the truth.",
    )
    parser.add_argument(
        "--output",
        default="demo_output",
        metavar="DIR",
        help="folder for the videos, the picture and the scores (default demo_output)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights to use instead of the bundled ones, a .safetensors file",
    )
    parser.add_argument(
        "--context_frames",
        type=int,
        choices=range(2, 16),
        default=15,
        metavar="N",
        help="input frames per generated frame, 2 to 15 (default 15)",
    )
    parser.deprecated_flags["--context"] = "--context_frames"
    parser.add_argument(
        "--kernels",
        choices=("auto", "fused", "reference"),
        default="auto",
        help="which kernels serve (default auto)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default auto)")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="CPU threads; 0 leaves PyTorch's choice"
    )
    return parser


def _checkpoint(given: str | None) -> Path:
    from lift.model.weights import pretrained_path

    if given is not None:
        return Path(given)
    bundled = pretrained_path("tiny")
    if not bundled.is_file():
        raise LiftError(
            f"the bundled weights are missing ({bundled}); install lift again, or give --checkpoint FILE"
        )
    return bundled
