"""What a run's data are: layout, splits, sequences, and what was left out and why."""

from dataclasses import asdict

from lift.data.dataset import ClipDataset
from lift.data.layouts import in_words

NAMED = 3  # names of left out sequences in a line; the file has all


def to_dict(train: ClipDataset, val: ClipDataset) -> dict:
    """Everything about the data of a run; JSON-able.

    Returns:
        "source", "data_root" and, where there are files, "layout", "rule" (what decides the
        splits), "notes", and for "train" and "val": "split", "sequences", "frames", "smallest" and
        "largest" ([W, H], pixels), "clips" (of an epoch, or of a validation), "names",
        "left_out" ({reason: [names]}) and "scans" (cuts and damaged frames by name).
    """
    config = train.config
    found = {"source": config.data_source, "data_root": config.data_root}
    if train.opened is not None:
        layout = train.opened.layout
        found |= {"layout": layout.name, "rule": layout.rule, "found_in": str(layout.root)}
        found["notes"] = list(dict.fromkeys([*train.opened.notes, *val.opened.notes]))
    return found | {"train": _split(train), "val": _split(val)}


def describe(train: ClipDataset, val: ClipDataset) -> list[str]:
    """The same in a few lines for people."""
    found = to_dict(train, val)
    if train.opened is None:
        return [f"data: synthetic, {len(train)} clips an epoch, {len(val)} for validation"]
    rule = f" ({found['rule']})" if found["rule"] else ""
    lines = [f"data: {found['found_in']}, {found['layout']}{rule}"]
    for name in ("train", "val"):
        each = found[name]
        sizes = " to ".join(
            dict.fromkeys("x".join(map(str, each[key])) for key in ("smallest", "largest"))
        )
        lines.append(
            f"  {name}: {in_words(each['sequences'])} of the split {each['split']!r}, "
            f"{each['frames']} frames of {sizes}; {each['clips']} clips"
            + (" an epoch" if name == "train" else "")
        )
    lines += [f"  {note}" for note in found["notes"]]
    left_out: dict[str, list[str]] = {}
    for name in ("train", "val"):
        for reason, names in found[name]["left_out"].items():
            known = left_out.setdefault(reason, [])
            known += [each for each in names if each not in known]
    for reason, names in left_out.items():
        more = ", ..." if len(names) > NAMED else ""
        lines.append(f"  left out, {reason}: {len(names)} ({', '.join(names[:NAMED])}{more})")
    return lines


def _split(dataset: ClipDataset) -> dict:
    sizes = sorted((s.size[::-1] for s in dataset.sequences), key=lambda size: size[0] * size[1])
    return {
        "split": dataset.opened.split if dataset.opened else None,
        "sequences": len(dataset.sequences),
        "frames": sum(map(len, dataset.sequences)),
        "smallest": list(sizes[0]) if sizes else None,
        "largest": list(sizes[-1]) if sizes else None,
        "clips": len(dataset),
        "names": [sequence.name for sequence in dataset.sequences],
        "left_out": dataset.opened.left_out if dataset.opened else {},
        "scans": {n: asdict(s) for n, s in dataset.opened.scans.items()} if dataset.opened else {},
    }
