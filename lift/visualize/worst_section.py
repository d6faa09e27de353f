"""The part of the page about an evaluation: its worst samples, with the results of all methods."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lift.evaluation.baselines import average
from lift.evaluation.figures import error_map
from lift.evaluation.scoring import METRICS
from lift.visualize.clip_section import ERROR_SCALE
from lift.visualize.gallery import Gallery
from lift.visualize.page import Comparison, Picture, Section
from lift.visualize.scores import GAIN, SampleScores, Scores
from lift.visualize.sheet import Draw, Row, color_bar, figure_of, image
from lift.visualize.target_figures import ERROR_COLORS, ERROR_TICKS, TRUTH_COLOR

BOX_SHARE = 4  # the box that is enlarged has a fourth of the frame's sides
COLUMNS = 5  # of a row, the truth's included
BOX_COLOR = "#ffffff"


@dataclass(frozen=True)
class WorstCase:
    """A sample with its frames.

    Attributes:
        scores: of the sample.
        references: (2, H, W, 3) uint8.
        truth: (H, W, 3) uint8.
        results: the frame (H, W, 3) uint8 of each method that could be run again, by name.
    """

    scores: SampleScores
    references: np.ndarray
    truth: np.ndarray
    results: dict[str, np.ndarray]


def worst_section(
    gallery: Gallery,
    scores: Scores,
    cases: Iterable[WorstCase],
    by: str,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Section:
    """Draw the worst samples of an evaluation; one of them is in memory at a time.

    Args:
        gallery: where figures are written.
        scores: of the evaluation.
        cases: its worst samples, the worst one first.
        by: the order, as in `Scores.worst`.
        progress: wraps the cases, for example with a progress bar.

    Raises:
        LiftError: frames cannot be read, or a file cannot be written.
    """
    parts: list[Picture | Comparison] = []
    metrics = list(scores.samples[0].methods[scores.subject])
    titles = (METRICS[name].title if name in METRICS else name for name in metrics)
    head = ("sample", "method", *titles)
    rows = []
    for number, case in enumerate(progress(cases), 1):
        parts += _case_parts(gallery, number, case, scores)
        for method in scores.methods:
            values = case.scores.methods[method]
            cells = [f"{values[name]:.4g}" if name in values else "" for name in metrics]
            rows.append((case.scores.name, method, *cells))
    order = (
        f"the lowest PSNR gain over {by.removeprefix(GAIN)}"
        if by.startswith(GAIN)
        else "the lowest PSNR"
    )
    text = (
        f"The samples with {order} of {scores.subject} among {len(scores.samples)} of protocol "
        f"{scores.protocol}, one of each clip or group where there are enough. Protocol: "
        f"{scores.description}."
    )
    return Section(f"Worst samples: {scores.protocol}", text, parts, [head, *rows])


def _case_parts(
    gallery: Gallery, number: int, case: WorstCase, scores: Scores
) -> list[Picture | Comparison]:
    name, subject = case.scores.name, scores.subject
    files = gallery.name(f"worst_{number}_{name}")
    gains = ", ".join(
        f"{case.scores.methods[subject]['psnr'] - case.scores.methods[other]['psnr']:+.2f} dB "
        f"over {other}"
        for other in scores.methods
        if other != subject
    )
    left_out = [method for method in scores.methods if method not in case.results]
    note = (
        f" Not drawn, since only the scores are known: {', '.join(left_out)}." if left_out else ""
    )
    box = worst_box(case.results.get(subject, next(iter(case.results.values()))), case.truth)
    size = f"{box[1].stop - box[1].start} x {box[0].stop - box[0].start} pixels"
    picture = gallery.figure(
        files,
        lambda: case_figure(case, scores.methods, box),
        f"{number}. {name}",
        f"Truth and results with their PSNR; the box of {size} with the largest error of "
        f"{subject}, enlarged; the references overlaid, and errors. {ERROR_SCALE} "
        f"{subject}: {gains or 'no other method was scored'}.{note}",
        f"Truth and results of {', '.join(case.results)} for sample {name}, with error maps.",
    )
    images = {"left reference": case.references[0]}
    images |= case.results | {"truth": case.truth, "right reference": case.references[1]}
    caption = "Move the slider to change the image; pixels are those of the protocol's frames."
    return [picture, Comparison(f"{number}. {name}: results and truth", caption, images)]


def worst_box(frame: np.ndarray, truth: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the box with the largest mean error, a fourth of the frame's sides.

    Args:
        frame, truth: (H, W, 3) uint8.
    """
    error = torch.from_numpy(np.abs(frame.astype(np.float32) - truth).mean(-1))
    height, width = (max(side // BOX_SHARE, 1) for side in error.shape)
    mean = F.avg_pool2d(error[None, None], (height, width), 1)[0, 0]
    y, x = divmod(int(mean.argmax()), mean.shape[1])
    return slice(y, y + height), slice(x, x + width)


def case_figure(case: WorstCase, methods: tuple[str, ...], box: tuple[slice, slice]):
    """Columns of the truth and of each method: whole frame, enlarged box, error.

    Args:
        case: the sample.
        methods: in order; those without a frame are left out.
        box: rows and columns that are enlarged.
    """
    height, width = case.truth.shape[:2]
    drawn = [name for name in methods if name in case.results]
    overlaid = average(*case.references, 0.5)
    columns = min(1 + len(drawn), COLUMNS)
    sheet = []
    for start in range(0, len(drawn), columns - 1):
        part = drawn[start : start + columns - 1]
        frames = [case.results[name] for name in part]
        titles = [_title(name, case) for name in part]
        whole = [
            image(frame, title, then=_box(box)) for frame, title in zip(frames, titles, strict=True)
        ]
        crops = [image(frame[box]) for frame in frames]
        bar = _error_bar
        errors = [image(error_map(frame, case.truth), then=bar) for frame in frames]
        truth = image(case.truth, "truth\n", frame_color=TRUTH_COLOR, then=_box(box))
        sheet += [
            Row([truth, *whole], height / width, columns, above=0.27),
            Row([image(case.truth[box]), *crops], height / width, columns, above=0.02),
            Row(
                [image(overlaid, then=_under("references, overlaid")), *errors],
                height / width,
                columns,
                above=0.02,
                below=0.26,
            ),
        ]
    return figure_of(sheet)


def _title(method: str, case: WorstCase) -> str:
    values = case.scores.methods[method]
    title = f"{method}\n{values['psnr']:.2f} dB"
    return title + (f", SSIM {values['ssim']:.3f}" if "ssim" in values else "")


def _box(box: tuple[slice, slice]) -> Draw:
    rows, columns = box

    def draw(axes) -> None:
        x = [columns.start, columns.stop, columns.stop, columns.start, columns.start]
        y = [rows.start, rows.start, rows.stop, rows.stop, rows.start]
        axes.plot(x, y, color="black", linewidth=1.6)
        axes.plot(x, y, color=BOX_COLOR, linewidth=0.7)

    return draw


def _under(text: str) -> Draw:
    def draw(axes) -> None:
        axes.set_xlabel(text, labelpad=3)

    return draw


def _error_bar(axes) -> None:
    ticks = {0.0: "0", 1.0: ERROR_TICKS[1.0]}
    color_bar(axes, ERROR_COLORS, "", ticks)
