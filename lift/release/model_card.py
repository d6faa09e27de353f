"""`python -m lift.release.model_card`: generate the blocks of a model card from the records.

    <!-- weights: tiny facts -->      how to load them, what they are trained on, file, hardware,
                                      duration, and the command of each phase
    <!-- weights: tiny data -->       training and validation clips
    <!-- weights: tiny scores -->     protocol `real16`, clip by clip, and protocol `ucf101`
    <!-- weights: tiny summary -->    validation clips and means, for a page with less detail
    <!-- weights: all sets -->        all weights that ship, a row each
    <!-- weights: end -->

The name may be that of a further set, `tiny_open`. Everything else in a document is kept.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from lift.config.flags import Parser
from lift.errors import run
from lift.files import atomic
from lift.model.bundled import FOLDER, NAMES, loading_call
from lift.release.facts import facts, trained_on
from lift.release.markdown import table, wrap, wrap_command
from lift.release.sources import FIELD

MARKED = re.compile(r"(<!-- weights: (\w+) (\w+) -->\n).*?(<!-- weights: end -->)", re.DOTALL)
# The project's own, which an installed LIFT does not have.
README = Path(__file__).resolve().parents[2] / "README.md"
HEAD = """# Bundled weights: model card

A section for each file `<name>.safetensors`: averaged (EMA) weights, with the configuration of
their run in the file's metadata.
"""
METHODS = (
    ("lift_15", "LIFT, 15 frames"),
    ("lift_4", "LIFT, 4 frames"),
    ("lift_2", "LIFT, 2 frames"),
    ("average", "averaging"),
    ("dis", "DIS"),
    ("dis_cubic", "DIS, 4 frames"),
)
TRIPLET_METHODS = (("lift_2", "LIFT"), ("average", "averaging"), ("dis", "DIS"))
GAINS = (
    ("lift_2", "15 frames − 2"),
    ("average", "LIFT − averaging"),
    ("dis", "LIFT − DIS"),
    ("dis_cubic", "LIFT − DIS, 4 frames"),
)


def fill_blocks(text: str, records: dict[str, dict]) -> str:
    """A document with the blocks of the names in `records` generated, and that of all of them."""

    def block(marked: re.Match) -> str:
        opening, name, part, closing = marked.groups()
        if (name, part) == ALL_SETS:
            return f"{opening}\n{sets(records.values())}\n\n{closing}"
        if name not in records or part not in BLOCKS:
            return marked.group()
        return f"{opening}\n{BLOCKS[part](records[name])}\n\n{closing}"

    return MARKED.sub(block, text)


def add_section(text: str, name: str) -> str:
    """A model card with a section for weights: an empty one is appended if there is none."""
    if any(found == name for _, found, _, _ in MARKED.findall(text)):
        return text
    empty = {part: f"<!-- weights: {name} {part} -->\n<!-- weights: end -->\n" for part in BLOCKS}
    section = (
        f"\n## {name}\n\n{empty['facts']}\n### Data of {name}\n\n{empty['data']}"
        f"\n### Scores of {name}\n\n{empty['scores']}"
    )
    return (text or HEAD).rstrip("\n") + "\n" + section


# -- data ------------------------------------------------------------------------------------------


def data(record: dict) -> str:
    """A table of the training clips with their licences, and a sentence on the validation clips."""
    found, parts = record["data"], []
    if found["synthetic"]:
        parts.append(
            "Synthetic motion (`lift/data/synthetic/`: textured layers, no third-party material)"
            + (", and the frames of these clips:" if found["train"] else ".")
        )
    if found["train"]:
        if all(clip[FIELD] for clip in found["train"]):
            parts.append(f"The footage of all of them may be redistributed (`{FIELD}`).")
        parts.append(
            table(
                [
                    ["clip", "repository", "commit", "path", "licence"],
                    *(
                        [
                            c["name"],
                            c["repository"],
                            f"`{c['commit'][:12]}`" if c["commit"] else "",
                            f"`{c['path']}`" if c["path"] else "",
                            c["licence"],
                        ]
                        for c in found["train"]
                    ),
                ]
            )
        )
    if found["val"]:
        names = ", ".join(
            f"`{c['name']}`" + (f" ({c['repository']}, `{c['path']}`)" if c["path"] else "")
            for c in found["val"]
        )
        parts.append(wrap(f"Validation clips, not trained on: {names}."))
    return "\n\n".join(parts)


# -- scores ----------------------------------------------------------------------------------------


def scores(record: dict) -> str:
    """Scores of every clip and their means, validation clips first."""
    found = record["scores"]
    clips = sorted(found["clips"].items(), key=lambda item: item[1]["split"] != "val")
    rows = [[name, entry["split"], *_cells(entry["scores"], METHODS)] for name, entry in clips]
    groups = [group for group in ("val", "train", "all") if group in found["mean"]]
    if len(groups) == 2:  # of a single split, `all` is the same
        groups = groups[:1]
    rows += [
        [
            f"**mean of {found['mean'][group]['lift_15']['clips']}**",
            group,
            *_cells(found["mean"][group], METHODS),
        ]
        for group in groups
    ]
    parts = [
        wrap(f"PSNR (dB) and SSIM under protocol `{found['protocol']}`: {found['description']}."),
        table(
            [
                ["clip", "split", *(title for _, title in METHODS), *(title for _, title in GAINS)],
                *rows,
            ]
        ),
        _gain_sentence(found, groups[0]),
        f"```bash\n{_scoring_command(record, clips)}\n```",
    ]
    if found["reversal"]:
        each = ", ".join(
            f"{name} {entry['psnr']:.1f} dB" for name, entry in found["reversal"].items()
        )
        largest = max(entry["largest"] for entry in found["reversal"].values())
        parts.append(
            wrap(
                "Time reversal (PSNR of t = 0.25 of a clip against t = 0.75 of the reversed clip, "
                f"15 frames): {each}; a value differs by at most {largest} of 255."
            )
        )
    if "ucf101" in record:
        parts += _triplets(record["ucf101"])
    return "\n\n".join(parts)


def _scoring_command(record: dict, clips: list[tuple[str, dict]]) -> str:
    splits = {entry["split"] for _, entry in clips}
    words = [
        f"lift evaluate --checkpoint lift/weights/{record['name']}.safetensors",
        *("--data_root D", "--context_frames 2,4,15"),
        *(["--split val"] if splits == {"val"} else []),
    ]
    return wrap_command(words)


def _gain_sentence(found: dict, group: str) -> str:
    """Mean gains of fifteen frames over fewer and over DIS, dB, with the number of clips won."""
    clips = [entry for entry in found["clips"].values() if group in ("all", entry["split"])]
    gains = []
    for method, name in (
        ("lift_2", "two frames"),
        ("lift_4", "four frames"),
        ("dis", "DIS"),
        ("dis_cubic", "DIS through four frames"),
    ):
        each = [e["scores"]["lift_15"]["psnr"] - e["scores"][method]["psnr"] for e in clips]
        mean = found["mean"][group]
        gain = mean["lift_15"]["psnr"] - mean[method]["psnr"]
        better = sum(value > 0 for value in each)
        gains.append(f"{name} {gain:+.2f} dB ({better} of {len(each)} clips better)")
    kind = {"val": "validation ", "train": "training "}.get(group, "")
    return wrap(
        f"Fifteen frames on {len(clips)} {kind}clips, mean PSNR gain over {'; '.join(gains)}."
    )


def _triplets(found: dict) -> list[str]:
    """A sentence on protocol ucf101, and its table with published scores."""
    rows = [
        [
            title,
            *(f"{found['scores'][m][name]:.2f}" for name in ("psnr", "psnr_unrounded")),
            *(f"{found['scores'][m][name]:.4f}" for name in ("ssim", "ssim_rife")),
        ]
        for m, title in TRIPLET_METHODS
    ]
    rows += [
        [
            f"{name}, published ({paper['paper']})",
            f"{paper['psnr']:.2f}",
            *("", ""),
            f"{paper['ssim']:.3f}",
        ]
        for name, paper in found["published"].items()
    ]
    sentence = (
        f"Protocol `{found['protocol']}`: {found['description']}. Published scores are under the "
        "paper's own rounding and SSIM."
    )
    head = ["two frames in", "PSNR, dB", "PSNR, unrounded", "SSIM", "SSIM, RIFE"]
    return [wrap(sentence), table([head, *rows])]


def summary(record: dict) -> str:
    """Scores of the validation clips with fifteen frames, and means of the triplets."""
    found, methods = record["scores"], [m for m in METHODS if m[0] not in ("lift_4", "lift_2")]
    validation = {
        name: entry for name, entry in found["clips"].items() if entry["split"] == "val"
    } or found["clips"]
    group = "val" if "val" in found["mean"] else "all"
    rows = [[name, *_cells(entry["scores"], methods)] for name, entry in validation.items()]
    rows.append([f"**mean of {len(validation)}**", *_cells(found["mean"][group], methods)])
    head = ["clip", *(title for _, title in methods), *(title for _, title in GAINS)]
    kind = "clips not trained on" if group == "val" else "clips"
    parts = [
        wrap(
            f"`{record['name']}` on {len(validation)} {kind}, protocol `{found['protocol']}`, "
            "PSNR in dB / SSIM:"
        ),
        table([head, *rows]),
        _gain_sentence(found, group),
    ]
    if "ucf101" in record:
        parts += _triplet_summary(record["ucf101"])
    return "\n\n".join(parts)


def _triplet_summary(found: dict) -> list[str]:
    """Means on UCF101, with published scores in columns of their own."""
    scores = [found["scores"][method] for method, _ in TRIPLET_METHODS]
    published = found["published"]
    sentence = (
        f"UCF101 (protocol `{found['protocol']}`: {found['count']} triplets, two frames in). "
        "Columns in italics are as the papers state them; all others are computed here."
    )
    head = [
        "UCF101",
        *(title for _, title in TRIPLET_METHODS),
        *(f"*{name}*" for name in published),
    ]
    rows = [
        [
            "PSNR, dB",
            *(f"{each['psnr']:.2f}" for each in scores),
            *(f"*{paper['psnr']:.2f}*" for paper in published.values()),
        ],
        [
            "SSIM as RIFE computes it",
            *(f"{each['ssim_rife']:.3f}" for each in scores),
            *(f"*{paper['ssim']:.3f}*" for paper in published.values()),
        ],
    ]
    return [wrap(sentence), table([head, *rows])]


# -- all weights ----------------------------------------------------------------------------------


def sets(records: Iterable[dict]) -> str:
    """A row for each of the weights that ship: what they are trained on, their scores, a call."""
    rows = []
    for record in sorted(records, key=lambda record: record["name"]):
        mean = record["scores"]["mean"]
        triplets = record.get("ucf101")
        rows.append(
            [
                f"`{record['name']}`",
                trained_on(record),
                f"{(mean.get('val') or mean['all'])['lift_15']['psnr']:.2f}",
                f"{triplets['scores']['lift_2']['psnr']:.2f}" if triplets else "",
                f"`{loading_call(record['name'])}`",
            ]
        )
    head = ["weights", "trained on", "`val` clips, PSNR in dB", "UCF101, PSNR in dB", "load"]
    return table([head, *rows])


def _cells(found: dict[str, dict], methods: Iterable[tuple[str, str]]) -> list[str]:
    gains = [found["lift_15"]["psnr"] - found[method]["psnr"] for method, _ in GAINS]
    return [
        *(f"{found[m]['psnr']:.2f} / {found[m]['ssim']:.4f}" for m, _ in methods),
        *(f"{gain:+.2f}" for gain in gains),
    ]


BLOCKS: dict[str, Callable[[dict], str]] = {
    "facts": facts,
    "data": data,
    "scores": scores,
    "summary": summary,
}
ALL_SETS = ("all", "sets")  # the block that is of no single name


# -- documents -------------------------------------------------------------------------------------


def read_records(folder: Path) -> dict[str, dict]:
    """The records of weights in a folder by name, such as `tiny`; other files are left alone."""
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.is_file()
    }


def update(folder: Path) -> list[Path]:
    """Generate all blocks of the model card in a folder of weights.

    For the project's own folder also those of its README.

    Returns:
        The documents that changed.
    """
    records = read_records(folder)
    documents = [folder / "README.md"]
    if folder.resolve() == FOLDER and README.is_file():
        documents.append(README)
    changed = []
    for path in documents:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        text = before
        for name in records if path == documents[0] else ():
            text = add_section(text, name)
        text = fill_blocks(text, records)
        if text != before:
            with atomic(path) as part:
                part.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def main(argv: list[str]) -> None:
    """Generate the blocks and print which documents changed."""
    parser = Parser(
        prog="python -m lift.release.model_card",
        description=__doc__,
        epilog="Copy files that lift.release.export wrote elsewhere into the folder first.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=FOLDER,
        help="folder of the weights (default lift/weights)",
    )
    for path in update(parser.parse_args(argv).folder):
        print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(run(main))
