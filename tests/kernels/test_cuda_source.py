"""The CUDA kernels of grid_sample without a GPU: their results, computed on the CPU under
sanitizers, and the machine code that nvcc generates.
"""

import itertools
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.grid_sample_cases import (
    DETERMINISTIC,
    GRID,
    INPUT,
    MODES,
    PADDINGS,
    PROGRAM,
    ROOT,
    Case,
    make,
    run,
    some_grid,
)
from benchmarks.static.sass import read
from benchmarks.suites import bench_grid_sample
from lift.kernels.extension import build_cuda as cuda
from lift.kernels.extension.build import SOURCES, BuildError
from tests.support.built_once import built_once

KERNELS = sorted((SOURCES / "grid_sample" / "cuda").glob("*.cu"))

CXX = os.environ.get("CXX", "g++").split()
try:
    NVCC, NO_NVCC = cuda.find_compiler(None).nvcc, ""
except BuildError as error:
    NVCC, NO_NVCC = None, str(error)
cpu = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="needs a C++ compiler")
nvcc = pytest.mark.skipif(NVCC is None, reason=NO_NVCC)


# -- the kernels on the CPU ------------------------------------------------------------------------


def compiled(tmp_path_factory, name: str, *flags: str):
    command = [
        *CXX,
        "-std=c++20",
        *flags,
        "-Wno-unknown-pragmas",
        f"-I{ROOT / 'tests' / 'support'}",
    ]

    def compile_to(folder: Path) -> None:
        output = ["-o", str(folder / "grid_sample"), str(PROGRAM)]
        ran = subprocess.run([*command, *output], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr

    return [built_once(tmp_path_factory, f"emulated_{name}", compile_to) / "grid_sample"]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    """The code for GPUs older than sm_90, under sanitizers. With -O1 compiling takes too long."""
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    return compiled(tmp_path_factory, "sanitized", "-O0", "-g", *sanitizers)


@pytest.fixture(scope="module", params=["sm_75", "sm_90"])
def counter(request, tmp_path_factory):
    """The code for one architecture, optimised, to count memory operations."""
    architecture = int(request.param.removeprefix("sm_")) * 10
    flags = ["-O1", f"-DLIFT_EMULATED_ARCH={architecture}"]
    return compiled(tmp_path_factory, request.param, *flags)


def compare(case: Case, found: tuple) -> None:
    assert case.error(found) < 1, (
        case.input.shape,
        case.mode,
        case.padding,
        case.align,
        case.needs,
    )


# Few channels; many in NCHW, for teams of four and of eight warps; many in NHWC, of which a
# multiple of four or not.
SHAPES = {
    "few channels, NCHW": [
        (2, 3, 9, 11, 9, 11),
        (1, 1, 40, 70, 13, 45),
        (1, 2, 1, 1, 1, 7),
        (2, 1, 5, 6, 33, 1),
    ],
    "few channels, NHWC": [
        (2, 3, 9, 11, 9, 11),
        (1, 7, 20, 50, 13, 45),
        (1, 2, 1, 3, 1, 7),
        (2, 5, 5, 6, 33, 1),
    ],
    "NCHW": [
        (2, 8, 9, 7, 10, 9),
        (1, 33, 9, 40, 6, 35),
        (1, 32, 3, 3, 2, 3),
        (2, 9, 1, 1, 5, 1),
    ],
    "NHWC": [(2, 8, 5, 7, 6, 9), (1, 12, 9, 4, 1, 13), (1, 132, 3, 3, 2, 3), (2, 8, 1, 1, 5, 1)],
    "odd NHWC": [
        (2, 9, 5, 7, 6, 9),
        (1, 14, 9, 4, 1, 13),
        (1, 133, 3, 3, 2, 3),
        (2, 11, 1, 1, 5, 1),
    ],
}


@pytest.mark.slow
@cpu
@pytest.mark.parametrize("kernel", SHAPES)
def test_every_mode_equals_pytorch(emulator, kernel):
    cases = [
        make(
            shape,
            mode=mode,
            padding=padding,
            align=align,
            reach=reach,
            nhwc="NHWC" in kernel,
            needs=needs,
            seed=i,
        )
        for i, (mode, padding, align, (shape, reach, needs)) in enumerate(
            itertools.product(
                MODES,
                PADDINGS,
                (True, False),
                zip(
                    SHAPES[kernel],
                    (0.5, 20, 3, 1),
                    (3, 3 | DETERMINISTIC, 3, 3 | DETERMINISTIC),
                    strict=True,
                ),
            )
        )
    ]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@pytest.mark.slow
@cpu
def test_the_code_for_each_architecture_is_correct(counter):
    cases = [
        make((1, C, 7, 9, 6, 12), dtype, nhwc=True, needs=needs, reach=reach)
        for C, reach in ((8, 0.3), (36, 3))
        for dtype in (torch.float32, torch.bfloat16)
        for needs in (INPUT, INPUT | GRID, INPUT | GRID | DETERMINISTIC)
    ]
    for case, found in zip(cases, run(counter, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_summed_in_float32(emulator, dtype):
    cases = [
        make((1, C, 6, 7, 6, 7), dtype, nhwc=nhwc, needs=needs)
        for C in (3, 9, 16)
        for nhwc in (False, True)
        for needs in (3, 3 | DETERMINISTIC)
    ]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize(
    "needs", [INPUT, GRID, INPUT | DETERMINISTIC], ids=["input", "grid", "input, deterministic"]
)
def test_only_needed_gradients_are_written(emulator, needs):
    cases = [
        make((1, C, 5, 6, 5, 6), nhwc=nhwc, needs=needs) for C in (3, 8) for nhwc in (False, True)
    ]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize("nhwc", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_grid_coordinates_that_are_not_finite_sample_inside_the_input(emulator, nhwc, padding):
    wild = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9, -3e9, 0.1])
    grid = torch.stack(torch.meshgrid(wild, wild, indexing="xy"), -1)[None].contiguous()
    cases = [
        Case(torch.randn(1, C, 8, 8), torch.randn(1, C, 5, 6), grid, mode, padding, nhwc=nhwc)
        for mode in MODES
        for C in (3, 8)
    ]
    for dinput, dgrid in run(emulator, cases):
        assert dinput.isfinite().all() and dgrid.isfinite().all()
        assert (dgrid[0, :7, :7] == 0).all() or padding == "reflection"


@cpu
@pytest.mark.parametrize("nhwc", [False, True], ids=["NCHW", "NHWC"])
def test_a_nan_in_the_gradient_reaches_only_the_nearest_pixel(emulator, nhwc):
    cases = [make((1, C, 6, 7, 6, 7), mode="nearest", nhwc=nhwc, needs=INPUT) for C in (3, 8)]
    for case in cases:
        case.grad[0, :, 2, 3] = float("nan")
    for case, (dinput, _) in zip(cases, run(emulator, cases), strict=True):
        assert dinput.isnan().sum() <= case.input.shape[1]


@pytest.mark.slow
@cpu
@pytest.mark.parametrize(
    ("nhwc", "C"), [(False, 2), (False, 8), (True, 8)], ids=["few channels", "NCHW", "NHWC"]
)
@pytest.mark.parametrize("profile", ["zero", "smooth", "random", "point"])
def test_deterministic_sums_do_not_depend_on_the_order_of_threads(emulator, nhwc, C, profile):
    B, H, W = 1, 20, 64
    grid = some_grid(
        B, H, W, H, W, True, {"zero": 0, "smooth": 0.3, "random": 40, "point": 0}[profile]
    )
    if profile == "point":
        grid = torch.full_like(grid, 0.123)
    grad, input = torch.randn(B, C, H, W) * 100, torch.randn(B, C, H, W)
    cases = [
        Case(grad, input, grid, "bilinear", "border", nhwc=nhwc, needs=3 | fixed, seed=seed)
        for fixed in (DETERMINISTIC, 0)
        for seed in range(3)
    ]
    answers = run(emulator, cases)
    for dinput, dgrid in answers[1:3]:
        assert torch.equal(dinput, answers[0][0]) and torch.equal(dgrid, answers[0][1])
    for case, found in zip(cases, answers, strict=True):
        compare(case, found)
    if profile == "point":  # the seeds do change the order: sums in float32 differ
        assert any(not torch.equal(dinput, answers[3][0]) for dinput, _ in answers[4:])


# few channels: once to the tile, then its contents to memory; NCHW: 33 columns for 32, five rows
# for four; NHWC: runs of four
@pytest.mark.slow
@cpu
@pytest.mark.parametrize(
    ("flow", "few_channels", "nchw", "nhwc"),
    [
        ("whole", 1 + 1, 1, 1),
        ("smooth", 2 * 33 / 32 + 33 * 9 / 256, 33 / 32 * 5 / 4, 10 / 4),
        ("point", 8 * 4 / 256 + 4 / 256, 4 / 32, 4 / 4),
    ],
)
def test_neighbours_are_merged_before_memory_is_added_to(counter, flow, few_channels, nchw, nhwc):
    """Additions per pixel and channel, none to pixels outside; a simple kernel has four."""
    B, H, W, h, w = 1, 33, 129, 16, 64  # sides whose whole pixels are exact numbers of a grid
    place = (
        torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1)[None] + 2.0
    )
    place = {"whole": place, "smooth": place + 0.25, "point": torch.full_like(place, 5.25)}[flow]
    half = torch.tensor([W - 1, H - 1]) / 2
    grid = (place - half) / half
    most = {
        (3, False): few_channels,
        (3, True): few_channels,
        (8, False): nchw,
        (32, False): nchw,
        (8, True): nhwc,
        (9, True): nhwc,
    }
    cases = [
        Case(torch.randn(B, C, h, w), torch.randn(B, C, H, W), grid, nhwc=channels_last)
        for C, channels_last in most
    ]
    for case, found, limit in zip(cases, run(counter, cases), most.values(), strict=True):
        compare(case, found)
        assert (case.additions + case.shared_additions) / (case.input.shape[1] * h * w) <= limit


@pytest.mark.slow
@cpu
def test_atomics_touch_few_sectors(counter):
    """Sectors of 32 bytes per pixel and channel for the benchmark's smooth flow and 32 channels.

    In NCHW PyTorch's kernel touches 0.8 for a larger image of the same flow, for which the
    emulation takes too long.
    """
    shape = (1, 32, 64, 128)
    call = bench_grid_sample.make(
        bench_grid_sample.Case("cpu", shape, "float32", "contiguous", "smooth")
    )
    most = {
        (True, INPUT): 0.4,
        (True, INPUT | GRID): 0.4,
        (True, INPUT | DETERMINISTIC): 0.75,
        (False, INPUT): 0.6,
        (False, INPUT | DETERMINISTIC): 0.8,
    }
    cases = [Case(*call, "bilinear", "border", nhwc=nhwc, needs=needs) for nhwc, needs in most]
    for case, found, limit in zip(cases, run(counter, cases), most.values(), strict=True):
        compare(case, found)
        assert case.sectors / case.input.numel() <= limit, (case.nhwc, case.needs)


@cpu
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e37, float("inf"), float("nan")])
def test_fixed_point_represents_gradients_of_any_size(emulator, size):
    case = make((1, 2, 6, 7, 6, 7), needs=INPUT | DETERMINISTIC)
    case.grad.clamp_(-1, 1).mul_(size)
    ((dinput, _),) = run(emulator, [case])
    if size != size or size == float("inf"):
        assert dinput.isnan().all()
    else:
        exact = case.expected()[0]
        assert (dinput.double() - exact).abs().max() <= 2e-5 * exact.abs().max()


