"""What an evaluation of a test set leaves: a row per sample and method, means, and a table."""

import csv
import hashlib
import io
import statistics
from collections.abc import Sequence

import numpy as np

from lift import provenance
from lift.evaluation.builtin_methods import SavedFrames
from lift.evaluation.methods import Method
from lift.evaluation.report import aligned
from lift.evaluation.samples import Sample, TestSet
from lift.evaluation.scoring import METRICS, VERSION

PRINTED_GROUPS = 16  # more groups are in the JSON file only
PRINTED_DIGITS = {"psnr": 2, "psnr_float": 2, "ssim": 4, "ssim_rife": 4, "lpips": 4}


def identity(
    test_set: TestSet,
    samples: Sequence[Sample],
    methods: Sequence[Method | SavedFrames],
    metrics: Sequence[str],
) -> dict:
    """What the rows of an evaluation depend on, JSON-able."""
    names = "\n".join(f"{sample.group} {sample.name}" for sample in samples)
    versions = {"definitions": VERSION}
    if "lpips" in metrics:
        versions["torchmetrics"] = provenance.version("torchmetrics")
    return {
        "protocol": test_set.name,
        "description": test_set.description,
        "samples": {
            "count": len(samples),
            "sha256": hashlib.sha256(names.encode()).hexdigest(),
        },
        "methods": {method.name: method.about for method in methods},
        "metrics": list(metrics),
        "versions": versions,
    }


def csv_text(samples: Sequence[Sample], rows: dict[str, dict], identity: dict) -> str:
    """A line per sample and method, in the order of the samples.

    Nothing in it depends on time, so that a resumed or sharded evaluation gives the same bytes.
    """
    metrics, text = identity["metrics"], io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "group", "method", *metrics])
    for sample in samples:
        for method in identity["methods"]:
            scores = rows[sample.name]["scores"][method]
            values = [f"{scores[name]:.{METRICS[name].digits}f}" for name in metrics]
            writer.writerow([sample.name, sample.group, method, *values])
    return text.getvalue()


def summarize(
    test_set: TestSet, samples: Sequence[Sample], rows: dict[str, dict], identity: dict
) -> dict:
    """Means, by method and group, of the rows of all samples.

    Returns:
        JSON-able: {"protocol", "description", "count": samples of the whole set or None,
        "samples": [name], "scores": {method: {metric: mean, "psnr_each": [...]}}, "groups":
        {group: {"samples": number, "scores": {method: {metric: mean}}}}, "published": {model:
        [{"psnr", "ssim", "source", "group", "inputs"}]}, "methods": {method: where from},
        "ms_per_frame": {method: median}, "peak_memory": {method: bytes that CUDA allocated},
        "peak_process_memory": bytes of main memory, "identity"}; PSNR in dB.
    """
    ordered = [rows[sample.name] for sample in samples]
    metrics, methods = identity["metrics"], list(identity["methods"])
    scores = {method: _means(ordered, method, metrics) for method in methods}
    for method, means in scores.items():
        means["psnr_each"] = [round(row["scores"][method]["psnr"], 3) for row in ordered]
    groups: dict[str, list[dict]] = {}
    for row in ordered:
        if row["group"]:
            groups.setdefault(row["group"], []).append(row)
    times = {m: [row["seconds"][m] for row in ordered if m in row["seconds"]] for m in methods}
    memory = {m: [row["memory"][m] for row in ordered if m in row["memory"]] for m in methods}
    return {
        "protocol": test_set.name,
        "description": test_set.description,
        "count": test_set.count,
        "samples": [sample.name for sample in samples],
        "scores": scores,
        "groups": {
            group: {
                "samples": len(members),
                "scores": {method: _means(members, method, metrics) for method in methods},
            }
            for group, members in groups.items()
        },
        "published": {
            name: [vars(score) for score in each] for name, each in test_set.published.items()
        },
        "methods": identity["methods"],
        "ms_per_frame": {
            m: round(1000 * statistics.median(each), 3) for m, each in times.items() if each
        },
        "peak_memory": {m: max(each) for m, each in memory.items() if each},
        "peak_process_memory": max(row["process_memory"] for row in ordered),
        "identity": identity,
    }


def _means(rows: list[dict], method: str, metrics: Sequence[str]) -> dict[str, float]:
    return {m: float(np.mean([row["scores"][method][m] for row in rows])) for m in metrics}


# -- table -----------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """The means as a table under the protocol's name and definition, beside published scores."""
    metrics = result["identity"]["metrics"]
    groups = result["groups"] if len(result["groups"]) <= PRINTED_GROUPS else {}
    whole = {"samples": len(result["samples"]), "scores": result["scores"]}
    blocks = groups if len(groups) == 1 else {**groups, "all": whole}
    last = list(blocks)[-1]  # of all samples
    head = [f"protocol {result['protocol']}", "samples", "method"]
    head += [METRICS[name].title for name in metrics]
    timed, memory = result["ms_per_frame"], result["peak_memory"]
    head += ["ms/frame"] if timed else []
    head += ["GPU MiB"] if memory else []
    lines = []
    for group, block in blocks.items():
        for method, means in block["scores"].items():
            line = [group, str(block["samples"]), method]
            line += [f"{means[name]:.{PRINTED_DIGITS.get(name, 3)}f}" for name in metrics]
            line += [_cell(timed.get(method), 1) if group == last else ""] if timed else []
            if memory:
                mebibytes = memory[method] / 2**20 if method in memory else None
                line += [_cell(mebibytes, 0) if group == last else ""]
            lines.append(line)
        lines += [
            _published(model, score, head, metrics)
            for model, scores in result["published"].items()
            for score in scores
            if (score["group"] or last) == group
        ]
    parts = [aligned([head, *lines], left=3), f"protocol: {result['description']}"]
    if result["count"] is not None and len(result["samples"]) != result["count"]:
        parts.append(f"means of {len(result['samples'])} of the {result['count']} samples")
    if result["published"]:
        parts.append(
            "published: as the source states it, under its own rounding and SSIM, on the whole set"
        )
    process = result["peak_process_memory"] / 2**20
    parts.append(
        "PSNR in dB; IE in levels of 255; ms/frame: median; "
        f"peak memory of the process: {process:.0f} MiB"
    )
    return "\n".join(parts)


def _published(model: str, score: dict, head: list[str], metrics: Sequence[str]) -> list[str]:
    line = [""] * len(head)
    inputs = f", {score['inputs']} frames" if score["inputs"] != 2 else ""
    line[0] = score["group"] or "all"
    line[2] = f"{model} (published: {score['source']}{inputs})"
    line[3 + metrics.index("psnr")] = _cell(score["psnr"], 2)
    line[3 + metrics.index("ssim_rife")] = _cell(score["ssim"], 3)
    return line


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
