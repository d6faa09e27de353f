"""The facts of bundled weights: how to load them, what made them, and how they are stored."""

from collections.abc import Iterable

from lift.config.old_names import current_flag
from lift.model.bundled import loading_call
from lift.release.markdown import table, wrap_command
from lift.release.sources import FIELD


def facts(record: dict) -> str:
    """A table of the weights, then the command of each phase."""
    phases = record["phases"]
    entries = [entry for phase in phases for entry in phase["history"]]
    several = len(phases) > 1
    hardware = _unique(
        f"{e['hardware']}, {e['precision']}, torch {e['torch']}" for e in entries if e["hardware"]
    )
    seconds, samples = sum(e["seconds"] for e in entries), sum(p["samples"] for p in phases)
    rows = [
        ["", ""],
        ["load", f"`{loading_call(record['name'])}`, `--checkpoint {record['name']}`"],
        ["trained on", trained_on(record)],
        ["chosen on `val`", _chosen(record)],
        [
            "file, SHA-256",
            ", ".join(f"`{name}`: `{digest}`" for name, digest in record["files"].items()),
        ],
        ["parameters", f"{record['parameters']:,}, {_storage(record)}"],
        ["hardware", "; ".join(hardware) or "not recorded"],
        [
            "duration, samples",
            f"{_duration(seconds)}; {samples:,} samples",
        ],
        ["curve", "`{0}_curve.csv`, `{0}_curve.png`".format(record["name"])],
    ]
    common = [
        flag
        for name, flag in phases[0]["flags"].items()
        if all(phase["flags"].get(name) == flag for phase in phases)
    ]
    sentence = "One run"
    if several:
        sentence = (
            f"{_number(len(phases))} phases, each from the averaged weights of the one before "
            "where the table names no others"
        )
    if record["weights"] != "last.safetensors":
        sentence += f" (shipped: `{record['weights']}`)"
    sentence += ". `D` is the folder of clips."
    words = ["lift train", *map(current_flag, common)]
    if several:
        sentence += " The command of every phase is"
        words.append(" # and the flags below")
    command = wrap_command(words)
    steps = [
        ["phase", "commit", "flags", "steps", "seconds"],
        *(_phase(phase, common) for phase in phases),
    ]
    modified = any(e["commit"].endswith("+") for e in entries)
    plus = ["A + after a commit: tracked files were modified."] if modified else []
    return "\n\n".join([table(rows), sentence, f"```bash\n{command}\n```", table(steps), *plus])


def trained_on(record: dict) -> str:
    """Kinds and number of the training clips, and how many may be redistributed."""
    found = record["data"]
    kinds = ["synthetic motion"] if found["synthetic"] else []
    if clips := found["train"]:
        count = sum(clip[FIELD] for clip in clips)
        share = "all" if count == len(clips) else f"{count} of them"
        noun = "clip" if len(clips) == 1 else "clips"
        kinds.append(f"{len(clips)} {noun}, {share} with footage that may be redistributed")
    return " and ".join(kinds)


def _chosen(record: dict) -> str:
    """What the validation clips decided."""
    steps = {
        "last.safetensors": "not the step (the last one ships)",
        "best.safetensors": "the step of highest PSNR",
    }
    step = steps.get(record["weights"], "")  # other weights: their maker says how they were chosen
    return "; ".join(words for words in (step, record["chosen"]) if words)


def _storage(record: dict) -> str:
    """The dtypes of a file, and what storing in them changed."""
    counts = dict(sorted(record["stored"].items(), key=lambda item: -item[1]))
    (main, _), *others = counts.items()
    text = f"stored in {main}"
    for dtype, count in others:
        text += f", {count:,} of them in {dtype}"
    if rounding := record.get("rounding"):
        text += (
            f"; PSNR on {rounding['clips']} clips differs from that of float32 weights by at most "
            f"{rounding['largest']:.4f} dB (`{rounding['clip']}`), the mean by "
            f"{rounding['mean'] - rounding['mean_float32']:+.4f} dB"
        )
    return text


def _phase(phase: dict, common: list[str]) -> list[str]:
    """A row of the table of phases."""
    history, total = phase["history"], phase["total_steps"]
    commits = [
        f"`{c[:7]}{'+' * c.endswith('+')}`"
        for c in _unique(entry["commit"] for entry in history if entry["commit"])
    ]
    own = " ".join(current_flag(f) for f in phase["flags"].values() if f not in common)
    wanted = f" of {total:,}" if total not in (None, phase["steps"]) else ""
    return [
        phase["name"] + (f", from `{phase['start']}`" if phase["start"] else ""),
        ", ".join(commits) or "not recorded",
        f"`{own}`" if own else "no others",
        f"{phase['steps']:,}{wanted}",
        f"{sum(entry['seconds'] for entry in history):,.0f}",
    ]


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _number(n: int) -> str:
    words = "Two Three Four Five Six Seven Eight Nine".split()
    return words[n - 2] if 2 <= n <= 9 else str(n)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
    )
