"""Compile the Triton kernels for many GPUs on a machine that has none; print their resource usage.

    python -m benchmarks.static.compile [--arch 75 --arch 89] [--further] [--triton 3.6] [op ...]

The module `triton_launch` of an op says which of its many specializations stand for the rest, by a
function

    compile_cases() -> Iterator[tuple[str, JITFunction, dict]]

that yields a label, a kernel and the arguments of a launch by name (constexprs, num_warps and
num_stages included), as `kernel[grid](**arguments)` takes them. Tensors are on the device "meta":
only their dtype counts, and they are taken as aligned to 16 bytes. So the code compiled here is the
code that a launch compiles.

`exhaustive_compile_cases()`, if there is one, yields everything else that a launch can ask for, too
much to compile for every architecture each time: `--further` compiles each for one of them, in
turn, and `--everything` for all.
"""

import argparse
import importlib
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import lift.kernels.ops
from benchmarks.harness.registry import OPERATIONS
from lift.kernels.extension.build_cuda import ARCHITECTURES

TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.bool: "i1",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
}


@dataclass(frozen=True)
class ResourceUsage:
    """Resource usage of a compiled kernel.

    Attributes:
        registers: of 32 bits, per thread; at most 255.
        shared: bytes of shared memory, per block of threads.
        local: bytes of local memory, per thread, that registers are spilled to.
        size: bytes of the binary.
    """

    registers: int
    shared: int
    local: int
    size: int


def compile_cases(*operations: str, exhaustive: bool = False) -> Iterator[tuple]:
    """(op, label, kernel, arguments) of every op, or of those named.

    Args:
        operations: folders of lift.kernels.ops.
        exhaustive: the cases that stand for no others, instead of those that stand for the rest.

    Raises:
        ValueError: no such op, or one without Triton kernels.
    """
    from lift.kernels import launch  # needs Triton

    modules = _modules()
    for operation in operations or modules:
        if operation not in modules:
            raise ValueError(
                f"no Triton kernels for {operation!r}; choose from {', '.join(modules)}"
            )
        module = modules[operation]
        cases = module.compile_cases
        if exhaustive:
            cases = getattr(module, "exhaustive_compile_cases", tuple)
        for label, kernel, arguments in cases():
            yield operation, label, kernel, launch.with_scratch(arguments)


def architectures_of(
    operation: str, arguments: dict, architectures: tuple[int, ...]
) -> tuple[int, ...]:
    """Those of the architectures that can be asked for a launch.

    All, unless the op's `triton_launch` has a function `runs_on(architecture, arguments)`.
    """
    name = f"{lift.kernels.ops.__name__}.{operation}.triton_launch"
    runs_on = getattr(sys.modules.get(name), "runs_on", lambda *_: True)
    return tuple(a for a in architectures if runs_on(a, arguments))


def _modules() -> dict:
    """The module `triton_launch` of each op that has one, by the name of its folder."""
    package = lift.kernels.ops.__name__
    found = {}
    for folder in OPERATIONS:
        name = f"{package}.{folder}.triton_launch"
        if importlib.util.find_spec(name):
            found[folder] = importlib.import_module(name)
    return found


# -- compiling -------------------------------------------------------------------------------------


def compile_for(architecture: int, kernel, arguments: dict) -> ResourceUsage:
    """Compile one case for compute capability `architecture` (75 is 7.5)."""
    return _resource_usage(compiled(architecture, kernel, arguments))


def compiled(architecture: int, kernel, arguments: dict):
    """As `compile_for`, but returns Triton's compiled kernel, with its `asm` and `metadata`.

    Raises:
        ValueError: a parameter of the kernel has no value.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    missing = set(kernel.arg_names) - set(arguments)
    if missing:
        raise ValueError(f"{kernel.__name__}: no value for {', '.join(sorted(missing))}")
    options = {name: value for name, value in arguments.items() if name not in kernel.arg_names}
    signature, constants, attributes = {}, {}, {}
    for parameter in kernel.params:
        name, value = parameter.name, arguments[parameter.name]
        kind, aligned = ("constexpr", False) if parameter.is_constexpr else _type(value)
        signature[name] = kind
        if kind == "constexpr":
            constants[name] = value
        if aligned:
            attributes[(parameter.num,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def _type(value) -> tuple[str, bool]:
    """Triton's type of an argument, and whether it is specialized as a multiple of 16."""
    if isinstance(value, torch.Tensor):
        return "*" + TYPES[value.dtype], True
    if isinstance(value, bool):
        return "i1", False
    if isinstance(value, int):
        return (
            "constexpr" if value == 1 else "i32" if -(2**31) <= value < 2**31 else "i64"
        ), value % 16 == 0
    return ("fp32", False) if isinstance(value, float) else ("constexpr", False)


