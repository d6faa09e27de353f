"""The frames of an evaluation on which LIFT loses, as one picture with a row per frame."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch

from lift.evaluation import baselines
from lift.evaluation.figures import (
    ERROR_LIMIT,
    Tile,
    error_map,
    flow_in_frame_pixels,
    flow_limit,
    flow_to_color,
    panel,
)
from lift.evaluation.metrics import to_uint8
from lift.evaluation.protocols.real16 import as_clip
from lift.evaluation.target import ScoredFrame, Target
from lift.model.types import Prediction

ORDERS = {"gain": lambda frame: frame.gain, "psnr": lambda frame: frame.psnr}


def choose(frames: Iterable[ScoredFrame], count: int = 5, by: str = "gain") -> list[ScoredFrame]:
    """The worst frames, the worst one first.

    One frame of each clip, where there are enough clips; else the next ones follow.

    Args:
        frames: all frames of an evaluation.
        count: number of frames to choose; all of them where there are fewer.
        by: `gain`, lowest PSNR gain over the baseline, or `psnr`, lowest PSNR.
    """
    return lowest(frames, ORDERS[by], lambda frame: frame.clip, count)


Item = TypeVar("Item")


def lowest(
    items: Iterable[Item],
    value: Callable[[Item], float],
    group: Callable[[Item], str],
    count: int,
) -> list[Item]:
    """The items with the lowest values, the lowest first.

    One of each group, where there are enough groups; else the next ones follow.
    """
    ordered = sorted(items, key=value)
    lowest_of_group: dict[str, Item] = {}
    for item in ordered:
        lowest_of_group.setdefault(group(item), item)
    first = list(lowest_of_group.values())[:count]
    others = [item for item in ordered if item not in first][: count - len(first)]
    return sorted(first + others, key=value)


def draw(
    path: str | Path,
    rows: Iterable[tuple[ScoredFrame, Target]],
    model: torch.nn.Module,
    title: str = "",
) -> None:
    """Write the picture; the model is run again on each target.

    A row shows the references overlaid, the truth, LIFT's frame, the flow to the left reference by
    LIFT and by DIS on one scale, and the absolute errors of both on one scale.

    Args:
        path: image file; its suffix chooses the format.
        rows: frames with their targets, from top to bottom.
        model: a LIFT model.
        title: a line above the picture.

    Raises:
        OSError: the file cannot be written.
    """
    model.eval()
    panel(path, [_row(frame, target, model) for frame, target in rows], title=title)


def _row(scored: ScoredFrame, target: Target, model: torch.nn.Module) -> list[Tile]:
    frame0, frame1 = target.frames[target.left : target.left + 2]
    prediction = _predict(model, target)
    generated = to_uint8(prediction.frame[0])
    flow = flow_in_frame_pixels(prediction.flow_t0)
    dis = baselines.dis(frame0, frame1, 0.5)
    dis_flow = -0.5 * baselines.dis_flow(frame0, frame1)
    limit = flow_limit(flow, dis_flow)
    full = f"full colour: {limit:.0f} px"
    scale = f"brightest: {ERROR_LIMIT} levels or more"
    return [
        Tile(f"{scored.title}\nreferences, overlaid", baselines.average(frame0, frame1, 0.5)),
        Tile("truth", target.truth),
        Tile(f"LIFT: {scored.psnr:.2f} dB\n{scored.gain:+.2f} dB over DIS", generated),
        Tile(f"flow of LIFT to the left\n{full}", flow_to_color(flow, limit), True),
        Tile(f"flow of DIS to the left\n{full}", flow_to_color(dis_flow, limit), True),
        Tile(f"error of LIFT\n{scale}", error_map(generated, target.truth)),
        Tile(f"DIS: {scored.baseline:.2f} dB\nerror of DIS", error_map(dis, target.truth)),
    ]


@torch.inference_mode()
def _predict(model: torch.nn.Module, target: Target) -> Prediction:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    clip = as_clip(target.frames, target.times, target.left, device)
    return model(clip, torch.tensor([0.5], device=device))
