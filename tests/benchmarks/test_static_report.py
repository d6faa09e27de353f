"""Resource usage is read from machine code; spills, less occupancy and narrower accesses fail."""

import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="Triton has no build for this machine")

from benchmarks.static import report as static_report  # noqa: E402
from benchmarks.static.occupancy import LIMITS, occupancy  # noqa: E402
from benchmarks.static.report import Row, complaints, load, worse, write  # noqa: E402
from benchmarks.static.sass import accesses  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
THEN = Row(
    "warp_blend: forward",
    89,
    40,
    1024,
    0,
    4,
    0.75,
    "registers",
    {4: 2, 16: 2},
    {8: 1},
    {"RED.ADD.F32": 4},
)
BOTH = {"triton", "nvcc"}


# -- the comparison --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, said",
    [
        ({}, []),
        ({"registers": 90, "shared": 9000, "atomics": {}}, []),  # what they cost is occupancy
        ({"occupancy": 1.0}, []),
        ({"occupancy": 0.7499}, ["occupancy fell from 75% to 75%"]),
        ({"loads": {4: 2, 8: 2}}, ["the widest of its loads fell from 16 to 8 bytes"]),
        ({"loads": {2: 8, 16: 2}}, ["the mean width of its loads fell from 10.0 to 4.8 bytes"]),
        ({"loads": {16: 2}}, []),
        ({"loads": {4: 21, 16: 20}}, []),  # 9.9 bytes: another order of instructions
        ({"loads": {}}, []),
        ({"stores": {4: 2}}, ["the widest of its stores fell from 8 to 4 bytes"]),
        (
            {"occupancy": 0.5, "stores": {4: 2}},
            ["occupancy fell from 75% to 50%", "the widest of its stores fell from 8 to 4 bytes"],
        ),
    ],
)
def test_what_got_worse_is_reported_and_nothing_else(change, said):
    assert worse(replace(THEN, **change), THEN) == said


def test_a_spill_fails_whatever_was_recorded():
    now = replace(THEN, spilled=16)
    for recorded, comparable in (([now], BOTH), ([THEN], BOTH), ([THEN], set())):
        assert complaints([now], recorded, comparable) == [
            "warp_blend: forward, sm_89: spills 16 bytes per thread"
        ]


def test_what_is_recorded_and_what_is_there_must_be_the_same_kernels():
    other = replace(THEN, kernel="warp_blend: backward")
    assert complaints([THEN, other], [THEN], BOTH) == ["warp_blend: backward: is not recorded"]
    assert complaints([THEN], [THEN, other], BOTH) == [
        "warp_blend: backward: is recorded and no longer there"
    ]
    assert complaints([THEN], [replace(THEN, architecture=90)], BOTH) == [
        "warp_blend: forward: is not recorded",
        "warp_blend: forward: is recorded and no longer there",
    ]


def test_another_compiler_is_not_compared():
    narrow, cuda = (
        replace(THEN, loads={4: 4}),
        replace(THEN, kernel="csrc: grid_sample.cu backward", occupancy=1.0),
    )
    recorded = [THEN, cuda]
    assert len(complaints([narrow, replace(cuda, occupancy=0.5)], recorded, BOTH)) == 2
    assert complaints([narrow, replace(cuda, occupancy=0.5)], recorded, {"nvcc"}) == [
        "csrc: grid_sample.cu backward, sm_89: occupancy fell from 100% to 50%"
    ]
    assert (
        complaints([THEN], recorded, {"triton"}) == []
    )  # no nvcc here: its kernels are not missed


def test_a_record_reads_as_it_was_written(tmp_path):
    rows = [
        replace(THEN, architecture=120),
        THEN,
        replace(THEN, kernel="temporal_attention: forward"),
    ]
    write(tmp_path / "report.json", rows, {"triton": "3.7.1", "nvcc": None})
    assert load(tmp_path / "report.json") == (
        [rows[2], rows[1], rows[0]],
        {"triton": "3.7.1", "nvcc": None},
    )
    assert load(tmp_path / "none.json") == ([], {})


@pytest.fixture
def report(monkeypatch, tmp_path, capsys):
    """Run the command on made-up rows: (rows, *flags) -> (exit code, output)."""
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    monkeypatch.setattr(static_report, "compilers", lambda: {"triton": "3.7.1", "nvcc": None})

    def run(rows, *flags):
        monkeypatch.setattr(
            static_report,
            "_rows",
            lambda operations, architectures: iter(
                [
                    r
                    for r in rows
                    if r.kernel.split(": ")[0] in operations and r.architecture in architectures
                ]
            ),
        )
        code = static_report.main([*flags, "--baseline", str(tmp_path / "baseline.json")])
        return code, "".join(capsys.readouterr())

    return run


def test_the_command_fails_until_a_change_is_recorded(report):
    slower = replace(THEN, occupancy=0.5)
    assert report([THEN], "--record")[0] == 0
    assert report([THEN])[0] == 0
    code, said = report([slower])
    assert (
        code == 1
        and "worse: warp_blend: forward, sm_89: occupancy fell from 75% to 50%" in said
        and "RECORD=1" in said
    )
    assert report([slower], "--record")[0] == 0
    assert report([slower])[0] == 0
    assert (
        report([replace(slower, spilled=4)], "--record")[0] == 1
    )  # a spill cannot be recorded away