def _resource_usage(compiled) -> ResourceUsage:
    """The usage that `cuobjdump`, a part of Triton's package, reads from the binary."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {
        name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)
    }
    return ResourceUsage(
        usage["REG"],
        compiled.metadata.shared,
        usage["STACK"] + usage["LOCAL"],
        len(compiled.asm["cubin"]),
    )


# -- the table -------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 1 where a kernel spills."""
    import triton

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.static.compile",
        description="Compile the Triton kernels without a GPU.",
    )
    parser.add_argument("operation", nargs="*", help="folders of lift.kernels.ops; all by default")
    parser.add_argument(
        "--arch",
        type=int,
        action="append",
        choices=ARCHITECTURES,
        help="compute capability, 89 for 8.9; may be repeated",
    )
    parser.add_argument(
        "--further",
        action="store_true",
        help="also what else a launch can ask for, each for one architecture in turn",
    )
    parser.add_argument(
        "--everything",
        action="store_true",
        help="also what else a launch can ask for, each for every architecture",
    )
    parser.add_argument(
        "--triton",
        metavar="VERSION",
        help="refuse to compile with another Triton, 3.6 for 3.6.0 too",
    )
    arguments = parser.parse_args(argv)
    if triton.knobs.runtime.interpret:
        parser.error("TRITON_INTERPRET is set, so Triton interprets instead of compiling; unset it")
    if arguments.triton and f"{triton.__version__}.".removeprefix(arguments.triton)[:1] != ".":
        parser.error(
            f"this is Triton {triton.__version__}, not {arguments.triton}: "
            "put a folder with that one on PYTHONPATH"
        )
    architectures = arguments.arch or ARCHITECTURES
    try:
        todo = [
            (one, architectures_of(one[0], one[-1], architectures))
            for one in compile_cases(*arguments.operation)
        ]
        if arguments.further or arguments.everything:
            for i, one in enumerate(compile_cases(*arguments.operation, exhaustive=True)):
                wanted = architectures_of(one[0], one[-1], architectures)
                if not arguments.everything and wanted:
                    wanted = wanted[i % len(wanted) :][:1]
                todo.append((one, wanted))
    except ValueError as error:
        parser.error(str(error))
    width = max(len(f"{operation}: {label}") for (operation, label, *_), _ in todo)
    start, compiled, spilled = time.perf_counter(), 0, 0
    print(
        f"Triton {triton.__version__}: registers per thread / "
        "bytes of shared memory per block / bytes spilled per thread"
    )
    print("kernel".ljust(width), *(f"sm_{a}".rjust(14) for a in architectures))
    for ((operation, label, *_), wanted), found in zip(todo, _all_usage(todo), strict=True):
        cells = {
            a: f"{f.registers} / {f.shared} / {f.local}" for a, f in zip(wanted, found, strict=True)
        }
        print(
            f"{operation}: {label}".ljust(width),
            *(cells.get(a, "").rjust(14) for a in architectures),
            flush=True,
        )
        compiled += len(found)
        spilled += sum(f.local > 0 for f in found)
    print(f"{compiled} compiled in {time.perf_counter() - start:.0f} s; {spilled} spill")
    return 1 if spilled else 0


def _all_usage(todo: list[tuple[tuple, tuple[int, ...]]]) -> Iterator[list[ResourceUsage]]:
    """The usage of each case for each of its architectures, in order; one process per CPU."""
    global _todo
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if processes == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from ([compile_for(a, *launch) for a in wanted] for (_, _, *launch), wanted in todo)
        return
    _todo = todo  # the processes are forks, so that kernels need not be sent to them
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap(_usage_of, range(len(todo)))


_todo: list = []


def _usage_of(i: int) -> list[ResourceUsage]:
    (_, _, *launch), wanted = _todo[i]
    return [compile_for(a, *launch) for a in wanted]


if __name__ == "__main__":
    sys.exit(main())
