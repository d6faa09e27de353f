"""The CUDA kernels of grid_sample without a GPU: what they compute, run on the CPU under
sanitizers, and what nvcc makes of them.
"""

import itertools
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

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

KERNELS = sorted((SOURCES / "cuda").glob("*.cu"))

CXX = os.environ.get("CXX", "g++").split()
try:
    NVCC, NO_NVCC = cuda.find_compiler(None).nvcc, ""
except BuildError as error:
    NVCC, NO_NVCC = None, str(error)
cpu = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="needs a C++ compiler")
nvcc = pytest.mark.skipif(NVCC is None, reason=NO_NVCC)


# -- the kernels on the CPU ------------------------------------------------------------------------


def compiled(folder, *flags: str):
    program = folder / "grid_sample"
    command = [
        *CXX,
        "-std=c++20",
        *flags,
        "-Wno-unknown-pragmas",
        f"-I{ROOT / 'tests' / 'support'}",
    ]
    ran = subprocess.run(
        [*command, "-o", str(program), str(PROGRAM)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return [program]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    """The code for GPUs older than sm_90, under sanitizers, which make the compiler slow enough
    without -O1.
    """
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    return compiled(tmp_path_factory.mktemp("sanitized"), "-O0", "-g", *sanitizers)


@pytest.fixture(scope="module", params=["sm_75", "sm_90"])
def counter(request, tmp_path_factory):
    """The code for one architecture, fast enough to count what it does to memory."""
    architecture = int(request.param.removeprefix("sm_")) * 10
    folder = tmp_path_factory.mktemp(request.param)
    return compiled(folder, "-O1", f"-DLIFT_EMULATED_ARCH={architecture}")


def compare(case: Case, found: tuple) -> None:
    assert case.error(found) < 1, (
        case.input.shape,
        case.mode,
        case.padding,
        case.align,
        case.needs,
    )


# Few channels in a tile; many in planes, by teams of four warps and of eight; many in pixels, by
# fours and not.
SHAPES = {
    "tiles": [
        (2, 3, 9, 11, 9, 11),
        (1, 1, 40, 70, 13, 45),
        (1, 2, 1, 1, 1, 7),
        (2, 1, 5, 6, 33, 1),
    ],
    "tiles of pixels": [
        (2, 3, 9, 11, 9, 11),
        (1, 7, 20, 50, 13, 45),
        (1, 2, 1, 3, 1, 7),
        (2, 5, 5, 6, 33, 1),
    ],
    "columns": [
        (2, 8, 9, 7, 10, 9),
        (1, 33, 9, 40, 6, 35),
        (1, 32, 3, 3, 2, 3),
        (2, 9, 1, 1, 5, 1),
    ],
    "pixels": [(2, 8, 5, 7, 6, 9), (1, 12, 9, 4, 1, 13), (1, 132, 3, 3, 2, 3), (2, 8, 1, 1, 5, 1)],
    "odd pixels": [
        (2, 9, 5, 7, 6, 9),
        (1, 14, 9, 4, 1, 13),
        (1, 133, 3, 3, 2, 3),
        (2, 11, 1, 1, 5, 1),
    ],
}


@cpu
@pytest.mark.parametrize("order", SHAPES)
def test_every_mode_is_pytorchs(emulator, order):
    cases = [
        make(
            shape,
            mode=mode,
            padding=padding,
            align=align,
            reach=reach,
            pixels="pixels" in order,
            needs=needs,
            seed=i,
        )
        for i, (mode, padding, align, (shape, reach, needs)) in enumerate(
            itertools.product(
                MODES,
                PADDINGS,
                (True, False),
                zip(
                    SHAPES[order],
                    (0.5, 20, 3, 1),
                    (3, 3 | DETERMINISTIC, 3, 3 | DETERMINISTIC),
                    strict=True,
                ),
            )
        )
    ]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
def test_the_code_for_each_architecture_is_right(counter):
    cases = [
        make((1, C, 7, 9, 6, 12), dtype, pixels=True, needs=needs, reach=reach)
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
        make((1, C, 6, 7, 6, 7), dtype, pixels=pixels, needs=needs)
        for C in (3, 9, 16)
        for pixels in (False, True)
        for needs in (3, 3 | DETERMINISTIC)
    ]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize(
    "needs", [INPUT, GRID, INPUT | DETERMINISTIC], ids=["input", "grid", "input, deterministic"]
)
def test_only_what_is_asked_for_is_written(emulator, needs):
    cases = [
        make((1, C, 5, 6, 5, 6), pixels=pixels, needs=needs)
        for C in (3, 8)
        for pixels in (False, True)
    ]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize("pixels", [False, True], ids=["planes", "pixels"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_numbers_that_are_not_finite_stay_inside(emulator, pixels, padding):
    wild = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9, -3e9, 0.1])
    grid = torch.stack(torch.meshgrid(wild, wild, indexing="xy"), -1)[None].contiguous()
    cases = [
        Case(torch.randn(1, C, 8, 8), torch.randn(1, C, 5, 6), grid, mode, padding, pixels=pixels)
        for mode in MODES
        for C in (3, 8)
    ]
    for dinput, dgrid in run(emulator, cases):
        assert dinput.isfinite().all() and dgrid.isfinite().all()
        assert (dgrid[0, :7, :7] == 0).all() or padding == "reflection"


@cpu
@pytest.mark.parametrize("pixels", [False, True], ids=["planes", "pixels"])
def test_a_nan_in_the_gradient_stays_with_the_nearest_pixel(emulator, pixels):
    cases = [make((1, C, 6, 7, 6, 7), mode="nearest", pixels=pixels, needs=INPUT) for C in (3, 8)]
    for case in cases:
        case.grad[0, :, 2, 3] = float("nan")
    for case, (dinput, _) in zip(cases, run(emulator, cases), strict=True):
        assert dinput.isnan().sum() <= case.input.shape[1]


@cpu
@pytest.mark.parametrize(
    ("pixels", "C"), [(False, 2), (False, 8), (True, 8)], ids=["tiles", "columns", "pixels"]
)
@pytest.mark.parametrize("profile", ["zero", "smooth", "random", "point"])
def test_deterministic_sums_do_not_depend_on_the_order_of_threads(emulator, pixels, C, profile):
    B, H, W = 1, 20, 64
    grid = some_grid(
        B, H, W, H, W, True, {"zero": 0, "smooth": 0.3, "random": 40, "point": 0}[profile]
    )
    if profile == "point":
        grid = torch.full_like(grid, 0.123)
    grad, input = torch.randn(B, C, H, W) * 100, torch.randn(B, C, H, W)
    cases = [
        Case(grad, input, grid, "bilinear", "border", pixels=pixels, needs=3 | fixed, seed=seed)
        for fixed in (DETERMINISTIC, 0)
        for seed in range(3)
    ]
    answers = run(emulator, cases)
    for dinput, dgrid in answers[1:3]:
        assert torch.equal(dinput, answers[0][0]) and torch.equal(dgrid, answers[0][1])
    for case, found in zip(cases, answers, strict=True):
        compare(case, found)
    if profile == "point":  # the seeds do change the order: plain sums differ
        assert any(not torch.equal(dinput, answers[3][0]) for dinput, _ in answers[4:])


#  tiles: once to the tile, then what it holds; columns: rows of 33, five for four; pixels: runs of
#  four
@cpu
@pytest.mark.parametrize(
    ("flow", "tiles", "columns", "pixels"),
    [
        ("whole", 1 + 1, 1, 1),
        ("smooth", 2 * 33 / 32 + 33 * 9 / 256, 33 / 32 * 5 / 4, 10 / 4),
        ("point", 8 * 4 / 256 + 4 / 256, 4 / 32, 4 / 4),
    ],
)
def test_neighbours_are_merged_before_memory_is_added_to(counter, flow, tiles, columns, pixels):
    """Additions a pixel and channel, none of them to a pixel outside; the common kernel's are four."""
    B, H, W, h, w = 1, 33, 129, 16, 64  # sides whose whole pixels are exact numbers of a grid
    place = (
        torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1)[None] + 2.0
    )
    place = {"whole": place, "smooth": place + 0.25, "point": torch.full_like(place, 5.25)}[flow]
    half = torch.tensor([W - 1, H - 1]) / 2
    grid = (place - half) / half
    most = {
        (3, False): tiles,
        (3, True): tiles,
        (8, False): columns,
        (32, False): columns,
        (8, True): pixels,
        (9, True): pixels,
    }
    cases = [
        Case(torch.randn(B, C, h, w), torch.randn(B, C, H, W), grid, pixels=order)
        for C, order in most
    ]
    for case, found, least in zip(cases, run(counter, cases), most.values(), strict=True):
        compare(case, found)
        assert (case.additions + case.shared_additions) / (case.input.shape[1] * h * w) <= least


@cpu
def test_atomics_touch_few_sectors(counter):
    """Sectors of 32 bytes a pixel and channel on the benchmark's smooth flow, of 32 channels.
    Planes: PyTorch's kernel touches 0.8 of a larger image of the same flow, for which the emulation
    needs too long."""
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
    cases = [
        Case(*call, "bilinear", "border", pixels=pixels, needs=needs) for pixels, needs in most
    ]
    for case, found, share in zip(cases, run(counter, cases), most.values(), strict=True):
        compare(case, found)
        assert case.sectors / case.input.numel() <= share, (case.pixels, case.needs)


@cpu
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e37, float("inf"), float("nan")])
def test_fixed_point_holds_gradients_of_any_size(emulator, size):
    case = make((1, 2, 6, 7, 6, 7), needs=INPUT | DETERMINISTIC)
    case.grad.clamp_(-1, 1).mul_(size)
    ((dinput, _),) = run(emulator, [case])
    if size != size or size == float("inf"):
        assert dinput.isnan().all()
    else:
        exact = case.expected()[0]
        assert (dinput.double() - exact).abs().max() <= 2e-5 * exact.abs().max()