@pytest.mark.slow
@cpu
@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize(
    ("nhwc", "C"),
    [(False, 7), (True, 7), (False, 8), (True, 8), (True, 9)],
    ids=list(SHAPES),
)
@pytest.mark.parametrize("profile", ["random", "smooth"])
def test_offsets_beyond_32_bits_give_the_gradients_of_a_small_input(
    emulator, nhwc, C, profile, deterministic
):
    """C x 10241 x 65537 elements: more than 2^32, nearly all of them zeros without memory."""
    H, W, h, w = 17, 17, 6, 40
    steps = (
        torch.randint(0, 32, (1, h, w, 2))
        if profile == "random"
        else torch.arange(w)[:, None].expand(1, h, w, 2) * 32 // w
    )
    grad, input = torch.randn(1, C, h, w), torch.randn(1, C, H, W)
    needs = INPUT | GRID | (DETERMINISTIC if deterministic else 0)

    # Half pixels from the south-eastern pixel: exact in float32 for any size.
    def case(rows: int, columns: int) -> Case:
        half = torch.tensor([columns - 1, rows - 1]) / 2
        return Case(
            grad,
            input,
            1 - steps * 0.5 / half,
            nhwc=nhwc,
            needs=needs,
            margin=(rows - H, columns - W),
        )

    (dinput, dgrid), (far_dinput, far_dgrid) = run(emulator, [case(H, W), case(10241, 65537)])
    torch.testing.assert_close(far_dinput, dinput, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        far_dgrid / torch.tensor([65536, 10240]), dgrid / torch.tensor([W - 1, H - 1])
    )
    assert dinput.abs().max() > 1 and dgrid.abs().max() > 1


