"""The generated blocks of docs/limits.md, from the records `<name>_limits.json`.

    <!-- limits: tiny facts -->     weights, targets, machine
    <!-- limits: tiny motion -->    real clips by class of motion
    <!-- limits: tiny flow -->      synthetic scenes by motion and by error of the flow
    <!-- limits: tiny noise -->     real clips with noise
    <!-- limits: tiny worst -->     the picture of the worst frames
    <!-- limits: tiny curve -->     the validation curve, and an hour on a GPU projected
    <!-- limits: end -->

Everything else in the page is kept. A record without blocks gets a section at the end.
"""

import json
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from lift.evaluation.motion_classes import CLASSES
from lift.files import atomic
from lift.release.limits.flow_error import FRAMES
from lift.release.limits.real import LIFT, MOTION_METHODS, NOISE_METHODS

# The project's own, which an installed LIFT does not have.
PAGE = Path(__file__).resolve().parents[3] / "docs" / "limits.md"
MARKED = re.compile(r"(<!-- limits: (\w+) (\w+) -->\n).*?(<!-- limits: end -->)", re.DOTALL)
SUFFIX = "_limits.json"
FIRST = "tiny"  # its picture has the short name
TITLES = {
    LIFT: "LIFT, 15 frames",
    "dis": "DIS",
    "dis_cubic": "DIS, 4 frames",
    "average": "averaging",
    "lift": "LIFT",
    "lift_flow": "LIFT's flow, warped",
    "true_bilinear": "true flow, bilinear",
    "true_bicubic": "true flow, bicubic",
}


def picture(name: str) -> str:
    """File name of the picture of the worst frames."""
    return f"limits_worst{name.removeprefix(FIRST)}.jpg"


def update(page: Path, folder: Path) -> bool:
    """Generate the blocks of a page from the records in a folder; whether the page has changed."""
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    text = filled(before, records(folder))
    if text != before:
        with atomic(page) as part:
            part.write_text(text, encoding="utf-8")
    return text != before


def records(folder: Path) -> dict[str, dict]:
    """The records in a folder by the name of their weights."""
    return {
        path.name.removesuffix(SUFFIX): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(f"*{SUFFIX}"))
    }


def filled(text: str, found: dict[str, dict]) -> str:
    """The page with its blocks generated; a record without blocks is appended."""

    def block(marked: re.Match) -> str:
        opening, name, part, closing = marked.groups()
        record = found.get(name, {})
        if part not in BLOCKS or not record or (part != "facts" and part not in record):
            return marked.group()
        return f"{opening}\n{BLOCKS[part](record, name)}\n\n{closing}"

    present = {name for _, name, _, _ in MARKED.findall(text)}
    for name in found.keys() - present:
        parts = "\n\n".join(
            f"<!-- limits: {name} {part} -->\n<!-- limits: end -->" for part in BLOCKS
        )
        text = f"{text.rstrip()}\n\n## Weights `{name}`\n\n{parts}\n".lstrip()
    return MARKED.sub(block, text)


# -- blocks ----------------------------------------------------------------------------------------


def facts(record: dict, name: str) -> str:
    made_by, weights = record["made_by"], record["weights"]
    return _wrap(
        f"Of `{weights['file']}` (SHA-256 {weights['sha256'][:12]}), measured with LIFT "
        f"{made_by['lift']}, PyTorch {made_by['torch']} and OpenCV "
        f"{made_by.get('opencv-python-headless') or made_by.get('opencv-python') or '?'}."
    )


def motion(record: dict, name: str) -> str:
    found = record["motion"]
    heads = ["class", "targets", "clips", *(TITLES[m] for m in MOTION_METHODS), "LIFT − DIS"]
    heads += ["LIFT − DIS, 4 frames"]
    rows = [
        [
            label + (f": {CLASSES[label]}" if label in CLASSES else ""),
            str(each["targets"]),
            str(each["clips"]),
            *(f"{each['psnr'][m]:.2f}" for m in MOTION_METHODS),
            *(f"{each['psnr'][LIFT] - each['psnr'][m]:+.2f}" for m in MOTION_METHODS[1:]),
        ]
        for label, each in found["classes"].items()
    ]
    total = list(found["classes"].values())[-1]
    sentence = _wrap(
        f"{total['targets']} targets of {total['clips']} clips of the split `{found['split']}`, "
        f"{found['targets_per_clip']} a clip; mean PSNR over the targets, dB. Classes overlap."
    )
    return f"{sentence}\n\n{_table([heads, *rows], 1)}"


def flow(record: dict, name: str) -> str:
    found = record["flow"]
    psnr, height, width = found["psnr"], *found["size"]
    heads = ["", "% of the image", "error of LIFT, px", "of DIS, px"]
    heads += [f"{TITLES[frame]}, dB" for frame in FRAMES] + ["% of LIFT's squared error"]
    means = _wrap(
        f"{found['scenes']} scenes of {height} × {width}, fifteen frames. Mean PSNR over the "
        "scenes: "
        + ", ".join(f"{TITLES[frame]} {psnr[frame]:.2f} dB" for frame in FRAMES)
        + f". So wrong flow and visibility cost LIFT {psnr['true_bilinear'] - psnr['lift']:.2f} dB "
        "against the true ones in a plain bilinear warp; bicubic sampling adds "
        f"{psnr['true_bicubic'] - psnr['true_bilinear']:.2f} dB to that."
    )
    parts = [means]
    for title, rows in (
        ("By length of the true flow, px:", found["by_motion"]),
        ("By error of LIFT's flow, px:", found["by_error"]),
    ):
        parts += [title, _table([heads, *map(_flow_row, rows)], 1)]
    return "\n\n".join([*parts, _largest_errors(found["by_error"])])


