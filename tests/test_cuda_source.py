"""The CUDA kernels of grid_sample without a GPU: what they compute, run on the CPU under sanitizers, and what nvcc makes of them."""
import itertools
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lift.kernels.extension import cuda
from lift.kernels.extension.build import BuildError

from benchmarks.machine_code import read

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "csrc" / "cuda" / "grid_sample_backward.cu"
MODES = {"bilinear": 0, "nearest": 1}
PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}
ELEMENTS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
INPUT, GRID, DETERMINISTIC = 1, 2, 4

CXX = os.environ.get("CXX", "g++").split()
try:
    NVCC, NO_NVCC = cuda.find_compiler(None).nvcc, ""
except BuildError as error:
    NVCC, NO_NVCC = None, str(error)
cpu = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="needs a C++ compiler")
nvcc = pytest.mark.skipif(NVCC is None, reason=NO_NVCC)


# -- the kernels on the CPU --------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Path:
    program = tmp_path_factory.mktemp("emulated") / "grid_sample"
    command = [*CXX, "-std=c++20", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-Wno-unknown-pragmas",
               f"-I{ROOT / 'tests'}", "-o", str(program), str(ROOT / "tests" / "emulated_grid_sample.cpp")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return program


class Case:
    """A call of the kernels: its arguments, the bytes that the emulator reads, and what it answers. With `margin`, rows and columns, the
    input is the south-east corner of one so much larger, which the grid is about."""

    def __init__(self, grad, input, grid, mode="bilinear", padding="zeros", align=True, *, pixels=False, needs=INPUT | GRID, seed=0,
                 margin=(0, 0)):
        self.grad, self.input, self.grid, self.mode, self.padding, self.align = grad, input, grid, mode, padding, align
        self.pixels, self.needs, self.seed, self.margin = pixels, needs, seed, margin

    def bytes(self) -> bytes:
        B, C, H, W = self.input.shape
        h, w = self.grid.shape[1:3]
        head = struct.pack("15q", B, C, H, W, h, w, MODES[self.mode], PADDINGS[self.padding], self.align, ELEMENTS[self.input.dtype],
                           self.pixels, self.needs, self.seed, *self.margin)
        order = (0, 2, 3, 1) if self.pixels else (0, 1, 2, 3)
        return head + b"".join(bytes(x.contiguous().view(torch.uint8).numpy()) for x in
                               (self.grad.permute(order), self.input.permute(order), self.grid))

    def answer(self, numbers: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        """dinput and dgrid, None where not asked for, from the front of the numbers; and the rest of them."""
        B, C, H, W = self.input.shape
        dinput = dgrid = None
        if self.needs & INPUT:
            flat, numbers = numbers[:self.input.numel()], numbers[self.input.numel():]
            dinput = flat.view(B, H, W, C).permute(0, 3, 1, 2) if self.pixels else flat.view(B, C, H, W)
        if self.needs & GRID:
            dgrid, numbers = numbers[:self.grid.numel()].view(self.grid.shape), numbers[self.grid.numel():]
        self.atomics = int(numbers[0])                  # additions to memory that several threads add to
        return dinput, dgrid, numbers[1:]

    def expected(self) -> tuple[torch.Tensor, torch.Tensor]:
        """PyTorch's, in float64."""
        leaves = [self.input.double().requires_grad_(), self.grid.double().requires_grad_()]
        out = F.grid_sample(*leaves, self.mode, self.padding, self.align)
        return torch.autograd.grad(out, leaves, self.grad.double())


def run(emulator: Path, cases: list[Case]) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
    environment = {**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=0"}
    ran = subprocess.run([emulator], input=b"".join(case.bytes() for case in cases), capture_output=True, env=environment)
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    numbers = torch.frombuffer(bytearray(ran.stdout), dtype=torch.float32)
    answers = []
    for case in cases:
        *found, numbers = case.answer(numbers)
        answers.append(tuple(found))
    assert len(numbers) == 0
    return answers


def some_grid(B: int, h: int, w: int, H: int, W: int, align: bool, reach: float) -> torch.Tensor:
    """(B, h, w, 2): a quarter pixel clear of whole and half pixels, where a gradient or the nearest pixel jumps."""
    size = torch.tensor([W, H], dtype=torch.float64)
    here = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1) * (size / torch.tensor([w, h]))
    place = (here.floor() + (torch.randn(B, h, w, 2) * reach).round()) + 0.2 + 0.1 * torch.rand(B, h, w, 2)
    return ((place * 2 / (size - 1).clamp(min=1) - 1) if align else ((place + 0.5) * 2 / size - 1)).float()


def compare(case: Case, found: tuple) -> None:
    for bit, mine, exact in zip((INPUT, GRID), found, case.expected(), strict=True):
        if not case.needs & bit:
            assert mine is None
            continue
        error = (mine.double() - exact).abs().max() / exact.abs().max().clamp(min=1)
        assert error < 2e-5 * (case.input.shape[-1] + 1), (case.mode, case.padding, case.align)     # a coordinate's rounding grows with W


def make(shape, dtype=torch.float32, *, mode="bilinear", padding="zeros", align=True, reach=1.0, **how) -> Case:
    B, C, H, W, h, w = shape
    return Case(torch.randn(B, C, h, w).to(dtype), torch.randn(B, C, H, W).to(dtype), some_grid(B, h, w, H, W, align, reach), mode, padding,
                align, **how)


SHAPES = {"planes": [(2, 3, 9, 11, 9, 11), (1, 1, 40, 70, 13, 45), (1, 2, 1, 1, 1, 7), (2, 1, 5, 6, 33, 1)],
          "pixels": [(2, 8, 5, 7, 6, 9), (1, 12, 9, 4, 1, 13), (1, 132, 3, 3, 2, 3), (2, 8, 1, 1, 5, 1)]}


@cpu
@pytest.mark.parametrize("order", SHAPES)
def test_every_mode_is_pytorchs(emulator, order):
    cases = [make(shape, mode=mode, padding=padding, align=align, reach=reach, pixels=order == "pixels", needs=needs, seed=i)
             for i, (mode, padding, align, (shape, reach, needs)) in enumerate(itertools.product(
                 MODES, PADDINGS, (True, False),
                 zip(SHAPES[order], (0.5, 20, 3, 1), (3, 3 | DETERMINISTIC, 3, 3 | DETERMINISTIC), strict=True)))]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_summed_in_float32(emulator, dtype):
    cases = [make((1, 16, 6, 7, 6, 7), dtype, pixels=True, needs=needs) for needs in (3, 3 | DETERMINISTIC)]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize("needs", [INPUT, GRID, INPUT | DETERMINISTIC], ids=["input", "grid", "input, deterministic"])
def test_only_what_is_asked_for_is_written(emulator, needs):
    cases = [make((1, 8, 5, 6, 5, 6), pixels=pixels, needs=needs) for pixels in (False, True)]
    for case, found in zip(cases, run(emulator, cases), strict=True):
        compare(case, found)


@cpu
@pytest.mark.parametrize("pixels", [False, True], ids=["planes", "pixels"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_numbers_that_are_not_finite_stay_inside(emulator, pixels, padding):
    wild = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3e9, -3e9, 0.1])
    grid = torch.stack(torch.meshgrid(wild, wild, indexing="xy"), -1)[None].contiguous()
    cases = [Case(torch.randn(1, 8, 8, 8), torch.randn(1, 8, 5, 6), grid, mode, padding, pixels=pixels, needs=3) for mode in MODES]
    for dinput, dgrid in run(emulator, cases):
        assert dinput.isfinite().all() and dgrid.isfinite().all()
        assert (dgrid[0, :7, :7] == 0).all() or padding == "reflection"


@cpu
@pytest.mark.parametrize("pixels", [False, True], ids=["planes", "pixels"])
@pytest.mark.parametrize("profile", ["zero", "smooth", "random", "point"])
def test_deterministic_sums_do_not_depend_on_the_order_of_threads(emulator, pixels, profile):
    B, C, H, W = 1, 8 if pixels else 2, 20, 64
    grid = some_grid(B, H, W, H, W, True, {"zero": 0, "smooth": 0.3, "random": 40, "point": 0}[profile])
    if profile == "point":
        grid = torch.full_like(grid, 0.123)
    grad, input = torch.randn(B, C, H, W) * 100, torch.randn(B, C, H, W)
    cases = [Case(grad, input, grid, "bilinear", "border", pixels=pixels, needs=3 | fixed, seed=seed)
             for fixed in (DETERMINISTIC, 0) for seed in range(3)]
    answers = run(emulator, cases)
    for dinput, dgrid in answers[1:3]:
        assert torch.equal(dinput, answers[0][0]) and torch.equal(dgrid, answers[0][1])
    for case, found in zip(cases, answers, strict=True):
        compare(case, found)
    if profile == "point":                              # the seeds do change the order: plain sums differ
        assert any(not torch.equal(dinput, answers[3][0]) for dinput, _ in answers[4:])


#                        planes: once to the tile, then what it holds; pixels: runs of four
@cpu
@pytest.mark.parametrize(("flow", "planes", "pixels"), [("whole", 1 + 1, 1), ("smooth", 2 * 33 / 32 + 33 * 9 / 256, 10 / 4),
                                                        ("point", 8 * 4 / 256 + 4 / 256, 4)])
def test_neighbours_are_merged_before_memory_is_added_to(emulator, flow, planes, pixels):
    """Additions a pixel and channel, none of them to a pixel outside; the common kernel's are four."""
    B, C, H, W, h, w = 1, 8, 33, 129, 16, 64            # sides whose whole pixels are exact numbers of a grid
    place = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1)[None] + 2.0
    place = {"whole": place, "smooth": place + 0.25, "point": torch.full_like(place, 5.25)}[flow]
    half = torch.tensor([W - 1, H - 1]) / 2
    grid = (place - half) / half
    cases = [Case(torch.randn(B, C, h, w), torch.randn(B, C, H, W), grid, pixels=order) for order in (False, True)]
    for case, found, most in zip(cases, run(emulator, cases), (planes, pixels), strict=True):
        compare(case, found)
        assert case.atomics / (C * h * w) <= most


@cpu
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e37, float("inf"), float("nan")])
def test_fixed_point_holds_gradients_of_any_size(emulator, size):
    case = make((1, 2, 6, 7, 6, 7), needs=INPUT | DETERMINISTIC)
    case.grad.clamp_(-1, 1).mul_(size)
    (dinput, _), = run(emulator, [case])
    if size != size or size == float("inf"):
        assert dinput.isnan().all()
    else:
        exact = case.expected()[0]
        assert (dinput.double() - exact).abs().max() <= 2e-5 * exact.abs().max()


