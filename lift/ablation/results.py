"""What an ablation found, per run and target, and the rows of its table."""

from dataclasses import asdict, dataclass

from lift import provenance
from lift.ablation.runs import BASELINES, baseline_scores, method, run_scores, training_result
from lift.ablation.scores import ScoringSet
from lift.ablation.variants import Run
from lift.evaluation.motion_classes import CLASSES, classify
from lift.evaluation.protocols import real16
from lift.training import checkpoints

MEAN = "mean"
COLUMNS = (MEAN, *CLASSES)


def collect(
    runs: list[Run], scoring_set: ScoringSet, context_frames: list[int], about: dict
) -> dict:
    """Everything about the runs that have all their scores; JSON-able.

    Args:
        runs: of the ablation.
        scoring_set: the targets.
        context_frames: the numbers of input frames that models were scored with.
        about: what else to record of the ablation.

    Returns:
        "targets": clip, target, motion classes and statistics of each; "methods": for each variant,
        seed and number of input frames its facts and "psnr", in the order of the targets. A method
        whose "trained" is true is a run, "baseline" marks the classical methods.
    """
    shared = baseline_scores(scoring_set)
    motion = shared.motion(scoring_set.targets)
    places = [(clip, k) for clip, each in scoring_set.targets.items() for k in each]
    methods = [
        entry
        for n in context_frames
        for run in runs
        if (entry := _run_entry(run, scoring_set, n)) is not None
    ]
    for name in BASELINES:
        psnr = shared.values(name, scoring_set.targets)
        methods.append(_entry(name, real16.PATH_FRAMES.get(name, 2), psnr, baseline=True))
    return {
        "protocol": real16.NAME,
        "description": real16.DESCRIPTION,
        "targets_per_clip": len(next(iter(scoring_set.targets.values()))),
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


def _entry(variant: str, frames: int, psnr: list[float], **facts) -> dict:
    return {
        "variant": variant,
        "context_frames": frames,
        "seed": None,
        "trained": False,
        "baseline": False,
        "parameters": None,
        "steps": None,
        "seconds_per_step": None,
        "flops": None,
        "milliseconds": None,
        **facts,
        "psnr": psnr,
    }


def _run_entry(run: Run, scoring_set: ScoringSet, frames: int) -> dict | None:
    """A run's facts and scores; None where it is not finished."""
    facts: dict = {"seed": run.seed, "trained": run.config is not None}
    if run.config is not None:
        result = training_result(run)
        if result is None:
            return None
        found = checkpoints.latest(run.folder / "checkpoint")
        history = checkpoints.read_summary(found)[1]["history"]
        seconds, steps = (sum(part[key] for part in history) for key in ("seconds", "steps"))
        facts |= {"steps": result.step, "seconds_per_step": seconds / max(1, steps)}
    scores = run_scores(run, scoring_set)
    cost = scores.content.get("cost", {}).get(str(frames))
    if cost is None or not scores.complete(method(frames), scoring_set.targets):
        return None
    facts |= {"parameters": scores.content["parameters"], **cost}
    return _entry(run.variant, frames, scores.values(method(frames), scoring_set.targets), **facts)


# -- rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A mean over seeds, dB; `spread` is half the range, None for a single value."""

    mean: float
    spread: float | None = None


@dataclass(frozen=True)
class Row:
    """A variant with a number of input frames, over its seeds.

    Attributes:
        variant, context_frames: which.
        baseline: whether it is a classical method.
        seeds: of its runs; empty where it is not trained.
        facts: parameters, steps, seconds_per_step, flops, milliseconds; None where unknown.
        values: PSNR by column of COLUMNS; None for a class without targets.
        gains: the same less that of the first trained variant, seed by seed.
    """

    variant: str
    context_frames: int
    baseline: bool
    seeds: list[int]
    facts: dict[str, float | None]
    values: dict[str, Value | None]
    gains: dict[str, Value | None]


FACTS = ("parameters", "steps", "seconds_per_step", "flops", "milliseconds")


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
    groups: dict[tuple[str, int], list[dict]] = {}
    for entry in results["methods"]:
        groups.setdefault((entry["variant"], entry["context_frames"]), []).append(entry)
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
            {column: _over_seeds(means[key], column) for column in COLUMNS},
            _gains(means, key, _standard(results, key[1])),
        )
        for key, entries in groups.items()
    ]


def _standard(results: dict, frames: int) -> tuple[str, int] | None:
    """What others are compared with: the first trained variant, if possible with as many frames."""
    trained = [entry for entry in results["methods"] if entry["trained"]]
    if not trained:
        return None
    first = trained[0]["variant"]
    known = [entry["context_frames"] for entry in trained if entry["variant"] == first]
    return first, frames if frames in known else max(known)


def context_gains(results: dict) -> dict[str, dict[str, Value | None]]:
    """Gain of each variant's most input frames over its fewest, seed by seed, by column."""
    frames = sorted({e["context_frames"] for e in results["methods"] if not e["baseline"]})
    if len(frames) < 2:
        return {}
    means: dict = {}
    for entry in results["methods"]:
        if not entry["baseline"] and entry["context_frames"] in (frames[0], frames[-1]):
            key = entry["variant"], entry["context_frames"]
            columns = column_means(entry["psnr"], results["targets"])
            means.setdefault(key, {})[entry["seed"]] = columns
    names = dict.fromkeys(variant for variant, _ in means)
    return {name: _gains(means, (name, frames[-1]), (name, frames[0])) for name in names}


def _gains(means: dict, key: tuple, standard: tuple | None) -> dict[str, Value | None]:
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
    values = [entry[name] for entry in entries]
    return None if None in values else _mean(values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