def _flow_row(row: dict) -> list[str]:
    errors = row["error"] or {}
    return [
        row["bin"],
        f"{100 * row['share']:.1f}",
        *(f"{errors[name]:.2f}" if errors else "–" for name in ("lift", "dis")),
        *(f"{row['psnr'][frame]:.1f}" for frame in FRAMES),
        f"{100 * row['share_of_squared_error']:.1f}",
    ]


def _largest_errors(rows: list[dict]) -> str:
    """A sentence on the row of `by_error` with the largest errors of the flow."""
    last = [row for row in rows if row["error"]][-1]
    return _wrap(
        f"Where LIFT's flow is off by {last['bin']} px, {100 * last['share']:.1f} % of the image, "
        f"lies {100 * last['share_of_squared_error']:.0f} % of its squared error."
    )


def noise(record: dict, name: str) -> str:
    found = record["noise"]
    heads = ["standard deviation, of 255", *(TITLES[m] for m in NOISE_METHODS), "LIFT − DIS"]
    rows = [
        [
            str(each["sigma"]),
            *(f"{each['psnr'][m]:.2f}" for m in NOISE_METHODS),
            f"{each['psnr'][LIFT] - each['psnr']['dis']:+.2f}",
        ]
        for each in found["levels"]
    ]
    sentence = _wrap(
        f"{found['targets']} targets; Gaussian noise on every input frame, rounded to 8 bits; mean "
        "PSNR against the clean truth, dB."
    )
    return f"{sentence}\n\n{_table([heads, *rows], 0)}"


def worst(record: dict, name: str) -> str:
    orders = {
        "gain": "The lowest PSNR gain over DIS",
        "psnr": "The lowest PSNR, those above left out",
    }
    lines = [
        _wrap(
            f"{title}: "
            + "; ".join(
                f"`{row['clip']}` {row['frame']} ({row['psnr']:.2f} dB, DIS {row['baseline']:.2f})"
                for row in record["worst"][order]
            )
            + "."
        )
        for order, title in orders.items()
        if record["worst"][order]
    ]
    image = f"![The worst frames: references, truth, LIFT, flows, errors](figures/{picture(name)})"
    return "\n\n".join([*lines, image])


def curve(record: dict, name: str) -> str:
    found = record["curve"]
    points, pace = found["points"], found["pace"]
    parts = []
    if points:
        rows = [[p["phase"], f"{p['samples']:,.0f}", f"{p['psnr']:.3f}"] for p in points]
        parts.append(_table([["phase", "samples so far", "validation PSNR, dB"], *rows], 1))
    parts.append(_fit_sentence(found))
    parts.append(
        _wrap(
            "**Projected, not measured on a GPU:** a training sample of the last phase takes "
            f"{pace['flops_per_sample'] / 1e9:.1f} GFLOP forward and backward (counted). At the "
            "rates that `lift/config/presets/pairs128.toml` assumes of an H200, arithmetic allows "
            f"{pace['rates']['arithmetic']:,.0f} samples/s, launches "
            f"{pace['rates']['launches']:,.0f} and fourteen loading processes "
            f"{pace['rates']['loading']:,.0f}"
            + (" (they also compute the DIS flow that teaches)" if pace["with_teacher"] else "")
            + f": {pace['samples_per_second']:,.0f} samples/s, limited by {pace['limited_by']}."
        )
    )
    rows = [
        [f"{each['hours']} h", f"{each['samples'] / 1e6:.1f} million", _gain(each["gain"])]
        for each in found["projections"]
    ]
    heads = [
        "GPU time, projected",
        "samples",
        f"gain over {found['samples']:,} samples, by the fit",
    ]
    return "\n\n".join([*parts, _table([heads, *rows], 1)])


def _fit_sentence(found: dict) -> str:
    points, fitted = found["points"], found["projections"][0]["gain"]
    if fitted is None:
        change = ""
        if len(points) > 1:
            change = (
                f" From the first to the last of them it changed by "
                f"{points[-1]['psnr'] - points[0]['psnr']:+.3f} dB in "
                f"{points[-1]['samples'] - points[0]['samples']:,.0f} samples."
            )
        return _wrap(
            f"{len(points)} validations are comparable, and three parameters cannot be fitted and "
            f"judged with so few: nothing is extrapolated.{change}"
        )
    low, high = fitted["exponents"]
    text = (
        f"The fit is a − b n^−c through {len(points)} validations, which scatter around it by "
        f"{fitted['scatter']:.3f} dB and allow exponents c from {low:.2f} to {high:.2f}."
    )
    if fitted["low"] <= 0:
        text += (
            " The range of the gain includes zero: this curve does not show that more of the same "
            "training would help."
        )
    text += (
        f" An hour multiplies the samples by "
        f"{1 + found['projections'][0]['samples'] / found['samples']:.0f}, where the points span "
        f"a factor of {points[-1]['samples'] / points[0]['samples']:.1f}: the fit is extrapolated "
        "far beyond them, and phases that differ in model or schedule count as one curve."
    )
    return _wrap(text)


def _gain(fitted: dict | None) -> str:
    if fitted is None:
        return "not known"
    return f"{fitted['best']:+.2f} dB ({fitted['low']:+.2f} to {fitted['high']:+.2f})"


BLOCKS: dict[str, Callable[[dict, str], str]] = {
    "facts": facts,
    "motion": motion,
    "flow": flow,
    "noise": noise,
    "worst": worst,
    "curve": curve,
}


def _table(rows: Sequence[Sequence[str]], texts: int) -> str:
    """A Markdown table whose first `texts` columns are aligned to the left."""
    rule = ["---"] * texts + ["--:"] * (len(rows[0]) - texts)
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def _wrap(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)