@cpu
@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize(
    ("pixels", "C"),
    [(False, 7), (True, 7), (False, 8), (True, 8), (True, 9)],
    ids=["tiles", "tiles of pixels", "columns", "pixels", "odd pixels"],
)
@pytest.mark.parametrize("profile", ["random", "smooth"])
def test_offsets_beyond_32_bits_are_those_of_a_small_input(
    emulator, pixels, C, profile, deterministic
):
    """C x 10241 x 65537 elements: more than 2^32, nearly all of them zeros that take no memory."""
    H, W, h, w = 17, 17, 6, 40
    steps = (
        torch.randint(0, 32, (1, h, w, 2))
        if profile == "random"
        else torch.arange(w)[:, None].expand(1, h, w, 2) * 32 // w
    )
    grad, input = torch.randn(1, C, h, w), torch.randn(1, C, H, W)
    needs = INPUT | GRID | (DETERMINISTIC if deterministic else 0)

    def case(
        rows: int, columns: int
    ) -> Case:  # half pixels from the south-eastern one: exact in float32, whatever the size
        half = torch.tensor([columns - 1, rows - 1]) / 2
        return Case(
            grad,
            input,
            1 - steps * 0.5 / half,
            pixels=pixels,
            needs=needs,
            margin=(rows - H, columns - W),
        )

    (dinput, dgrid), (far_dinput, far_dgrid) = run(emulator, [case(H, W), case(10241, 65537)])
    torch.testing.assert_close(far_dinput, dinput, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        far_dgrid / torch.tensor([65536, 10240]), dgrid / torch.tensor([W - 1, H - 1])
    )
    assert dinput.abs().max() > 1 and dgrid.abs().max() > 1


