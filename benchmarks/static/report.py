"""Resource usage of every kernel on every GPU, without one, compared with the record.

    python -m benchmarks.static.report [--record] [--arch 75 --arch 89] [--json FILE]
                                       [operation ...]

Triton kernels are the cases that `benchmarks.static.compile` compiles; CUDA sources under `csrc/`
are compiled by nvcc, if there is one. The report is compared with `record.json` in this folder. It
fails if a kernel spills, if its occupancy or the width of its global accesses is worse than
recorded, or if it is not recorded. `--record` updates the file: look at the change, and commit it
with the kernel. Another version of Triton or nvcc generates other code; then only spills fail.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.static import compile as ahead_of_time
from benchmarks.static.occupancy import Occupancy, occupancy
from benchmarks.static.sass import Code, read
from lift.kernels.extension import build_cuda as cuda
from lift.kernels.extension.build import SOURCES, BuildError, requirements

BASELINE = Path(__file__).with_name("record.json")
CUDA = "csrc"  # stands for an operation in the names of kernels of csrc/**/*.cu
THREADS = 256  # per block, for a CUDA kernel without __launch_bounds__
SLACK = 0.05  # relative; a smaller change of the mean width is a reordering of instructions


@dataclass(frozen=True)
class Row:
    """One kernel on one architecture.

    Attributes:
        kernel: "operation: label".
        architecture: 89 for compute capability 8.9.
        registers: of 32 bits, per thread.
        shared: bytes of shared memory per block.
        spilled: bytes of local memory per thread.
        warps: per block.
        occupancy: 0 to 1.
        limit: what limits occupancy: "registers", "shared memory" or "none".
        loads, stores: instructions on global memory, by width in bytes.
        atomics: instructions, by name.
    """

    kernel: str
    architecture: int
    registers: int
    shared: int
    spilled: int
    warps: int
    occupancy: float
    limit: str
    loads: dict[int, int]
    stores: dict[int, int]
    atomics: dict[str, int]


def row(kernel: str, architecture: int, code: Code, warps: int, dynamic: int = 0) -> Row:
    """The row of a kernel; `dynamic` is the bytes of shared memory that its launch adds."""
    shared = code.shared + dynamic
    held: Occupancy = occupancy(architecture, code.registers, shared, warps)
    return Row(
        kernel,
        architecture,
        code.registers,
        shared,
        code.local,
        warps,
        round(held.share, 4),
        held.limit,
        code.loads,
        code.stores,
        code.atomics,
    )


# -- compiling -------------------------------------------------------------------------------------


def triton_rows(operations: tuple[str, ...], architectures: tuple[int, ...]) -> Iterator[Row]:
    """Rows of Triton kernels. While one is compiled, the machine code of others is read."""
    with ThreadPoolExecutor(2) as readers:
        waiting = []
        for operation, label, *launch in ahead_of_time.compile_cases(*operations):
            for architecture in ahead_of_time.architectures_of(
                operation, launch[-1], architectures
            ):
                made = ahead_of_time.compiled(architecture, *launch)
                reading = readers.submit(read, made.asm["cubin"], architecture)
                waiting.append((f"{operation}: {label}", architecture, made.metadata, reading))
                while waiting and (waiting[0][-1].done() or len(waiting) > 16):
                    yield _triton_row(*waiting.pop(0))
        for found in waiting:
            yield _triton_row(*found)


def _triton_row(kernel: str, architecture: int, metadata, reading) -> Row:
    code = reading.result()[metadata.name]
    return row(kernel, architecture, code, metadata.num_warps, metadata.shared)


def cuda_rows(
    compiler: cuda.Compiler, architectures: tuple[int, ...], sources: Path = SOURCES
) -> Iterator[Row]:
    """Rows of CUDA kernels; those without __launch_bounds__ count with THREADS per block.

    Raises:
        RuntimeError: nvcc does not compile a source.
    """
    for source in sorted(sources.rglob("*.cu")):
        with ThreadPoolExecutor(2) as compiling:
            found = list(
                compiling.map(
                    lambda architecture, of=source: _compiled(compiler, of, architecture),
                    architectures,
                )
            )
        for name in sorted(found[0]):
            for architecture, codes in zip(architectures, found, strict=True):
                code = codes[name]
                yield row(
                    f"{CUDA}: {source.relative_to(sources).as_posix()} {name}",
                    architecture,
                    code,
                    -(-(code.threads or THREADS) // 32),
                )


def _compiled(compiler: cuda.Compiler, source: Path, architecture: int) -> dict[str, Code]:
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        command = [
            compiler.nvcc,
            *cuda.DEVICE,
            "-cubin",
            f"-arch=sm_{architecture}",
            "-o",
            binary,
            source,
        ]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            said = next(
                (line for line in ran.stderr.splitlines() if "error" in line), ran.stderr.strip()
            )
            raise RuntimeError(f"nvcc does not compile {source.name} for sm_{architecture}: {said}")
        return {
            _lasting(name): code for name, code in read(binary.read_bytes(), architecture).items()
        }


def _lasting(name: str) -> str:
    """A mangled name without nvcc's hashes of anonymous namespaces, which change with the file."""
    while found := re.search(r"(\d+)_GLOBAL__N__", name):
        start, length = found.start(1), int(found[1])
        name = name[:start] + "12_GLOBAL__N_1" + name[found.end(1) + length :]
    return name


