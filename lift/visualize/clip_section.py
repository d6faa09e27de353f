"""The part of the page about one clip: its attention, and the pictures of its targets."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from lift.evaluation.figures import ERROR_LIMIT
from lift.visualize.clip_figures import attention_figure
from lift.visualize.clips import ClipSource
from lift.visualize.explanation import Explanation, attention_per_frame, explain
from lift.visualize.gallery import Gallery
from lift.visualize.page import Comparison, Picture, Section
from lift.visualize.point_figures import path_figure, window_figure
from lift.visualize.target_figures import inputs_figure, motion_figure, result_figure

ERROR_SCALE = (
    f"Errors are absolute, the mean of the channels, from black (0) to yellow ({ERROR_LIMIT} 8-bit "
    "levels or more), the same scale in all pictures."
)
TIMES = (
    "Times are in intervals between the references (orange), which lie at 0 and 1; the target lies "
    "at 0.5."
)


def clip_section(
    gallery: Gallery,
    clip: ClipSource,
    model: torch.nn.Module,
    targets: list[int],
    *,
    attention_targets: Sequence[int] = (),
    context_frames: int = 15,
    point: tuple[int, int] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Section:
    """Draw a clip; the frames of one target are in memory at a time.

    Args:
        gallery: where figures are written.
        clip: the clip.
        model: a LIFT in evaluation mode.
        targets: frames to explain.
        attention_targets: further frames of the figure of the whole clip.
        context_frames: largest number of input frames, references included.
        point: (x, y) in pixels of the source's frames; None chooses one for each target.
        progress: wraps the targets, for example with a progress bar.

    Raises:
        LiftError: the clip cannot be read, or a file cannot be written.
    """
    stem = gallery.name(clip.path.resolve().stem)
    seen: list[tuple[int, tuple[float, ...], np.ndarray | None]] = []
    parts: list[Picture | Comparison] = []
    read = clip.read_targets([*targets, *attention_targets], context_frames)
    for target in progress(read):
        if target.number in targets:
            explained = explain(model, target, _reduced_point(clip, point))
            seen.append((target.number, target.times, explained.attention))
            parts += _target_parts(gallery, f"{stem}_{target.number}", explained)
        else:
            seen.append((target.number, target.times, attention_per_frame(model, target)))
    if len(seen) > 1 and all(attention is not None for _, _, attention in seen):
        parts.insert(0, _attention(gallery, stem, seen))
    return Section(clip.path.resolve().name, _about(clip, targets), parts)


def _reduced_point(clip: ClipSource, point: tuple[int, int] | None) -> tuple[int, int] | None:
    """A point of the source's frames in those that the model sees."""
    if point is None:
        return None
    height, width = clip.size
    return (
        min(int((point[0] + 0.5) * width / clip.source_size[1]), width - 1),
        min(int((point[1] + 0.5) * height / clip.source_size[0]), height - 1),
    )


def _about(clip: ClipSource, targets: list[int]) -> str:
    height, width = clip.source_size
    text = f"{clip.count} frames of {width}x{height}"
    if clip.size != clip.source_size:
        text += f", reduced to {clip.size[1]}x{clip.size[0]} for the model and for all pictures"
    cuts = ", ".join(map(str, clip.cuts))
    text += f"; new shots begin at frames {cuts}" if clip.cuts else "; no cut was found"
    many = "s" if len(targets) > 1 else ""
    return (
        f"{text}. Every second frame is dropped: each target (frame{many} "
        f"{', '.join(map(str, targets))}) is interpolated from its two neighbours, the references, "
        "with every second frame beyond them as context, and compared with the frame that was "
        "dropped."
    )


def _attention(
    gallery: Gallery, stem: str, seen: list[tuple[int, tuple[float, ...], np.ndarray]]
) -> Picture:
    targets, times, attention = zip(*seen, strict=True)
    return gallery.figure(
        f"{stem}_attention",
        lambda: attention_figure(list(targets), list(times), list(attention)),
        "Attention per frame over the clip",
        f"Share of the attention that each input frame receives (mean over heads, layers and "
        f"locations; a column sums to 100 %), for {len(targets)} targets. Grey: there is no such "
        "frame, beyond a cut or an end of the clip. On the right the mean over the targets that "
        f"have the frame. {TIMES}",
        f"Heat map of attention by target frame and time of the input frame, "
        f"{len(targets)} targets.",
    )


