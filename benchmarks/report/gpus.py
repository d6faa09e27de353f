"""The limits of graphics cards: what their makers write, and what is measured of the machine at
hand.

Figures are NVIDIA's, without overclocking and without sparsity. Tensor cores sum in float32, which
GeForce cards do at half the rate of float16, so that theirs are a quarter of the advertised sparse
figure and twice that of float32 (TF32: once).

`source` is NVIDIA's own document. Those could not be opened when the figures were checked; they
were compared with the pages in `read`, which repeat them. `unchecked` names what no page had:
products that the rates above give, the H200's TF32 as its twin's, the H100 SXM. The bandwidth of
the H100 PCIe is what its memory's clock (1593 MHz, twice, 5120 bits) gives; datasheets round it to
2000 GB/s.
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
class Card:
    """What a card can do at best.

    Attributes:
        name: as the tables have it.
        reported: how `torch.cuda.get_device_name` begins there.
        bandwidth: bytes a second, read and written together.
        fp32: float32 operations a second outside of tensor cores; a fused multiply-add is two.
        tensor: operations a second of products of 16-bit numbers, summed in float32.
        tf32: the same of TF32 numbers.
        source: where the figures stand; "measured" for the machine at hand.
        special: exponentials and the like, for each float32 operation: on all these cards a
            multiprocessor does 16 of the one and 256 of the other in a clock (CUDA Programming
            Guide, "Arithmetic Instructions").
        multiprocessors: each with 128 float32 units.
        clock: boost, hertz.
        l2: bytes of the L2 cache; None where it is not known.
        read: where figures were compared with what others repeat of the source.
        unchecked: figures that were found nowhere, by their names here.
    """

    name: str
    reported: str
    bandwidth: float
    fp32: float
    tensor: float
    tf32: float
    source: str
    special: float = 1 / 16
    multiprocessors: int | None = None
    clock: float | None = None
    l2: float | None = None
    read: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def _card(
    name: str,
    reported: str,
    figures: tuple[float, ...],
    source: str,
    read: tuple[str, ...],
    *unchecked: str,
) -> Card:
    gigabytes, fp32, tensor, tf32, multiprocessors, clock, l2 = figures
    return Card(
        name,
        reported,
        gigabytes * 1e9,
        fp32 * 1e12,
        tensor * 1e12,
        tf32 * 1e12,
        source,
        multiprocessors=int(multiprocessors),
        clock=clock * 1e9,
        l2=None if math.isnan(l2) else l2 * 2**20,
        read=read,
        unchecked=unchecked,
    )


CARDS = (  # GB/s; TFLOPS: float32, 16-bit products, TF32 products; multiprocessors, GHz, MiB of L2
    _card(
        "RTX 3080",
        "NVIDIA GeForce RTX 3080",
        (760.3, 29.8, 59.5, 29.8, 68, 1.71, 5),
        AMPERE,
        GA102_READ,
        "tf32",
    ),
    _card(
        "RTX 3090",
        "NVIDIA GeForce RTX 3090",
        (936.2, 35.6, 71.0, 35.6, 82, 1.695, 6),
        AMPERE,
        GA102_READ,
        "tf32",
    ),
    _card(
        "RTX 4070",
        "NVIDIA GeForce RTX 4070",
        (504.2, 29.1, 58.3, 29.1, 46, 2.475, 36),
        RTX_4070,
        ADA_READ,
        "tensor",
        "tf32",
    ),
    _card(
        "RTX 4080",
        "NVIDIA GeForce RTX 4080",
        (716.8, 48.7, 97.5, 48.7, 76, 2.505, 64),
        ADA,
        AD103_READ,
        "tf32",
    ),
    _card(
        "RTX 4090",
        "NVIDIA GeForce RTX 4090",
        (1008, 82.6, 165.2, 82.6, 128, 2.52, 72),
        ADA,
        AD102_READ,
    ),
    _card(
        "RTX 5080",
        "NVIDIA GeForce RTX 5080",
        (960, 56.3, 112.6, 56.3, 84, 2.617, 64),
        BLACKWELL,
        GB203_READ,
        "tf32",
    ),
    _card(
        "RTX 5090",
        "NVIDIA GeForce RTX 5090",
        (1792, 104.8, 209.5, 104.8, 170, 2.407, 96),
        BLACKWELL,
        GB202_READ,
        "tf32",
    ),
    _card("H100 PCIe", "NVIDIA H100 PCIe", (2039, 51.2, 756, 378, 114, 1.755, 50), H100, PCIE_READ),
    _card(
        "H100 SXM",
        "NVIDIA H100 80GB HBM3",
        (3350, 66.9, 989.4, 494.7, 132, 1.98, 50),
        H100,
        H100_READ,
    ),
    _card(
        "H200",
        "NVIDIA H200",
        (4800, 66.9, 989.4, 494.7, 132, 1.98, math.nan),
        H200,
        H200_READ,
        "tf32",
        "l2",
    ),
)


def named(name: str) -> Card | None:
    """The card that a machine reports, or that the tables call so; None where its figures are not
    written down here.

    "NVIDIA GeForce RTX 4070 Ti" is another card than "NVIDIA GeForce RTX 4070", and so is a
    laptop's.
    """
    return next((card for card in CARDS if name in (card.name, card.reported)), None)


def by_copy(device: str, bandwidth: float) -> Card:
    """A device of which nothing is known but how fast it copies: arithmetic is taken to cost
    nothing.
    """
    return Card(device, device, bandwidth, math.inf, math.inf, math.inf, "measured")


def at_hand(size: int = 1 << 30, side: int = 8192) -> Card:
    """What the GPU of this machine does, or else its CPU: a copy, and the products of square
    matrices.

    Args:
        size: bytes that are copied.
        side: of the matrices.
    """
    import torch

    from benchmarks.harness.measure import copy_bandwidth

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    fp32, tensor, tf32 = (_products(device, side, kind) for kind in ("fp32", "bf16", "tf32"))
    special = Card.special if device == "cuda" else 1.0
    return Card(
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
    """Operations a second of a product of matrices: the fastest of several."""
    import time

    import torch

    x = torch.ones(
        side, side, device=device, dtype=torch.bfloat16 if kind == "bf16" else torch.float32
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    try:
        taken = []
        for _ in range(rounds + 1):  # the first chooses the kernel
            start = time.perf_counter()
            x @ x
            if x.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * side**3 / min(taken[1:])