# -- the machine code ------------------------------------------------------------------------------


# One architecture for each kind of atomics; `make static-report` reads the others.
@pytest.mark.slow
@nvcc
@pytest.mark.parametrize("architecture", (75, 90))
def test_no_kernel_spills_and_memory_operations_are_as_intended(architecture, tmp_path):
    def compiled(source):
        cubin = tmp_path / f"{source.stem}.cubin"
        command = [
            NVCC,
            "-std=c++17",
            "-O3",
            f"-arch=sm_{architecture}",
            "-cubin",
            "-o",
            str(cubin),
            str(source),
        ]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return read(cubin.read_bytes(), architecture)

    with ThreadPoolExecutor(2) as compiling:
        kernels = {
            name: code for found in compiling.map(compiled, KERNELS) for name, code in found.items()
        }
    registers = [code.registers for code in kernels.values()]
    print(
        f"sm_{architecture}: {len(kernels)} kernels, {min(registers)} to {max(registers)} registers"
    )
    # Three types of elements and five combinations of sums and gradients; in NHWC with a multiple
    # of four channels or not. Two more kernels for fixed point.
    assert len(kernels) == 15 * (2 + 1 + 1) + 3 + 3
    assert max(registers) <= 128  # two blocks of 256 threads per multiprocessor
    for name, code in kernels.items():
        assert code.local == 0, f"{name}: spills"
        assert all(atomic.startswith("RED.") for atomic in code.atomics), (
            f"{name}: waits for the result of an atomic"
        )
        element = 4 if "_kernelIf" in name else 2
        adds = {atomic for atomic in code.atomics if "ADD" in atomic}
        if "fixed_to_float" in name or "grad_absmax" in name:
            assert not adds, name
            assert max(code.loads) == (16 if "fixed_to_float" in name else 4 * element), name
            continue
        kind, wide, needs_input, needs_grid = re.search(
            r"(FloatSums|FixedPointSums)E(?:Lb([01])E)?Lb([01])ELb([01])EE", name
        ).groups()
        sums = "RED.ADD.64" if kind == "FixedPointSums" else "RED.ADD.F32"  # never in 16 bits
        if kind == "FloatSums" and wide == "1" and architecture >= 90:
            sums = "RED.ADD.F32x4"
        assert adds == ({sums} if needs_input == "1" else set()), name
        if wide == "1":  # NHWC loads four channels at once where it does not add them one by one
            four = needs_grid == "1" or sums == "RED.ADD.F32x4"
            assert max(code.loads) == (max(4 * element, 8) if four else 8), name