def _target_parts(
    gallery: Gallery, stem: str, explained: Explanation
) -> list[Picture | Comparison]:
    """The pictures of one target, in the order of reading."""
    frame = f"Frame {explained.target.number}"
    x, y = explained.at_point.point
    point = f"the point ({x}, {y}) ({explained.at_point.chosen_by})"
    count = len(explained.target.times)
    parts = [
        _comparison(f"{frame}: references, LIFT and truth", explained),
        gallery.figure(
            f"{stem}_inputs",
            lambda: inputs_figure(explained),
            f"{frame}: inputs",
            f"The {count} input frames in the order of time, and the share of attention that each "
            f"receives (mean over heads, layers and locations; sums to 100 %). {TIMES}",
            f"{count} input frames with their attention in per cent, and bars of the same.",
        ),
        gallery.figure(
            f"{stem}_result",
            lambda: result_figure(explained),
            f"{frame}: result",
            f"The references overlaid, the truth, LIFT's frame with PSNR (8-bit, dB) and SSIM, and "
            f"the coarse frame that it was refined from, with their errors. {ERROR_SCALE} The "
            f"cross marks {point}.",
            f"LIFT's frame of {explained.psnr:.2f} dB beside the truth, and its error map.",
        ),
        gallery.figure(
            f"{stem}_motion",
            lambda: motion_figure(explained),
            f"{frame}: motion and visibility",
            "Flow from the target to each reference in Middlebury's colours (hue: direction, "
            "saturation: length; longer than the wheel's edge: darker), both on one scale; the "
            "weight of the left reference in the blend; visibility of each pixel in the "
            "references; where frames beside the references exist, the confidence in the "
            "acceleration they show, and how far the curved path leaves the straight one at the "
            "target's time. Maps are at 1/4 of the resolution, lengths in pixels of the frames.",
            "Maps of optical flow, blend weight, visibility and curvature.",
        ),
    ]
    if explained.at_point.weights is not None:
        parts.append(
            gallery.figure(
                f"{stem}_window",
                lambda: window_figure(explained),
                f"{frame}: attention inside the window",
                f"Weights of the query at {point}, a cross: the window in each input frame, with "
                "the weight of each location (16 x 16 pixels) over it, the mean over heads and "
                "layers; above each crop its share of the attention. Below, each layer, the mean "
                "over heads, on a scale of its own; white: outside of the layer's window. Crops "
                "are at one place in all frames, so what moves wanders through them.",
                f"Crops of {count} frames around a point with attention weights.",
            )
        )
    if explained.at_point.path is not None:
        parts.append(
            gallery.figure(
                f"{stem}_path",
                lambda: path_figure(explained),
                f"{frame}: path of a point",
                _path_caption(explained, point),
                "Positions of a point on a straight and on a curved path, over frames and time.",
            )
        )
    return parts


def _path_caption(explained: Explanation, point: str) -> str:
    path = explained.at_point.path
    orders = [
        f"order {2 + 2 * (i // 2)} {'before' if i % 2 == 0 else 'after'} {confidence:.2f}"
        for i, confidence in enumerate(path.confidence)
    ]
    bend = path.curved([0.0])[0] - path.straight([0.0])[0]
    return (
        f"Where {point} is in the frames at times {path.first:g} to {path.last:g}: on the straight "
        "path through the references (green crosses) and on the curved one (pink dots), on crops "
        "at one place and over time; beyond the frame its edge is repeated. The model uses the "
        "curve between the references only, where it moves the flows by "
        f"{np.hypot(*bend):.2f} px; farther out it shows which motion the curve follows. "
        f"Weights of the divided differences: {', '.join(orders)} (0: the frame is missing)."
    )


def _comparison(title: str, explained: Explanation) -> Comparison:
    """The references, LIFT's frame and the truth, to be compared with the slider."""
    target = explained.target
    left, right = target.frames[target.left : target.left + 2]
    return Comparison(
        title,
        "Move the slider to change the image; pixels are those of the model's input.",
        {
            "left reference": left,
            "LIFT": explained.frame,
            "truth": target.truth,
            "right reference": right,
        },
    )
