"""Peak rates of GPUs: from datasheets, and measured on the machine at hand.

Figures are NVIDIA's, without overclocking and without sparsity. Tensor cores accumulate in float32,
which GeForce GPUs do at half the rate of float16, so their rate is a quarter of the advertised
sparse figure and twice that of float32 (TF32: equal to it).

`source` is NVIDIA's own document. These could not be opened when the figures were checked; they
were compared with the pages in `read`, which repeat them. `unchecked` names figures that no page
had: products that follow from the rates above, and the TF32 rate of the H200, taken from the
H100 SXM. The bandwidth of the H100 PCIe follows from its memory clock (1593 MHz, double data rate,
5120 bits); datasheets round it to 2000 GB/s.
"""

import math
from dataclasses import dataclass

AMPERE = (
    "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf"
)
ADA = "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
RTX_4070 = "https://www.nvidia.com/en-us/geforce/graphics-cards/40-series/rtx-4070-family/"
BLACKWELL = "https://images.nvidia.com/aem-dam/Solutions/geforce/blackwell/nvidia-rtx-blackwell-gpu-architecture.pdf"
H100 = (
    "https://nvdam.widen.net/s/95bdhpsgrs/nvidia_h100_tensor_core_gpu_architecture_whitepaper_v1.03"
)
H200 = "https://www.nvidia.com/en-us/data-center/h200/"

GA102_READ = (
    # clocks, memory
    "https://fudzilla.net/news/graphics/51457-nvidia-rtx-30-series-specifications-are-now-official",
    "https://gamingpcbuilder.com/rtx-3090-3080-and-3070-specs-details-unveiled",  # sparse products
    "https://gist-raw.zthxxx.me/getianao/33fb5306ba896193c7ae59ec64794283",
)  # L2 by controller
ADA_READ = (
    "https://www.club386.com/complete-geforce-rtx-4070-specifications-reveal-a-frugal-599-gpu/",
)
AD102_READ = (
    *ADA_READ,
    "https://hmc-tech.com/gpus/nvidia-geforce-rtx-4090-vs-nvidia-geforce-rtx-5050",
)  # products
AD103_READ = (
    *ADA_READ,
    "https://www.mobylak.com/nvidia-reveals-ada-lovelace-gpu-secrets-extreme-transistor-counts-at-high-clocks/",
)
GB203_READ = (
    "https://fpsbench.com/compare/gpu/nvidia-geforce-rtx-5080-vs-amd-radeon-540",
    "https://www.notebookcheck.net/Nvidia-GeForce-RTX-5080-Benchmarks-and-Specs.935679.0.html",
)  # sparse FP4 products
GB202_READ = (
    "https://pocketmags.com/linux-format-magazine/may-2025/articles/nvidia-geforce-rtx-5090",
)
H100_READ = (
    "https://archive-lib.hpctech.co.jp/gpuproduct/nvidia-h100.html",
    "https://glennklockwood.com/garden/processors/h100",
)
PCIE_READ = (H100_READ[0], "https://cputronic.com/de/gpu/nvidia-h100-pcie")  # clocks
H200_READ = (
    "https://www.morphllm.com/nvidia-h200",
    "https://hmc-tech.com/gpu/nvidia-h100-vs-nvidia-h200-sxm-vs-nvidia-gb200",
)


@dataclass(frozen=True)
class Gpu:
    """Peak rates of a GPU.

    Attributes:
        name: in the tables.
        reported: what `torch.cuda.get_device_name` returns.
        bandwidth: bytes per second, read and written together.
        fp32: float32 operations per second outside tensor cores; a fused multiply-add is two.
        tensor: operations per second of 16-bit products, accumulated in float32.
        tf32: the same for TF32 products.
        source: of the figures; "measured" for the machine at hand.
        special: exponentials and the like per float32 operation: on all these GPUs 16 and 256 per
            clock and multiprocessor (CUDA Programming Guide, "Arithmetic Instructions").
        architecture: compute capability, 89 for 8.9; None if unknown.
        multiprocessors: each with 128 float32 units.
        clock: boost, hertz.
        l2: bytes of the L2 cache; None if unknown.
        read: pages that the figures were compared with.
        unchecked: names of figures that no page had.
    """

    name: str
    reported: str
    bandwidth: float
    fp32: float
    tensor: float
    tf32: float
    source: str
    special: float = 1 / 16
    architecture: int | None = None
    multiprocessors: int | None = None
    clock: float | None = None
    l2: float | None = None
    read: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def _gpu(
    name: str,
    reported: str,
    architecture: int,
    figures: tuple[float, ...],
    source: str,
    read: tuple[str, ...],
    *unchecked: str,
) -> Gpu:
    gigabytes, fp32, tensor, tf32, multiprocessors, clock, l2 = figures
    return Gpu(
        name,
        reported,
        gigabytes * 1e9,
        fp32 * 1e12,
        tensor * 1e12,
        tf32 * 1e12,
        source,
        architecture=architecture,
        multiprocessors=int(multiprocessors),
        clock=clock * 1e9,
        l2=None if math.isnan(l2) else l2 * 2**20,
        read=read,
        unchecked=unchecked,
    )