# -- what nvcc makes of them -----------------------------------------------------------------------


# One architecture of each form of atomics; `make static-report` reads the others.
@nvcc
@pytest.mark.parametrize("architecture", (75, 90))
def test_no_kernel_spills_and_memory_is_touched_as_meant(architecture, tmp_path):
    def compiled(source):
        made = tmp_path / f"{source.stem}.cubin"
        command = [
            NVCC,
            "-std=c++17",
            "-O3",
            f"-arch=sm_{architecture}",
            "-cubin",
            "-o",
            str(made),
            str(source),
        ]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return read(made.read_bytes(), architecture)

    with ThreadPoolExecutor(2) as compiling:
        kernels = {
            name: code for found in compiling.map(compiled, KERNELS) for name, code in found.items()
        }
    registers = [code.registers for code in kernels.values()]
    print(
        f"sm_{architecture}: {len(kernels)} kernels, {min(registers)} to {max(registers)} registers"
    )
    # Three types of elements, five kinds of sums and gradients; pixels by fours and not; what fixed
    # point needs before and after.
    assert len(kernels) == 15 * (2 + 1 + 1) + 3 + 3
    assert max(registers) <= 128  # two blocks of 256 threads a multiprocessor
    for name, code in kernels.items():
        assert code.local == 0, f"{name}: spills"
        assert all(atomic.startswith("RED.") for atomic in code.atomics), (
            f"{name}: waits for what an atomic returns"
        )
        element = 4 if re.search(r"(add_\w+|find_largest|finish)If", name) else 2
        adds = {
            atomic for atomic in code.atomics if "ADD" in atomic
        }  # in float32 or fixed point, never in 16 bits
        if "add_" not in name:
            assert not adds, name
            assert max(code.loads) == (16 if "finish" in name else 4 * element), name
            continue
        wide = "add_pixels" in name and re.search(r"(Floating|Fixed)ELb1", name)
        sums = (
            "RED.ADD.64"
            if "Fixed" in name
            else "RED.ADD.F32x4"
            if wide and architecture >= 90
            else "RED.ADD.F32"
        )
        with_input, with_grid = re.search(
            r"(Floating|Fixed)E(?:Lb[01]E)?Lb([01])ELb([01])EE", name
        ).groups()[1:]
        assert adds == ({sums} if with_input == "1" else set()), name
        if wide:  # four channels at once, but where sums are added one by one without a second use
            four = with_grid == "1" or sums == "RED.ADD.F32x4"
            assert max(code.loads) == (max(4 * element, 8) if four else 8), name
