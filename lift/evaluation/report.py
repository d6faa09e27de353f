"""The scores of a protocol as a table, under the protocol's name."""

# the baselines of every comparison, and their names in a file of recorded baselines
REFERENCES = (("average", "avg"), ("dis", "dis"))


def with_recorded(result: dict, recorded: dict | None) -> dict:
    """Scores by clip, with recorded ones of averaging and DIS where this run has none.

    Args:
        result: what a protocol's `score` returns.
        recorded: content of the baselines.json beside the clips, or None. Scores of a clip are used
            where they are of the same targets.

    Returns:
        {clip: {method: (psnr, ssim)}} for the methods that have scores for every clip.
    """
    known = (recorded or {}).get("clips", {})
    rows = {}
    for name, entry in result["clips"].items():
        rows[name] = {method: (s["psnr"], s["ssim"]) for method, s in entry["scores"].items()}
        stated = known.get(name, {})
        if stated.get("targets") != entry["targets"]:  # means over other frames do not compare
            continue
        for method, column in REFERENCES:
            if method not in rows[name] and column in stated.get("psnr_ssim", {}):
                rows[name][method] = tuple(stated["psnr_ssim"][column])
    everywhere = set.intersection(*(set(row) for row in rows.values()))
    return {
        name: {method: value for method, value in row.items() if method in everywhere}
        for name, row in rows.items()
    }


def differences(rows: dict[str, dict], method: str) -> dict[str, dict[str, float]]:
    """{clip: {baseline: PSNR gain of `method` over it, dB}} for the baselines among the rows."""
    return {
        name: {ref: row[method][0] - row[ref][0] for ref, _ in REFERENCES if ref in row}
        for name, row in rows.items()
    }


def table(result: dict, recorded: dict | None = None) -> str:
    """PSNR / SSIM by clip and method, PSNR gains over averaging and DIS, and the split means."""
    rows = with_recorded(result, recorded)
    methods = list(next(iter(rows.values())))
    scored = next(iter(result["clips"].values()))["scores"]
    gains = [
        (model, ref)
        for model in methods
        if model.startswith("lift")
        for ref, _ in REFERENCES
        if ref in methods
    ]
    head = [
        f"protocol {result['protocol']}",
        "split",
        *(m if m in scored else f"{m} (recorded)" for m in methods),
        *(f"{model} - {ref}" for model, ref in gains),
    ]
    splits = {name: str(result["clips"][name]["split"] or "") for name in rows}
    lines = [_cells(name, splits[name], row, gains) for name, row in rows.items()]
    groups = [split for split in dict.fromkeys(("train", "val", *splits.values())) if split]
    for group in (*groups, "all"):
        members = [row for name, row in rows.items() if group in ("all", splits[name])]
        if members and (group == "all" or len(members) < len(rows)):
            mean = {
                m: tuple(sum(row[m][i] for row in members) / len(members) for i in (0, 1))
                for m in methods
            }
            lines.append(_cells(f"mean of {len(members)}", group, mean, gains))
    return aligned([head, *lines]) + "\nPSNR dB / SSIM; gains in dB of PSNR"


def context_table(result: dict) -> str:
    """PSNR by kind and method, means by split, and what more input frames of lift gain."""
    methods = list(next(iter(result["mean"].values())))
    counts = sorted(int(m[5:]) for m in methods if m[5:].isdigit() and m.startswith("lift_"))
    gains = []
    if counts:
        most = counts[-1]
        others = [f"lift_{counts[0]}", "lift_4", f"lift_shuffled_{most}"]
        pairs = [(f"lift_{most}", other) for other in dict.fromkeys(others)]
        gains = [pair for pair in pairs if pair[1] in methods and pair[0] != pair[1]]
    short = {m: m.removeprefix("lift_").replace("shuffled_", "shuffled ") for m in methods}
    head = [
        f"protocol {result['protocol']}",
        "targets",
        *methods,
        *(f"{short[most]} - {short[other].split()[0]}" for most, other in gains),
    ]

    def line(name: str, targets: int, scores: dict) -> list[str]:
        psnrs = {method: scores[method]["psnr"] for method in methods}
        return [
            name,
            str(targets),
            *(f"{psnr:.2f}" for psnr in psnrs.values()),
            *(f"{psnrs[most] - psnrs[other]:+.2f}" for most, other in gains),
        ]

    clips = result["clips"]
    lines = [
        line(name, each["targets"], each["scores"])
        for name, each in clips.items()
        if each["split"] == "synthetic"
    ]
    for split, scores in result["mean"].items():
        members = [each for each in clips.values() if each["split"] == split]
        what = "kinds" if split == "synthetic" else f"{split} clips"
        targets = sum(each["targets"] for each in members)
        lines.append(line(f"mean of {len(members)} {what}", targets, scores))
    return aligned([head, *lines]) + "\nPSNR dB; gains in dB"


def _cells(name: str, split: str, row: dict, gains: list[tuple[str, str]]) -> list[str]:
    scores = [f"{p:.2f} / {s:.4f}" for p, s in row.values()]
    return [name, split, *scores, *(f"{row[model][0] - row[ref][0]:+.2f}" for model, ref in gains)]


def aligned(lines: list[list[str]], left: int = 2) -> str:
    """Columns of text, the first `left` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