# Only for the model of a frame's cost; figures as below.
RTX_3060 = _gpu(
    "RTX 3060 12 GB",
    "NVIDIA GeForce RTX 3060",
    86,
    (360.0, 12.7, 25.5, 12.7, 28, 1.777, 3),
    AMPERE,
    (),
    "bandwidth",
    "fp32",
    "tensor",
    "tf32",
    "multiprocessors",
    "clock",
    "l2",
)

GPUS = (  # GB/s; TFLOPS: float32, 16-bit products, TF32 products; multiprocessors, GHz, MiB of L2
    _gpu(
        "RTX 3080",
        "NVIDIA GeForce RTX 3080",
        86,
        (760.3, 29.8, 59.5, 29.8, 68, 1.71, 5),
        AMPERE,
        GA102_READ,
        "tf32",
    ),
    _gpu(
        "RTX 3090",
        "NVIDIA GeForce RTX 3090",
        86,
        (936.2, 35.6, 71.0, 35.6, 82, 1.695, 6),
        AMPERE,
        GA102_READ,
        "tf32",
    ),
    _gpu(
        "RTX 4070",
        "NVIDIA GeForce RTX 4070",
        89,
        (504.2, 29.1, 58.3, 29.1, 46, 2.475, 36),
        RTX_4070,
        ADA_READ,
        "tensor",
        "tf32",
    ),
    _gpu(
        "RTX 4080",
        "NVIDIA GeForce RTX 4080",
        89,
        (716.8, 48.7, 97.5, 48.7, 76, 2.505, 64),
        ADA,
        AD103_READ,
        "tf32",
    ),
    _gpu(
        "RTX 4090",
        "NVIDIA GeForce RTX 4090",
        89,
        (1008, 82.6, 165.2, 82.6, 128, 2.52, 72),
        ADA,
        AD102_READ,
    ),
    _gpu(
        "RTX 5080",
        "NVIDIA GeForce RTX 5080",
        120,
        (960, 56.3, 112.6, 56.3, 84, 2.617, 64),
        BLACKWELL,
        GB203_READ,
        "tf32",
    ),
    _gpu(
        "RTX 5090",
        "NVIDIA GeForce RTX 5090",
        120,
        (1792, 104.8, 209.5, 104.8, 170, 2.407, 96),
        BLACKWELL,
        GB202_READ,
        "tf32",
    ),
    _gpu(
        "H100 PCIe", "NVIDIA H100 PCIe", 90, (2039, 51.2, 756, 378, 114, 1.755, 50), H100, PCIE_READ
    ),
    _gpu(
        "H100 SXM",
        "NVIDIA H100 80GB HBM3",
        90,
        (3350, 66.9, 989.4, 494.7, 132, 1.98, 50),
        H100,
        H100_READ,
    ),
    _gpu(
        "H200",
        "NVIDIA H200",
        90,
        (4800, 66.9, 989.4, 494.7, 132, 1.98, math.nan),
        H200,
        H200_READ,
        "tf32",
        "l2",
    ),
)


def find_gpu(name: str) -> Gpu | None:
    """The GPU with this name or reported name; None if its datasheet is not in `GPUS`.

    "NVIDIA GeForce RTX 4070 Ti" is not "NVIDIA GeForce RTX 4070", nor is a laptop GPU.
    """
    return next((gpu for gpu in GPUS if name in (gpu.name, gpu.reported)), None)


def by_copy(device: str, bandwidth: float) -> Gpu:
    """A device known by its copy bandwidth only; its arithmetic is taken to cost nothing."""
    return Gpu(device, device, bandwidth, math.inf, math.inf, math.inf, "measured")


def at_hand(size: int = 1 << 30, side: int = 8192) -> Gpu:
    """Measured rates of this machine's GPU, or of its CPU: copies, and products of matrices.

    Args:
        size: bytes to copy.
        side: of the square matrices.
    """
    import torch

    from benchmarks.harness.measure import copy_bandwidth

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    fp32, tensor, tf32 = (_products(device, side, kind) for kind in ("fp32", "bf16", "tf32"))
    special = Gpu.special if device == "cuda" else 1.0
    return Gpu(
        f"{name} (measured)",
        name,
        copy_bandwidth(device, size),
        fp32,
        max(tensor, fp32),
        max(tf32, fp32),
        "measured",
        special,
    )


def _products(device: str, side: int, kind: str, rounds: int = 5) -> float:
    """Operations per second of a matrix product: the fastest of several."""
    import time

    import torch

    x = torch.ones(
        side, side, device=device, dtype=torch.bfloat16 if kind == "bf16" else torch.float32
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    try:
        taken = []
        for _ in range(rounds + 1):  # the first selects the kernel
            start = time.perf_counter()
            x @ x
            if x.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * side**3 / min(taken[1:])