def nvcc() -> tuple[cuda.Compiler | None, str | None]:
    """The CUDA compiler of this machine, or None and the reason."""
    try:
        return cuda.find_compiler(cuda.torch_cuda_version(requirements().torch)), None
    except BuildError as error:
        return None, str(error)


def compilers() -> dict[str, str | None]:
    """Versions of the compilers."""
    import triton

    found = nvcc()[0]
    return {"triton": triton.__version__, "nvcc": found and found.version}


# -- the comparison --------------------------------------------------------------------------------


def worse(now: Row, then: Row) -> list[str]:
    """What got worse, one sentence each."""
    found = []
    if now.occupancy < then.occupancy:
        found.append(f"occupancy fell from {then.occupancy:.0%} to {now.occupancy:.0%}")
    for what, new, old in (("loads", now.loads, then.loads), ("stores", now.stores, then.stores)):
        if not old or not new:
            continue
        if max(new) < max(old):
            found.append(f"the widest of its {what} fell from {max(old)} to {max(new)} bytes")
        elif _mean(new) < _mean(old) * (1 - SLACK):
            found.append(
                f"the mean width of its {what} fell from {_mean(old):.1f} to {_mean(new):.1f} bytes"
            )
    return found


def _mean(widths: dict[int, int]) -> float:
    return sum(width * count for width, count in widths.items()) / sum(widths.values())


def complaints(rows: list[Row], recorded: list[Row], comparable: set[str]) -> list[str]:
    """The reasons for which the report fails; empty if it passes.

    Args:
        rows: what is now.
        recorded: the baseline for the same operations and architectures.
        comparable: of "triton" and "nvcc", those with the version that the baseline was recorded
            with.
    """
    then = {(r.kernel, r.architecture): r for r in recorded}
    found = []
    for now in rows:
        name = f"{_readable(now.kernel)}, sm_{now.architecture}"
        if now.spilled:
            found.append(f"{name}: spills {now.spilled} bytes per thread")
        if _compiler(now) not in comparable:
            continue
        if (now.kernel, now.architecture) in then:
            found += [f"{name}: {what}" for what in worse(now, then[now.kernel, now.architecture])]
    here = {(r.kernel, r.architecture) for r in rows}
    new = dict.fromkeys(
        r.kernel
        for r in rows
        if (r.kernel, r.architecture) not in then and _compiler(r) in comparable
    )
    gone = dict.fromkeys(
        r.kernel
        for r in recorded
        if (r.kernel, r.architecture) not in here and _compiler(r) in comparable
    )
    return [
        *found,
        *(f"{_readable(kernel)}: is not recorded" for kernel in new),
        *(f"{_readable(kernel)}: is recorded and no longer there" for kernel in gone),
    ]


def _compiler(r: Row) -> str:
    return "nvcc" if r.kernel.startswith(f"{CUDA}: ") else "triton"


# -- the file --------------------------------------------------------------------------------------


def write(path: Path, rows: list[Row], versions: dict[str, str | None]) -> None:
    """Write one line per kernel and architecture, for readable diffs."""
    lines = ",\n".join(
        json.dumps(asdict(r)) for r in sorted(rows, key=lambda r: (r.kernel, r.architecture))
    )
    path.write_text(f'{{"compilers": {json.dumps(versions)},\n"kernels": [\n{lines}\n]}}\n')


def load(path: Path) -> tuple[list[Row], dict[str, str | None]]:
    """Read what `write` wrote; empty if there is no file."""
    if not path.exists():
        return [], {}
    text = json.loads(path.read_text())

    def widths(found: dict[str, int]) -> dict[int, int]:
        return {int(width): count for width, count in found.items()}

    return [
        Row(**r | {"loads": widths(r["loads"]), "stores": widths(r["stores"])})
        for r in text["kernels"]
    ], text["compilers"]


