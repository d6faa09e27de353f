"""Calls of the CUDA kernels of grid_sample, in the format of emulated_grid_sample.cpp."""

import os
import struct
import subprocess
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[2]
# With g++ for the CPU, with nvcc for a GPU.
PROGRAM = ROOT / "tests" / "support" / "emulated_grid_sample.cpp"
MODES = {"bilinear": 0, "nearest": 1}
PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}
ELEMENTS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
INPUT, GRID, DETERMINISTIC = 1, 2, 4


class Case:
    """A call of the kernels.

    Attributes:
        grad, input: (B, C, h, w) and (B, C, H, W), one dtype.
        grid: (B, h, w, 2), float32.
        nhwc: whether channels are contiguous in memory (NHWC).
        needs: sum of INPUT, GRID, DETERMINISTIC.
        seed: of the order in which the emulation runs threads.
        margin: rows and columns by which the image that the grid refers to is larger than the
            input, its south-east corner.
        additions, shared_additions, sectors: set by `answer`: atomic additions to global and to
            shared memory, and 32-byte sectors that the former touched; 0 from a GPU.
    """

    def __init__(
        self,
        grad,
        input,
        grid,
        mode="bilinear",
        padding="zeros",
        align=True,
        *,
        nhwc=False,
        needs=INPUT | GRID,
        seed=0,
        margin=(0, 0),
    ):
        self.grad, self.input, self.grid = grad, input, grid
        self.mode, self.padding, self.align = mode, padding, align
        self.nhwc, self.needs, self.seed, self.margin = nhwc, needs, seed, margin

    def bytes(self) -> bytes:
        """The case as the program reads it."""
        B, C, H, W = self.input.shape
        h, w = self.grid.shape[1:3]
        head = struct.pack(
            "15q",
            B,
            C,
            H,
            W,
            h,
            w,
            MODES[self.mode],
            PADDINGS[self.padding],
            self.align,
            ELEMENTS[self.input.dtype],
            self.nhwc,
            self.needs,
            self.seed,
            *self.margin,
        )
        order = (0, 2, 3, 1) if self.nhwc else (0, 1, 2, 3)
        arrays = (self.grad.permute(order), self.input.permute(order), self.grid)
        return head + b"".join(bytes(x.contiguous().view(torch.uint8).numpy()) for x in arrays)

    def answer(self, output: memoryview) -> tuple:
        """dinput, dgrid (None if not needed) from the front of the output, and the rest of it."""
        B, C, H, W = self.input.shape
        dinput = dgrid = None

        def take(n: int, dtype: torch.dtype) -> torch.Tensor:
            nonlocal output
            size = n * dtype.itemsize
            numbers, output = torch.frombuffer(bytearray(output[:size]), dtype=dtype), output[size:]
            return numbers

        if self.needs & INPUT:
            fixed = self.needs & DETERMINISTIC  # in the dtype of the input, else float32 sums
            flat = take(self.input.numel(), self.input.dtype if fixed else torch.float32)
            dinput = flat.view(B, C, H, W)
            if self.nhwc:
                dinput = flat.view(B, H, W, C).permute(0, 3, 1, 2)
        if self.needs & GRID:
            dgrid = take(self.grid.numel(), torch.float32).view(self.grid.shape)
        counts = take(3, torch.float32).tolist()
        self.additions, self.shared_additions, self.sectors = map(int, counts)
        return dinput, dgrid, output

    def expected(self) -> tuple[torch.Tensor, torch.Tensor]:
        """PyTorch's gradients in float64."""
        leaves = [self.input.double().requires_grad_(), self.grid.double().requires_grad_()]
        out = F.grid_sample(*leaves, self.mode, self.padding, self.align)
        return torch.autograd.grad(out, leaves, self.grad.double())

    def error(self, found: tuple) -> float:
        """The larger error of dinput and dgrid over its tolerance; 1 or more is wrong."""
        worst = 0.0
        rounding = 2e-5 * (self.input.shape[-1] + 1)  # of a coordinate, grows with W
        for bit, mine, exact in zip((INPUT, GRID), found, self.expected(), strict=True):
            if not self.needs & bit:
                assert mine is None
                continue
            allowed = rounding + (torch.finfo(mine.dtype).eps if mine.dtype.itemsize == 2 else 0)
            error = (mine.double() - exact).abs().max() / exact.abs().max().clamp(min=1)
            worst = max(worst, float(error) / allowed if error == error else float("inf"))
        return worst


def run(command: list, cases: list[Case], timeout: float | None = None) -> list[tuple]:
    """Run the program: dinput and dgrid of each case.

    Raises:
        RuntimeError: it fails, or takes more than `timeout` seconds.
    """
    environment = {**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=0"}
    read = b"".join(case.bytes() for case in cases)
    try:
        ran = subprocess.run(
            command, input=read, capture_output=True, env=environment, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"stopped after {timeout:.0f} s") from error
    if ran.returncode:
        raise RuntimeError(f"exit code {ran.returncode}: {ran.stderr.decode()[-3000:]}")
    output, answers = memoryview(ran.stdout), []
    for case in cases:
        *found, output = case.answer(output)
        answers.append(tuple(found))
    if len(output):
        raise RuntimeError(f"{len(output)} bytes more than expected")
    return answers


def some_grid(B: int, h: int, w: int, H: int, W: int, align: bool, reach: float) -> torch.Tensor:
    """A grid (B, h, w, 2) that avoids whole and half pixels, where results are discontinuous."""
    size = torch.tensor([W, H], dtype=torch.float64)
    here = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1)
    here = here * (size / torch.tensor([w, h]))
    place = here.floor() + (torch.randn(B, h, w, 2) * reach).round()
    place = place + 0.2 + 0.1 * torch.rand(B, h, w, 2)
    if align:
        return (place * 2 / (size - 1).clamp(min=1) - 1).float()
    return ((place + 0.5) * 2 / size - 1).float()


def make(
    shape, dtype=torch.float32, *, mode="bilinear", padding="zeros", align=True, reach=1.0, **how
) -> Case:
    """A case of random numbers; `shape` is (B, C, H, W, h, w)."""
    B, C, H, W, h, w = shape
    grid = some_grid(B, h, w, H, W, align, reach)
    grad, input = (torch.randn(B, C, *size).to(dtype) for size in ((h, w), (H, W)))
    return Case(grad, input, grid, mode, padding, align, **how)
