"""The scores that `lift evaluate --output` wrote, sample by sample, and the worst of them."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lift.errors import LiftError
from lift.evaluation.worst import lowest

GAIN = "gain:"  # of --by, followed by the name of a method


@dataclass(frozen=True)
class SampleScores:
    """The scores of one sample.

    Attributes:
        name: of the sample in its test set.
        group: such as a clip; empty where the test set has none.
        methods: {method: {metric: value}}; PSNR in dB.
    """

    name: str
    group: str
    methods: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Scores:
    """An evaluation.

    Attributes:
        path: of its JSON file.
        protocol: the test set's name.
        description: how it chooses, prepares and scores frames.
        samples: in the order of the file.
        weights: SHA-256 of LIFT's weights; empty where none were scored.
        about: what the file states of a method, such as its weights.
    """

    path: Path
    protocol: str
    description: str
    samples: tuple[SampleScores, ...]
    weights: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that every sample has scores of, LIFT first."""
        common = [
            name
            for name in self.samples[0].methods
            if all(name in sample.methods for sample in self.samples)
        ]
        return tuple(sorted(common, key=lambda name: not is_lift(name)))

    @property
    def subject(self) -> str:
        """The method whose worst samples are looked for: LIFT with its most input frames."""
        lifts = [name for name in self.methods if is_lift(name)]
        return max(lifts, key=_frames_of) if lifts else self.methods[0]

    def worst(self, count: int, by: str) -> list[SampleScores]:
        """The worst samples, the worst one first; one of each group where there are enough.

        Args:
            count: number of samples to choose; all where there are fewer.
            by: `psnr`, the lowest PSNR, or `gain:METHOD`, the lowest gain over that method.

        Raises:
            LiftError: the method was not scored.
        """
        subject = self.subject
        other = by.removeprefix(GAIN) if by.startswith(GAIN) else None
        if other is not None and (other not in self.methods or other == subject):
            others = ", ".join(name for name in self.methods if name != subject) or "none"
            raise LiftError(
                f"--by {by}: {self.path} has no scores of {other} to compare {subject} with; "
                f"there are: {others}"
            )

        def value(sample: SampleScores) -> float:
            baseline = sample.methods[other]["psnr"] if other else 0.0
            return sample.methods[subject]["psnr"] - baseline

        groups = {sample.group for sample in self.samples}
        has_enough = len(groups) >= count
        return lowest(
            self.samples, value, lambda each: each.group if has_enough else each.name, count
        )


def is_lift(method: str) -> bool:
    """Whether the name of a method is LIFT's with some number of input frames: lift_15."""
    return method.startswith("lift_") and method.removeprefix("lift_").isdecimal()


def _frames_of(method: str) -> int:
    return int(method.removeprefix("lift_"))


def read_scores(path: str | Path) -> Scores:
    """The scores of an evaluation: its JSON file, and the CSV file of the same name where it is.

    Raises:
        LiftError: there is no such file, or it has no scores of samples.
    """
    path = Path(path)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        table = path.with_suffix(".csv")
        if table.is_file():
            samples = _of_table(table)
        elif "clips" in result:
            samples = _of_clips(result)
        else:
            samples = _of_samples(result)
        scores = Scores(
            path,
            result["protocol"],
            result.get("description", ""),
            tuple(samples),
            result.get("weights", {}).get("sha256", ""),
            dict(result.get("methods", {})),
        )
        _check(scores)
        return scores
    except FileNotFoundError:
        raise LiftError(
            f"{path}: no such file; give the JSON file that lift evaluate --output wrote"
        ) from None
    except OSError as error:
        raise LiftError(
            f"{path} cannot be read ({error.strerror}); give the JSON file that lift evaluate "
            "--output wrote"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise LiftError(
            f"{path} has no scores of samples ({type(error).__name__}: {error}); "
            "give the JSON file that lift evaluate --output wrote"
        ) from None


def _check(scores: Scores) -> None:
    if not isinstance(scores.protocol, str):
        raise TypeError(f"its protocol is {scores.protocol!r}")
    if not scores.samples or not scores.methods:
        raise ValueError("it is empty")
    for sample in scores.samples:
        for method in scores.methods:
            float(sample.methods[method]["psnr"])


def _of_table(path: Path) -> list[SampleScores]:
    """Of a table with a line for each sample and method."""
    samples: dict[str, SampleScores] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name, group, method = (row.pop(key) for key in ("sample", "group", "method"))
            sample = samples.setdefault(name, SampleScores(name, group, {}))
            sample.methods[method] = {key: float(value) for key, value in row.items() if value}
    return list(samples.values())


def _of_samples(result: dict) -> list[SampleScores]:
    """Of a test set's JSON file: the PSNR of each sample."""
    return [
        SampleScores(
            name,
            "",
            {method: {"psnr": each["psnr_each"][i]} for method, each in result["scores"].items()},
        )
        for i, name in enumerate(result["samples"])
    ]


def _of_clips(result: dict) -> list[SampleScores]:
    """Of protocol real16's JSON file: the PSNR of each target, named as in its table."""
    samples = []
    for clip, entry in result["clips"].items():
        if isinstance(entry["targets"], int):  # means alone, as long_context has them
            raise TypeError(f"protocol {result['protocol']} has means alone")
        for i, target in enumerate(entry["targets"]):
            methods = {
                method: {"psnr": each["psnr_each"][i]} for method, each in entry["scores"].items()
            }
            samples.append(SampleScores(f"{clip}/{target:06d}", clip, methods))
    return samples
