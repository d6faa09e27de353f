"""What every kernel takes of every GPU, read from its machine code without one, and whether that
got worse.

    python -m benchmarks.static.report [--record] [--arch 75 --arch 89] [--json FILE] [operation
    ...]

The Triton kernels are the cases that `benchmarks.static.compile` compiles; CUDA sources
under `csrc/` are compiled with nvcc where there is one. The report is compared with
`static_report.json` beside this file: a spill fails always; so does occupancy or the width of
global loads and stores that is worse than recorded, and a kernel that is not recorded. `--record`
writes the file anew: look at what it changes, and commit it with the kernel. Another Triton or nvcc
than the file was recorded with makes other code, so then only a spill fails.
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
CUDA = "csrc"  # what the kernels of csrc/**/*.cu are filed under, in place of an operation
THREADS = 256  # of a block of a CUDA kernel without __launch_bounds__
SLACK = 0.05  # a mean width that shrinks by less is taken as another order of instructions


@dataclass(frozen=True)
class Row:
    """One kernel on one architecture.

    Attributes:
        kernel: "operation: label".
        architecture: 89 for compute capability 8.9.
        registers: of 32 bits, a thread.
        shared: bytes of shared memory, a block.
        spilled: bytes of local memory, a thread.
        warps: a block.
        occupancy: share of the warps that a multiprocessor could hold, 0 to 1.
        limit: what keeps occupancy down: "registers", "shared memory" or "none".
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
    """Of a kernel whose launch adds `dynamic` bytes of shared memory to what its binary has."""
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
    """Of the Triton kernels of `operations`, or of all. While one is compiled, those before are
    read.
    """
    with ThreadPoolExecutor(2) as readers:
        waiting = []
        for operation, label, *launch in ahead_of_time.compile_cases(*operations):
            for architecture in architectures:
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
    """Of the kernels in `sources`/**/*.cu. Kernels without __launch_bounds__ are taken to run with
    256 threads a block.

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
    """A mangled name without the hashes that nvcc puts in place of an anonymous namespace, which
    change with the file.
    """
    while found := re.search(r"(\d+)_GLOBAL__N__", name):
        start, length = found.start(1), int(found[1])
        name = name[:start] + "12_GLOBAL__N_1" + name[found.end(1) + length :]
    return name


def nvcc() -> tuple[cuda.Compiler | None, str | None]:
    """The CUDA compiler that builds the CUDA kernels here, or None and why there is none."""
    try:
        return cuda.find_compiler(cuda.torch_cuda_version(requirements().torch)), None
    except BuildError as error:
        return None, str(error)


def compilers() -> dict[str, str | None]:
    """The versions that decide what code comes out."""
    import triton

    found = nvcc()[0]
    return {"triton": triton.__version__, "nvcc": found and found.version}


# -- the comparison --------------------------------------------------------------------------------


def worse(now: Row, then: Row) -> list[str]:
    """What got worse, a sentence each."""
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
    """Why the report fails: nothing where it does not.

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
            found.append(f"{name}: spills {now.spilled} bytes a thread")
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
    """One line a kernel and architecture, so that a change shows as what it is."""
    lines = ",\n".join(
        json.dumps(asdict(r)) for r in sorted(rows, key=lambda r: (r.kernel, r.architecture))
    )
    path.write_text(f'{{"compilers": {json.dumps(versions)},\n"kernels": [\n{lines}\n]}}\n')


def load(path: Path) -> tuple[list[Row], dict[str, str | None]]:
    """What `write` wrote; nothing where there is no file."""
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
    """As the source has it, where a demangler is at hand."""
    name, tool = kernel.split()[-1], shutil.which("c++filt")
    if not (kernel.startswith(f"{CUDA}: ") and name.startswith("_Z") and tool):
        return kernel
    said = subprocess.run([tool, name], capture_output=True, text=True).stdout.strip()
    return kernel.removesuffix(name) + said.replace("(anonymous namespace)::", "")


def _line(r: Row) -> str:
    def listed(counts: dict) -> str:
        return " ".join(f"{count}x{what}" for what, count in counts.items()) or "-"

    return (
        f"  sm_{r.architecture:<4}{r.registers:>5}{r.shared:>8}{r.spilled:>6}{r.occupancy:>7.0%} {r.limit:<14}"
        f"{listed(r.loads):<24}{listed(r.stores):<16}{listed(r.atomics)}"
    )


# -- the command -----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Print the report; return 1 where a kernel spills or is worse than recorded."""
    import triton

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.static.report",
        description="What every kernel takes of every GPU.",
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
        parser.error(f"no kernels for {unknown[0]!r}; there are some for {', '.join(known)}")
    operations = arguments.operation or known

    start, rows, kernel = time.perf_counter(), [], None
    print(
        "            registers, bytes of shared memory a block, bytes spilled a thread; occupancy and its limit; loads, stores, atomics"
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
                f"compared for spills alone: {name} is {versions[name]}, and the record is of {then[name]}"
            )
    found = complaints(rows, asked, comparable)
    for line in found:
        print(f"worse: {line}", file=sys.stderr)
    if found:
        print(
            f"if this is on purpose: make static-report RECORD=1, and commit benchmarks/{BASELINE.name} with the change",
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
            print(f"the CUDA sources in {SOURCES.name}/ are left out: {reason}")
        else:
            yield from cuda_rows(compiler, architectures)


if __name__ == "__main__":
    sys.exit(main())