def _readable(kernel: str) -> str:
    """The name as in the source, if there is a demangler."""
    name, tool = kernel.split()[-1], shutil.which("c++filt")
    if not (kernel.startswith(f"{CUDA}: ") and name.startswith("_Z") and tool):
        return kernel
    said = subprocess.run([tool, name], capture_output=True, text=True).stdout.strip()
    return kernel.removesuffix(name) + said.replace("(anonymous namespace)::", "")


def _line(r: Row) -> str:
    def listed(counts: dict) -> str:
        return " ".join(f"{count}x{what}" for what, count in counts.items()) or "-"

    return (
        f"  sm_{r.architecture:<4}{r.registers:>5}{r.shared:>8}{r.spilled:>6}"
        f"{r.occupancy:>7.0%} {r.limit:<14}"
        f"{listed(r.loads):<24}{listed(r.stores):<16}{listed(r.atomics)}"
    )


# -- the command -----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Print the report; return 1 if a kernel spills or is worse than recorded."""
    import triton

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.static.report",
        description="Resource usage of every kernel on every GPU.",
    )
    parser.add_argument(
        "operation",
        nargs="*",
        help=f"folders of lift.kernels, or {CUDA} for the CUDA sources; all of them by default",
    )
    parser.add_argument(
        "--arch",
        type=int,
        action="append",
        choices=ahead_of_time.ARCHITECTURES,
        help="89 for 8.9; may be repeated",
    )
    parser.add_argument(
        "--record", action="store_true", help=f"write {BASELINE.name} anew for what is reported"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if triton.knobs.runtime.interpret:
        parser.error("TRITON_INTERPRET is set, so Triton interprets instead of compiling; unset it")
    architectures = tuple(arguments.arch or ahead_of_time.ARCHITECTURES)
    known = [*ahead_of_time._modules(), CUDA]
    if unknown := [name for name in arguments.operation if name not in known]:
        parser.error(f"no kernels for {unknown[0]!r}; choose from {', '.join(known)}")
    operations = arguments.operation or known

    start, rows, kernel = time.perf_counter(), [], None
    print(
        "            registers, bytes of shared memory per block, bytes spilled per thread; "
        "occupancy and its limit; loads, stores, atomics"
    )
    for r in _rows(operations, architectures):
        if r.kernel != kernel:
            print(_readable(kernel := r.kernel))
        print(_line(r), flush=True)
        rows.append(r)
    print(f"{len(rows)} compiled and read in {time.perf_counter() - start:.0f} s")

    versions = compilers()
    recorded, then = load(arguments.baseline)
    asked = [
        r
        for r in recorded
        if r.kernel.split(": ")[0] in operations and r.architecture in architectures
    ]
    if arguments.json:
        write(arguments.json, rows, versions)
    if arguments.record:
        skipped = [r for r in asked if _compiler(r) == "nvcc" and versions["nvcc"] is None]
        write(
            arguments.baseline,
            rows + skipped + [r for r in recorded if r not in asked],
            versions | {name: then.get(name) for name in versions if versions[name] is None},
        )
        then, asked = versions, rows
        print(f"recorded in {arguments.baseline}")
    comparable = {
        name
        for name, version in versions.items()
        if version is not None and then.get(name) in (version, None)
    }
    for name in versions.keys() - comparable:
        if versions[name] is not None:
            print(
                f"compared for spills only: {name} is {versions[name]}, "
                f"the record is of {then[name]}"
            )
    found = complaints(rows, asked, comparable)
    for line in found:
        print(f"worse: {line}", file=sys.stderr)
    if found:
        print(
            "if this is on purpose: make static-report RECORD=1, "
            f"and commit benchmarks/static/{BASELINE.name} with the change",
            file=sys.stderr,
        )
    else:
        print("no spill, and nothing worse than recorded")
    return 1 if found else 0


def _rows(operations: list[str], architectures: tuple[int, ...]) -> Iterator[Row]:
    triton_operations = tuple(name for name in operations if name != CUDA)
    if triton_operations:
        yield from triton_rows(triton_operations, architectures)
    if CUDA in operations:
        compiler, reason = nvcc()
        if compiler is None:
            print(f"the CUDA sources in {SOURCES.name}/ are skipped: {reason}")
        else:
            yield from cuda_rows(compiler, architectures)


if __name__ == "__main__":
    sys.exit(main())
