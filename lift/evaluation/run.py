"""Running an evaluation of a test set: shards, resumption, and the files it leaves."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lift.errors import LiftError
from lift.evaluation import summary
from lift.evaluation.builtin_methods import SavedFrames
from lift.evaluation.frames import FrameReader
from lift.evaluation.methods import Method
from lift.evaluation.rows import RowStore, check_identity
from lift.evaluation.samples import Sample, TestSet
from lift.evaluation.scoring import saved_path, score_sample
from lift.files import atomic

# (samples that are left, number of those already scored) -> the samples, with a progress bar
Progress = Callable[[list[Sample], int], Iterable[Sample]]


@dataclass(frozen=True)
class Shard:
    """One of several processes that score a test set together.

    Attributes:
        index: from 0.
        count: number of processes.
    """

    index: int = 0
    count: int = 1

    @property
    def name(self) -> str:
        """As --shard takes it, with a word in place of the slash."""
        return f"{self.index + 1}-of-{self.count}"


def shard_of_torchrun() -> Shard:
    """The shard of this process among those that torchrun started; the only one without it."""
    return Shard(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


class Evaluation:
    """An evaluation of methods on samples of a test set.

    Args:
        test_set: the protocol.
        samples: those to score, at least one.
        methods: methods under test, each with a name of its own.
        metrics: see `choose_metrics`.
        output: the JSON file; the CSV file and, until the end, the folder of rows lie beside it.
            None keeps everything in memory.
        shard: which of the samples this process scores.
        save_to: see `score_sample`.

    Raises:
        LiftError: two methods, or two samples, have one name.
    """

    def __init__(
        self,
        test_set: TestSet,
        samples: Sequence[Sample],
        methods: Sequence[Method | SavedFrames],
        metrics: Sequence[str],
        output: str | Path | None = None,
        shard: Shard | None = None,
        save_to: Path | None = None,
    ):
        self.test_set, self.samples, self.methods = test_set, list(samples), list(methods)
        self.metrics, self.shard, self.save_to = list(metrics), shard or Shard(), save_to
        names = [method.name for method in methods]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise LiftError(f"two methods are called {repeated[0]}; rename one of them")
        counts = Counter(sample.name for sample in self.samples)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise LiftError(
                f"sample {twice[0]} is in the test set twice; remove it once, such as from its list"
            )
        self.identity = summary.identity(test_set, self.samples, self.methods, metrics)
        self.output = None if output is None else Path(output)
        self.rows: dict[str, dict] = {}
        self.store = None
        if self.output is not None:
            folder = self.output.with_suffix(".rows")
            self.store = RowStore(folder, self.identity, self.shard.name)

    @property
    def csv_path(self) -> Path:
        """The CSV file beside the JSON file."""
        return self.output.with_suffix(".csv")

    @property
    def complete(self) -> bool:
        """Whether every sample is scored."""
        return all(sample.name in self.rows for sample in self.samples)

    def restart(self) -> None:
        """Remove the rows of an earlier evaluation; its result stays until the new one is there."""
        self.store.remove()

    def finished(self) -> dict | None:
        """The result of this evaluation if it is at `output` already.

        Raises:
            LiftError: the rows or the result there are of another evaluation.
        """
        self.store.check()
        if self.store.exists():
            return None
        if not self.output.is_file():
            if self.csv_path.exists():
                check_identity(self.csv_path, {}, self.identity)
            return None
        try:
            result = json.loads(self.output.read_text(encoding="utf-8"))
            stored = result.get("identity", {})
        except (ValueError, AttributeError):
            stored = {}
        check_identity(self.output, stored, self.identity)
        return result if all(map(self._has_frames, self.samples)) else None

    def run(self, progress: Progress) -> dict | None:
        """Score what is left of this process's samples.

        Returns:
            The result once all samples of all processes are scored, else None; see `summarize`.

        Raises:
            LiftError: a frame cannot be read, a method fails, or a row cannot be written.
        """
        self.rows = self.store.read() if self.store else {}
        mine = self.samples[self.shard.index :: self.shard.count]
        left = [
            sample
            for sample in mine
            if sample.name not in self.rows or not self._has_frames(sample)
        ]
        reader = FrameReader(self.test_set.prepare)
        try:
            for sample in progress(left, len(mine) - len(left)):
                row = score_sample(sample, self.methods, reader, self.metrics, self.save_to)
                self.rows[sample.name] = row
                if self.store:
                    self.store.append(row)
        finally:
            if self.store:
                self.store.close()
        if self.store:
            self.rows = self.store.read() | self.rows
        if not self.complete:
            return None
        return summary.summarize(self.test_set, self.samples, self.rows, self.identity)

    def _has_frames(self, sample: Sample) -> bool:
        """Whether the frames of a sample are saved, where they are to be."""
        return self.save_to is None or all(
            saved_path(self.save_to, method.name, sample.name).is_file() for method in self.methods
        )

    def write(self, result: dict) -> None:
        """Write the CSV and the JSON file, and remove the rows.

        Raises:
            OSError: a file cannot be written; the rows then stay.
        """
        with atomic(self.csv_path) as part:
            part.write_text(summary.csv_text(self.samples, self.rows, self.identity))
        with atomic(self.output) as part:
            part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        self.store.remove()
