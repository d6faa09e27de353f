"""`python -m benchmarks.trees COMMIT`: time an earlier commit and this checkout in turn on the CPU.

The earlier commit is exported to build/trees and its C++ extension is built there. Streams of
`tiny` at three sizes, a video file and a training step run in processes of their own, each tree in
turn, so that what else the machine does slows both. The least times are printed; with --record all
are kept in benchmarks/results/cpu/trees.json, which docs/cost.md shows.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.tree_work import moving_frames
from benchmarks.report import cost
from lift.provenance import machine

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "benchmarks" / "harness" / "tree_work.py"
FILE_FRAMES, FILE_SIZE = 24, (720, 1280)


@dataclass(frozen=True)
class Workload:
    """What is timed: a name, and the arguments of `tree_work`; those of a file are added."""

    name: str
    arguments: tuple[str, ...]


WORKLOADS = (
    Workload("stream 256x448, a generated frame", ("stream", "256", "448", "12")),
    Workload("stream 720p, a generated frame", ("stream", "720", "1280", "8")),
    Workload("stream 1080p, a generated frame", ("stream", "1080", "1920", "5")),
    Workload("stream 720p in bfloat16", ("stream", "720", "1280", "8", "bfloat16")),
    Workload("stream 1080p in bfloat16", ("stream", "1080", "1920", "5", "bfloat16")),
    Workload("file 720p, 24 frames", ("file", "float32")),
    Workload("file 720p, 24 frames, in bfloat16", ("file", "bfloat16")),
    Workload("training step, 2 crops of 128x128", ("step", "128", "2", "7")),
)
TOY = (
    Workload("stream", ("stream", "32", "48", "1")),
    Workload("training step", ("step", "64", "1", "1")),
)


def export(commit: str) -> Path:
    """A copy of a commit in build/trees, with its extension built."""
    name = _run("git", "rev-parse", "--short", f"{commit}^{{commit}}").strip()
    tree = ROOT / "build" / "trees" / name
    if (tree / "built").is_file():
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", name], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    (tree / "lift" / "kernels").symlink_to(tree / "kernels")
    _run(sys.executable, "-m", "lift.kernels.extension", "--cuda", "off", tree=tree)
    (tree / "built").touch()
    return tree


def _run(*command: str, tree: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    if tree is not None:
        environment["PYTHONPATH"] = str(tree)
    done = subprocess.run(
        command, cwd=tree or ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"lift: error: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def write_clip(path: Path) -> None:
    """A video of a moving texture."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width = FILE_SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "16"}
        for frame in moving_frames(*FILE_SIZE, FILE_FRAMES):
            image = (frame.permute(1, 2, 0) * 255).round().byte().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def measured(trees: list[Path | None], workloads, rounds: int, threads: int) -> list[list[list]]:
    """Seconds of each workload in each tree, all rounds together; None is this checkout."""
    found = [[[] for _ in trees] for _ in workloads]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "in.mp4"
        files = (str(clip), str(Path(folder) / "out.mp4"))
        if any(work.arguments[0] == "file" for work in workloads):
            write_clip(clip)
        for i in range(rounds * len(trees)):
            which = i % len(trees)
            for k, work in enumerate(workloads):
                arguments = work.arguments + (files if work.arguments[0] == "file" else ())
                out = _run(
                    sys.executable,
                    str(WORK),
                    *arguments,
                    "--threads",
                    str(threads),
                    tree=trees[which],
                )
                found[k][which] += json.loads(out.splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trees", description=__doc__)
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument(
        "--rounds", type=int, default=3, help="processes of each tree (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    parser.add_argument("--record", action="store_true", help=f"keep times in {cost.TREES.name}")
    parser.add_argument("--toy", action="store_true", help="a smoke test")
    given = parser.parse_args(arguments)
    workloads = TOY if given.toy else WORKLOADS
    before = export(given.commit)
    times = measured([before, None], workloads, given.rounds, given.threads)
    record = {
        "before": before.name,
        "now": _run("git", "rev-parse", "--short", "HEAD").strip(),
        "processor": machine()["CPU"],
        "threads": given.threads,
        "rounds": given.rounds,
        "rows": [
            {"work": work.name, "before": first, "now": last}
            for work, (first, last) in zip(workloads, times, strict=True)
        ],
    }
    print(cost.on_a_cpu(record))
    if given.record:
        cost.TREES.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