def test_recording_a_part_keeps_the_rest(report):
    rows = [
        THEN,
        replace(THEN, architecture=120),
        replace(THEN, kernel="temporal_attention: forward"),
    ]
    report(rows, "--record")
    changed = [replace(rows[0], occupancy=0.25), *rows[1:]]
    assert report(changed, "warp_blend", "--arch", "89", "--record")[0] == 0
    assert report(changed)[0] == 0
    assert report(rows[1:])[0] == 1


def test_wrong_calls_are_errors(report, monkeypatch):
    with pytest.raises(SystemExit):
        report([THEN], "warp")
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    with pytest.raises(SystemExit):
        report([THEN])


# -- reading machine code --------------------------------------------------------------------------


def test_accesses_are_counted_by_width():
    loads, stores, atomics = accesses("""
        /*0090*/                   LDG.E.SYS R2, [R2] ;
        /*00a0*/              @!P0 LDG.E.128 R4, desc[UR6][R6.64] ;
        /*00b0*/             @!UPT LDG.E.U8.CONSTANT R4, desc[UR6][R6.64] ;
        /*00c0*/               @P2 LDGSTS.E.BYPASS.LTC128B.128 [R5+0x800], desc[UR4][R2.64] ;
        /*00d0*/                   LDG.E.ENL2.256 R4, R8, desc[UR6][R6.64] ;
        /*00e0*/                   LDGDEPBAR ;
        /*00f0*/                   LDS.128 R4, [R3] ;
        /*0100*/                   LDL.LU R4, [R1] ;
        /*0110*/               @P1 STG.E.U16 desc[UR6][R2.64], R4 ;
        /*0120*/                   STG.E.64 desc[UR6][R2.64], R4 ;
        /*0130*/                   REDG.E.ADD.F32.FTZ.RN.STRONG.GPU desc[UR4][R4.64], R7 ;
        /*0140*/                   RED.E.ADD.F32.FTZ.RN.STRONG.GPU [R4], R7 ;
        /*0150*/               @P0 ATOMG.E.CAS.STRONG.GPU PT, R5, [R2], R4, R5 ;
    """)
    assert loads == {1: 1, 4: 1, 16: 2, 32: 1}
    assert stores == {2: 1, 8: 1}
    assert atomics == {"RED.ADD.F32": 2, "ATOM.CAS": 1}


