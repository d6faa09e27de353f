"""What an ablation found, per run and target, and the rows of its table."""

from dataclasses import asdict, dataclass

from lift import provenance
from lift.ablation.runs import (
    BASELINES,
    baseline_scores,
    method,
    run_scores,
    scorings,
    training_result,
)
from lift.ablation.scores import METRICS
from lift.ablation.scoring_set import ScoringSet
from lift.ablation.variants import Run
from lift.evaluation.motion_classes import CLASSES, classify
from lift.evaluation.protocols import real16
from lift.training import checkpoints

FACTS = ("parameters", "steps", "seconds_per_step", "flops", "bytes", "milliseconds")
MEAN = "mean"
COLUMNS = (MEAN, *CLASSES)


def collect(runs: list[Run], scoring_set: ScoringSet, about: dict) -> dict:
    """Everything about the runs that have all their scores; JSON-able.

    Args:
        runs: of the ablation.
        scoring_set: the targets.
        about: what else to record of the ablation.

    Returns:
        "targets": clip, target, motion classes and statistics of each; "methods": for each variant,
        seed and number of input frames its facts, "psnr" and "ssim", in the order of the targets. A
        method whose "trained" is true is a run, "baseline" marks the classical methods, "shuffled"
        the control with another clip's context.
    """
    shared = baseline_scores(scoring_set)
    motion = shared.motion(scoring_set.targets)
    places = [(clip, k) for clip, each in scoring_set.targets.items() for k in each]
    methods = [entry for run in runs for entry in _run_entries(run, scoring_set)]
    for name in BASELINES:
        scores = {metric: shared.values(name, scoring_set.targets, metric) for metric in METRICS}
        methods.append(_entry(name, real16.PATH_FRAMES.get(name, 2), scores, baseline=True))
    return {
        "protocol": real16.NAME,
        "description": real16.DESCRIPTION,
        "targets_per_clip": max(map(len, scoring_set.targets.values())),
        "left_out": scoring_set.left_out,
        **about,
        "classes": CLASSES,
        "targets": [
            {"clip": clip, "target": k, "classes": list(classify(m)), "motion": asdict(m)}
            for (clip, k), m in zip(places, motion, strict=True)
        ],
        "methods": methods,
        "commit": provenance.commit(),
        **provenance.of_scores(None),
    }


def _entry(variant: str, frames: int, scores: dict[str, list[float]], **facts) -> dict:
    return {
        "variant": variant,
        "context_frames": frames,
        "seed": None,
        "trained": False,
        "baseline": False,
        "shuffled": False,
        **dict.fromkeys(FACTS),
        **facts,
        **scores,
    }


def _run_entries(run: Run, scoring_set: ScoringSet) -> list[dict]:
    """A run's facts and scores for each number of input frames; none where it is not finished."""
    facts: dict = {"seed": run.seed, "trained": run.config is not None}
    if run.config is not None:
        result = training_result(run)
        if result is None:
            return []
        found = checkpoints.latest(run.folder / "checkpoint")
        history = checkpoints.read_summary(found)[1]["history"]
        seconds, steps = (sum(part[key] for part in history) for key in ("seconds", "steps"))
        facts |= {"steps": result.step, "seconds_per_step": seconds / max(1, steps)}
    scores, targets, entries = run_scores(run, scoring_set), scoring_set.targets, []
    for frames, shuffled in scorings(run, scoring_set):
        cost, name = scores.content.get("cost", {}).get(str(frames)), method(frames, shuffled)
        if cost is None or not scores.complete(name, targets):
            continue
        own = {**facts, "parameters": scores.content["parameters"], **cost, "shuffled": shuffled}
        values = {metric: scores.values(name, targets, metric) for metric in METRICS}
        entries.append(_entry(run.variant, frames, values, **own))
    return entries


# -- rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A mean over seeds; `spread` is half the range, None for a single value."""

    mean: float
    spread: float | None = None


@dataclass(frozen=True)
class Row:
    """A variant with a number of input frames, over its seeds.

    Attributes:
        variant, context_frames: which.
        shuffled: whether its context beyond the references is another clip's.
        baseline: whether it is a classical method.
        seeds: of its runs; empty where it is not trained.
        facts: see FACTS; None where unknown.
        ssim: the mean over clips.
        values: PSNR by column of COLUMNS; None for a class without targets.
        gains: the same less that of the first trained variant, seed by seed.
    """

    variant: str
    context_frames: int
    shuffled: bool
    baseline: bool
    seeds: list[int]
    facts: dict[str, float | None]
    ssim: Value
    values: dict[str, Value | None]
    gains: dict[str, Value | None]


def counts(results: dict) -> dict[str, int]:
    """Number of clips of the mean, and of targets of each class."""
    targets = results["targets"]
    return {MEAN: len({t["clip"] for t in targets})} | {
        name: sum(name in t["classes"] for t in targets) for name in CLASSES
    }