@cpu
@pytest.mark.parametrize(("pixels", "C"), [(False, 8), (True, 8)], ids=["planes", "pixels"])
@pytest.mark.parametrize("profile", ["random", "smooth"])
def test_offsets_beyond_32_bits_are_those_of_a_small_input(emulator, pixels, C, profile):
    """8 x 8193 x 65537 elements: more than 2^32, nearly all of them zeros that take no memory."""
    H, W, h, w = 17, 17, 6, 40
    steps = torch.randint(0, 32, (1, h, w, 2)) if profile == "random" else torch.arange(w)[:, None].expand(1, h, w, 2) * 32 // w
    grad, input = torch.randn(1, C, h, w), torch.randn(1, C, H, W)

    def case(rows: int, columns: int) -> Case:          # half pixels from the south-eastern one: exact in float32, whatever the size
        half = torch.tensor([columns - 1, rows - 1]) / 2
        return Case(grad, input, 1 - steps * 0.5 / half, pixels=pixels, margin=(rows - H, columns - W))

    (dinput, dgrid), (far_dinput, far_dgrid) = run(emulator, [case(H, W), case(8193, 65537)])
    torch.testing.assert_close(far_dinput, dinput, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(far_dgrid / torch.tensor([65536, 8192]), dgrid / torch.tensor([W - 1, H - 1]))
    assert dinput.abs().max() > 1 and dgrid.abs().max() > 1


# -- what nvcc makes of them -------------------------------------------------------------------------------------------------

@nvcc
@pytest.mark.parametrize("architecture", cuda.ARCHITECTURES)
def test_no_kernel_spills_and_memory_is_touched_as_meant(architecture, tmp_path):
    made = tmp_path / "kernels.cubin"
    ran = subprocess.run([NVCC, "-std=c++17", "-O3", f"-arch=sm_{architecture}", "-cubin", "-o", str(made), str(SOURCE)],
                         capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    kernels = read(made.read_bytes(), architecture)
    registers = [code.registers for code in kernels.values()]
    print(f"sm_{architecture}: {len(kernels)} kernels, {min(registers)} to {max(registers)} registers")
    assert len(kernels) == 24 and max(registers) <= 128             # two blocks of 256 threads a multiprocessor
    for name, code in kernels.items():
        assert code.local == 0, f"{name}: spills"
        assert all(atomic.startswith("RED.") for atomic in code.atomics), f"{name}: waits for what an atomic returns"
        adds = {atomic for atomic in code.atomics if "ADD" in atomic}           # in float32 or fixed point, never in 16 bits
        four = "RED.ADD.F32x4" if architecture >= 90 else "RED.ADD.F32"
        if "add_pixels" in name:
            assert adds == ({four} if "FloatingELb1" in name else {"RED.ADD.64"} if "FixedELb1" in name else set()), name
            assert max(code.loads) == (16 if "add_pixelsIf" in name else 8), f"{name}: not four channels at a time"
        elif "add_planes" in name:
            assert adds == ({"RED.ADD.F32"} if "FloatingELb1" in name else {"RED.ADD.64"} if "FixedELb1" in name else set()), name
        else:
            assert not adds, name
            assert max(code.loads) == (8 if "finish" in name or "find_largestIf" not in name else 16), name
