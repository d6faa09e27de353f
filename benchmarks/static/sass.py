"""Resource usage and memory accesses of a compiled kernel, from its machine code.

Needs no GPU: Triton's package includes NVIDIA's `cuobjdump` and `nvdisasm`. The width of an access
is the bytes per thread and instruction; counts are of instructions in the code, not of executions.
"""

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Code:
    """One kernel of a binary.

    Attributes:
        registers: of 32 bits, per thread.
        shared: bytes of static shared memory per block, without what a launch adds.
        local: bytes of local memory per thread, where registers are spilled to.
        threads: `__launch_bounds__`; None if there are none.
        loads, stores: instructions on global memory, by width in bytes, {16: 2, 4: 7}.
        atomics: instructions by name, {"RED.ADD.F32": 4}.
    """

    registers: int
    shared: int
    local: int
    threads: int | None = None
    loads: dict[int, int] = field(default_factory=dict)
    stores: dict[int, int] = field(default_factory=dict)
    atomics: dict[str, int] = field(default_factory=dict)


LOADS = ("LDG", "LD", "LDGSTS")  # the last copies to shared memory asynchronously
STORES = ("STG", "ST")
ATOMICS = ("RED", "REDG", "ATOM", "ATOMG")
WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}
MANNERS = {
    "E",
    "STRONG",
    "SYS",
    "GPU",
    "SM",
    "CTA",
    "FTZ",
    "RN",
}  # modifiers of atomics: scope and rounding
INSTRUCTION = re.compile(
    r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_]*)((?:\.[A-Za-z0-9_]+)*)",
    re.MULTILINE,
)
RESERVED = 1024  # bytes that the linker adds to the shared memory of a kernel from sm_90 on


def read(binary: bytes, architecture: int) -> dict[str, Code]:
    """The kernels of a cubin by name.

    Args:
        binary: the cubin.
        architecture: compute capability, 89 for 8.9.

    Raises:
        subprocess.CalledProcessError: it is no cubin.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        usage = _run("cuobjdump", "--dump-resource-usage", "--dump-elf", file.name)
        code = _run("nvdisasm", "-c", file.name)
    instructions = dict(
        re.findall(r"^\.text\.(\S+):$(.*?)(?=^\.text\.|\Z)", code, re.MULTILINE | re.DOTALL)
    )
    threads = {
        name: int(value, 16)
        for name, value in re.findall(
            r"^\.nv\.info\.(\S+)\n(?:(?!^\.nv).*\n)*?\s*Attribute:\s*EIATTR_"
            r"(?:MAX_THREADS|REQNTID)\s+Format:.*\n\s*Value:\s*(0x[0-9a-f]+)",
            usage,
            re.MULTILINE,
        )
    }
    found = {}
    for name, figures in re.findall(r"Function (\S+):\s*\n\s*(REG:.*)", usage):
        of = {
            key: int(value) for key, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", figures)
        }
        shared = of["SHARED"] - (RESERVED if architecture >= 90 and of["SHARED"] >= RESERVED else 0)
        found[name] = Code(
            of["REG"],
            shared,
            of["STACK"] + of["LOCAL"],
            threads.get(name),
            *accesses(instructions[name]),
        )
    return found


def accesses(text: str) -> tuple[dict[int, int], dict[int, int], dict[str, int]]:
    """Loads and stores by width, and atomics by name, in disassembled code."""
    loads, stores, atomics = Counter(), Counter(), Counter()
    for operation, modifiers in INSTRUCTION.findall(text):
        modifiers = modifiers.split(".")[1:]
        if operation in LOADS or operation in STORES:
            width = next((WIDTHS[m] for m in modifiers if m in WIDTHS), 4)
            (loads if operation in LOADS else stores)[width] += 1
        elif operation in ATOMICS:
            atomics[
                ".".join([operation.removesuffix("G"), *(m for m in modifiers if m not in MANNERS)])
            ] += 1
    return tuple(dict(sorted(counted.items())) for counted in (loads, stores, atomics))


def _run(tool: str, *arguments: str) -> str:
    import triton

    path = getattr(triton.knobs.nvidia, tool).path
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=True).stdout