def column_means(psnr: list[float], targets: list[dict]) -> dict[str, float | None]:
    """The mean of the clips' means, and the mean over the targets of each class, dB."""
    clips: dict[str, list[float]] = {}
    for value, target in zip(psnr, targets, strict=True):
        clips.setdefault(target["clip"], []).append(value)
    means = {MEAN: _mean([_mean(each) for each in clips.values()])}
    for name in CLASSES:
        members = [v for v, t in zip(psnr, targets, strict=True) if name in t["classes"]]
        means[name] = _mean(members) if members else None
    return means


def by_clip(results: dict) -> tuple[list[tuple[str, int]], dict[str, list[float]]]:
    """PSNR of each clip, dB, the mean over seeds, with the most input frames of each method.

    Returns:
        Variant and number of input frames of each method, and their values by clip.
    """
    groups: dict[str, list[dict]] = {}
    for entry in results["methods"]:
        if entry["shuffled"]:
            continue
        group = groups.setdefault(entry["variant"], [])
        if group and group[0]["context_frames"] < entry["context_frames"]:
            group.clear()
        if not group or group[0]["context_frames"] == entry["context_frames"]:
            group.append(entry)
    clips = dict.fromkeys(target["clip"] for target in results["targets"])
    places = {c: [i for i, t in enumerate(results["targets"]) if t["clip"] == c] for c in clips}
    values = {
        clip: [_mean([e["psnr"][i] for e in group for i in where]) for group in groups.values()]
        for clip, where in places.items()
    }
    return [(name, group[0]["context_frames"]) for name, group in groups.items()], values


def rows(results: dict) -> list[Row]:
    """The rows of the table: variants by number of input frames, then the baselines."""
    groups: dict[Key, list[dict]] = {}
    for entry in results["methods"]:
        groups.setdefault(_key(entry), []).append(entry)
    means = {
        key: {e["seed"]: column_means(e["psnr"], results["targets"]) for e in entries}
        for key, entries in groups.items()
    }
    return [
        Row(
            *key,
            entries[0]["baseline"],
            [e["seed"] for e in entries if e["seed"] is not None],
            {name: _mean_fact(entries, name) for name in FACTS},
            _value([column_means(e["ssim"], results["targets"])[MEAN] for e in entries]),
            {column: _over_seeds(means[key], column) for column in COLUMNS},
            _gains(means, key, _standard(results, key[1])),
        )
        for key, entries in groups.items()
    ]


Key = tuple[str, int, bool]  # variant, number of input frames, whether context is shuffled


def _key(entry: dict) -> Key:
    return entry["variant"], entry["context_frames"], entry["shuffled"]


def _standard(results: dict, frames: int) -> Key | None:
    """What others are compared with: the first trained variant, if possible with as many frames."""
    trained = [e for e in results["methods"] if e["trained"] and not e["shuffled"]]
    if not trained:
        return None
    first = trained[0]["variant"]
    known = [entry["context_frames"] for entry in trained if entry["variant"] == first]
    return first, frames if frames in known else max(known), False


def context_gains(results: dict) -> dict[str, dict[str, Value | None]]:
    """Gain of each variant's most input frames over its fewest, seed by seed, by column.

    Of those that were scored with several numbers of them.
    """
    means: dict[str, dict[int, dict]] = {}
    for entry in results["methods"]:
        if not entry["baseline"] and not entry["shuffled"]:
            columns = column_means(entry["psnr"], results["targets"])
            frames = means.setdefault(entry["variant"], {}).setdefault(entry["context_frames"], {})
            frames[entry["seed"]] = columns
    return {
        f"{name}, {max(frames)} over {min(frames)}": _gains(frames, max(frames), min(frames))
        for name, frames in means.items()
        if len(frames) > 1
    }


def _gains(means: dict, key, standard) -> dict[str, Value | None]:
    """Differences in each column; of two trained variants those of their common seeds."""
    if standard is None or standard == key:
        return dict.fromkeys(COLUMNS)
    own, other = means.get(key, {}), means.get(standard, {})
    if None in own or None in other:  # one that has no seeds is compared with every seed
        pairs = [(a, b) for a in own.values() for b in other.values()]
    else:
        pairs = [(own[seed], other[seed]) for seed in own if seed in other]
    return {
        column: _value([a[column] - b[column] for a, b in pairs if a[column] is not None])
        for column in COLUMNS
    }


def _over_seeds(means: dict, column: str) -> Value | None:
    return _value([each[column] for each in means.values() if each[column] is not None])


def _value(values: list[float]) -> Value | None:
    if not values:
        return None
    spread = (max(values) - min(values)) / 2 if len(values) > 1 else None
    return Value(_mean(values), spread)


def _mean_fact(entries: list[dict], name: str) -> float | None:
    values = [entry.get(name) for entry in entries]
    return None if None in values else _mean(values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
