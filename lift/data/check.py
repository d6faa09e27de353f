"""Look for damage in a data set before anything is trained on it."""

import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from lift.data.layouts import Entry, Layout
from lift.data.sequences import Sequence, open_entry
from lift.errors import LiftError
from lift.io.video_index import IndexedVideo
from lift.scenes.detector import CutDetector

MIN_FRAMES = 3  # frames: two references and a target
MIN_DIFFERENCE = 0.25  # mean difference of two frames, of 255, below which nothing moves
MOSTLY = 0.9  # share of the sequences whose size is the usual one
NAMED = 3  # frames that a sentence names

# what stops a training, or makes its scores wrong; everything else is for information
SERIOUS = ("broken", "in two splits")


@dataclass(frozen=True)
class Finding:
    """Something about a sequence.

    Attributes:
        kind: broken, in two splits, duplicate, short, size, still, repeated frames or cuts.
        sequence: its name.
        split: its split, or None.
        text: what was found.
    """

    kind: str
    sequence: str
    split: str | None
    text: str

    @property
    def is_serious(self) -> bool:
        """Whether training would stop at it, or scores would be wrong."""
        return self.kind in SERIOUS


@dataclass(frozen=True)
class Facts:
    """What reading a whole sequence has shown.

    Attributes:
        frames: number of frames that could be read.
        size: (H, W), or None where nothing could be opened.
        digest: of the first, middle and last frame.
        findings: (kind, text) each.
    """

    frames: int
    size: tuple[int, int] | None
    digest: str
    findings: tuple[tuple[str, str], ...]


def check(layout: Layout, workers: int = 0, progress=iter) -> Iterator[Finding]:
    """Read every frame of every sequence.

    Args:
        layout: of the data set.
        workers: processes; 0 reads here.
        progress: wraps the sequences' results, for example with a progress bar.

    Yields:
        Findings in the order of the sequences; what compares sequences at the end.
    """
    entries = layout.entries
    facts = []
    for entry, found in zip(entries, progress(_all_facts(entries, workers)), strict=True):
        facts.append(found)
        for kind, text in found.findings:
            yield Finding(kind, entry.name, entry.split, text)
    yield from _other_sizes(entries, facts)
    yield from _duplicates(entries, facts)


def summary(layout: Layout, findings: list[Finding]) -> dict:
    """Everything that was found; JSON-able."""
    return {
        "root": str(layout.root),
        "layout": layout.name,
        "rule": layout.rule,
        "sequences": len(layout.entries),
        "splits": dict(Counter(entry.split or "" for entry in layout.entries)),
        "left_out": layout.left_out,
        "findings": [asdict(finding) | {"serious": finding.is_serious} for finding in findings],
    }


def _all_facts(entries: list[Entry], workers: int) -> Iterable[Facts]:
    if not workers:
        return map(facts_of, entries)
    return _in_processes(entries, workers)


def _in_processes(entries: list[Entry], workers: int) -> Iterator[Facts]:
    context = multiprocessing.get_context("spawn")  # FFmpeg's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(facts_of, entries)


# -- one sequence ----------------------------------------------------------------------------------


def facts_of(entry: Entry) -> Facts:
    """Read all frames of a sequence."""
    try:
        sequence = open_entry(entry)
    except (LiftError, OSError) as error:
        return Facts(0, None, "", (("broken", str(error)),))
    damaged: set[int] = set()
    digests: dict[int, str] = {}
    detector, decisions = CutDetector(), []
    last, repeated, moves, cause = None, [], False, ""
    for i, (frame, error) in enumerate(_frames(sequence)):
        if frame is None:
            damaged.update(_shows_damage(sequence, i))
            cause = cause or error
            continue
        digests[i] = hashlib.sha1(frame.tobytes()).hexdigest()
        if last is not None:
            difference = float(np.abs(frame.astype(np.int16) - last).mean())
            moves |= difference >= MIN_DIFFERENCE
            if difference == 0:
                repeated.append(i)
        decisions += detector.feed(frame)
        last = frame
    decisions += detector.finish()
    numbers, count = sorted(digests), len(sequence) - len(damaged)
    chosen = {numbers[k] for k in (0, len(numbers) // 2, -1)} if numbers else set()
    digest = "".join(digests[i] for i in sorted(chosen))
    findings = []
    if damaged:
        names = _some(sequence, sorted(damaged))
        findings.append(("broken", f"{_frames_in_words(len(damaged))} damaged: {names} ({cause})"))
    if count < MIN_FRAMES:
        findings.append(("short", f"{_frames_in_words(count)}; {MIN_FRAMES} are needed at least"))
    elif not moves:
        findings.append(("still", f"nothing moves in its {count} frames"))
    elif repeated:
        names = _some(sequence, repeated)
        text = f"{_frames_in_words(len(repeated))} as the one before: {names}"
        findings.append(("repeated frames", text))
    cuts = [i for i, opens_shot in enumerate(decisions) if opens_shot]
    if cuts and entry.cuts is None:
        findings.append(("cuts", f"scene cuts ({len(cuts)}) before: {_some(sequence, cuts)}"))
    return Facts(count, sequence.size, f"{sequence.size}{digest}", tuple(findings))


def _frames(sequence: Sequence) -> Iterator[tuple[np.ndarray | None, str]]:
    """The frames of a sequence, None where one is damaged, with the cause."""
    if isinstance(sequence, IndexedVideo):
        for frame, is_damaged in sequence.all_frames():
            yield (None, "FFmpeg finds errors in it") if is_damaged else (frame, "")
        return
    for i in range(len(sequence)):
        try:
            yield sequence.read([i])[0], ""
        except LiftError as error:
            yield None, str(error)


def _shows_damage(sequence: Sequence, i: int) -> list[int]:
    """The frames that the damage of frame i may be seen in."""
    return sequence.predicted_from(i) if isinstance(sequence, IndexedVideo) else [i]


def _frames_in_words(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"


def _some(sequence: Sequence, numbers: list[int]) -> str:
    """The first of these frames by the names of their files, or by their numbers."""
    files = getattr(sequence, "files", None)
    names = [files[i].name if files else str(i) for i in numbers[:NAMED]]
    return ", ".join(names) + (", ..." if len(numbers) > NAMED else "")


# -- all sequences ---------------------------------------------------------------------------------


def _other_sizes(entries: list[Entry], facts: list[Facts]) -> Iterator[Finding]:
    sizes = Counter(found.size for found in facts if found.size)
    if not sizes:
        return
    usual, count = sizes.most_common(1)[0]
    if count < MOSTLY * sum(sizes.values()):
        return  # a data set of many sizes
    for entry, found in zip(entries, facts, strict=True):
        if found.size and found.size != usual:
            text = f"{found.size[1]}x{found.size[0]}, where most are {usual[1]}x{usual[0]}"
            yield Finding("size", entry.name, entry.split, text)


def _duplicates(entries: list[Entry], facts: list[Facts]) -> Iterator[Finding]:
    first: dict[str, Entry] = {}
    for entry, found in zip(entries, facts, strict=True):
        if not found.frames:
            continue
        other = first.setdefault(found.digest, entry)
        if other is not entry:
            text = f"the same frames as {other.name}"
            if other.split == entry.split:
                yield Finding("duplicate", entry.name, entry.split, text)
            else:
                text += f" of the split {other.split!r}"
                yield Finding("in two splits", entry.name, entry.split, text)