@pytest.mark.slow
def test_a_kernel_is_read_as_it_was_written():
    """16-byte loads, 8-byte stores and one atomic addition, compiled by Triton."""
    program = """
import tempfile, torch, triton, triton.language as tl
from benchmarks.static import report as static_report
from benchmarks.static import compile as ahead_of_time

SOURCE = '''
import triton
import triton.language as tl

@triton.jit
def kernel(x, out, total, N: tl.constexpr):
    o = tl.arange(0, N)
    b = tl.load(x + o)
    tl.store(out + o, b.to(tl.float16))
    tl.atomic_add(total, tl.sum(b), sem="relaxed")
'''
with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
    file.write(SOURCE)
    file.flush()
    import importlib.util
    spec = importlib.util.spec_from_file_location("small", file.name)
    small = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small)
    x = torch.empty(512, device="meta")
    arguments = {"x": x, "out": x.half(), "total": x[:1], "N": 512, "num_warps": 4}
    ahead_of_time.compile_cases = lambda *_: iter([("op", "small", small.kernel, arguments)])
    for row in static_report.triton_rows((), (75, 90)):
        print(row.architecture, row.warps, row.spilled, row.occupancy,
              row.loads, row.stores, row.atomics)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert answer.stdout == "".join(
        f"{a} 4 0 1.0 {{16: 1}} {{8: 1}} {{'RED.ADD.F32': 1}}\n" for a in (75, 90)
    ), answer.stderr[-3000:]


@pytest.mark.slow
def test_cuda_sources_are_read(tmp_path, monkeypatch):
    compiler, reason = static_report.nvcc()
    if compiler is None:
        pytest.skip(reason)
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    (tmp_path / "small.cu").write_text("""
        extern "C" __global__ void __launch_bounds__(128) bounded(const float4* x, float4* y) {
            __shared__ float4 s[128];
            s[threadIdx.x] = x[threadIdx.x];
            __syncthreads();
            y[threadIdx.x] = s[127 - threadIdx.x];
        }
        extern "C" __global__ void open_ended(const float* x, float* y) {
            atomicAdd(y + threadIdx.x / 2, x[threadIdx.x]);
        }
    """)
    rows = list(static_report.cuda_rows(compiler, (90,), tmp_path))
    assert [(r.kernel, r.warps, r.shared, r.loads, r.stores, r.atomics) for r in rows] == [
        ("csrc: small.cu bounded", 4, 2048, {16: 1}, {16: 1}, {}),
        ("csrc: small.cu open_ended", 8, 0, {4: 1}, {}, {"RED.ADD.F32": 1}),
    ]
    hashed = "_ZN4lift44_GLOBAL__N__78b5030c_11_backward_cu_ea39985610bwd_kernelIfEEvi"
    assert (
        static_report._lasting(hashed) == "_ZN4lift12_GLOBAL__N_110bwd_kernelIfEEvi"
    )  # what c++filt reads
    (tmp_path / "small.cu").write_text("__global__ void broken( {}")
    with pytest.raises(RuntimeError, match="nvcc does not compile small.cu for sm_90: .*error"):
        list(static_report.cuda_rows(compiler, (90,), tmp_path))


# -- occupancy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "architecture, registers, shared, warps, blocks, share, limit",
    [
        (89, 32, 0, 4, 12, 1.0, "none"),
        (
            90,
            40,
            0,
            4,
            12,
            0.75,
            "registers",
        ),  # 1280 registers a warp: 12 in each of four partitions
        (86, 255, 0, 4, 2, 8 / 48, "registers"),
        (89, 32, 49152, 8, 2, 16 / 48, "shared memory"),  # 48 KB and 1 KB reserved: twice in 100 KB
        (75, 32, 32768, 8, 2, 0.5, "shared memory"),  # nothing reserved: twice in 64 KB
        (80, 16, 0, 1, 32, 0.5, "none"),  # 32 blocks at most
        (120, 32, 150000, 4, 0, 0.0, "shared memory"),
    ],
)
def test_occupancy_is_as_counted_by_hand(
    architecture, registers, shared, warps, blocks, share, limit
):
    held = occupancy(architecture, registers, shared, warps)
    assert (held.blocks, held.share, held.limit) == (blocks, pytest.approx(share), limit)


CALCULATOR = """
#include "cuda_occupancy.h"
#include <cstdio>
int main() {
    int architecture, threads_held, shared_held, reserved, registers, shared, threads;
    while (scanf("%d %d %d %d %d %d %d",
                 &architecture, &threads_held, &shared_held, &reserved, &registers, &shared,
                 &threads) == 7) {
        cudaOccDeviceProp has;
        has.computeMajor = architecture / 10; has.computeMinor = architecture % 10;
        has.maxThreadsPerBlock = 1024; has.maxThreadsPerMultiprocessor = threads_held;
        has.regsPerBlock = has.regsPerMultiprocessor = 65536; has.warpSize = 32; has.numSms = 1;
        has.sharedMemPerBlock = 49152; has.sharedMemPerMultiprocessor = shared_held;
        has.sharedMemPerBlockOptin = shared_held - reserved;
        has.reservedSharedMemPerBlock = reserved;
        cudaOccFuncAttributes kernel;
        kernel.maxThreadsPerBlock = 1024; kernel.numRegs = registers; kernel.numBlockBarriers = 1;
        kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
        kernel.maxDynamicSharedSizeBytes = shared_held;
        cudaOccDeviceState state;
        state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
        cudaOccResult result;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(
                &result, &has, &kernel, &state, threads, shared)) return 1;
        printf("%d\\n", result.activeBlocksPerMultiprocessor);
    }
}
"""


def test_occupancy_agrees_with_nvidias_calculator(tmp_path):
    include = Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or not (include / "cuda_occupancy.h").exists():
        pytest.skip("needs a C++ compiler and Triton's copy of cuda_occupancy.h")
    (tmp_path / "calculator.cpp").write_text(CALCULATOR)
    subprocess.run(
        [compiler, "-I", include, "-o", tmp_path / "calculator", tmp_path / "calculator.cpp"],
        check=True,
    )
    chance = random.Random(0)
    cases = [
        (
            architecture,
            chance.randrange(1, 256),
            chance.choice((0, chance.randrange(100_000))),
            2 ** chance.randrange(6),
        )
        for architecture in LIMITS
        for _ in range(400)
    ]
    cases = [
        (a, r, s, w)
        for a, r, s, w in cases
        if s + LIMITS[a].reserved <= LIMITS[a].shared and -(-r // 8) * 8 * 32 * w <= 65536
    ]
    asked = "".join(
        f"{a} {LIMITS[a].warps * 32} {LIMITS[a].shared} {LIMITS[a].reserved} {r} {s} {w * 32}\n"
        for a, r, s, w in cases
    )
    answer = subprocess.run(
        [tmp_path / "calculator"], input=asked, capture_output=True, text=True, check=True
    )
    expected = list(map(int, answer.stdout.split()))
    assert len(expected) == len(cases) > 1000
    for case, blocks in zip(cases, expected, strict=True):
        assert occupancy(*case).blocks == blocks, case


def test_figures_that_no_kernel_has_are_refused():
    with pytest.raises(ValueError, match="no limits are known for sm_61; choose from sm_75"):
        occupancy(61, 32, 0, 4)
    with pytest.raises(ValueError, match="no kernel has 300 registers"):
        occupancy(89, 300, 0, 4)
