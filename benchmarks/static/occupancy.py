"""How many warps of a kernel one multiprocessor of a GPU holds at a time, of those that it could
hold.

Limits: CUDA Programming Guide, "Compute Capabilities", table "Technical Specifications per Compute
Capability" (https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/compute-capabilities.html). How registers and shared memory are handed
out: NVIDIA's own calculator, `cuda_occupancy.h`, which comes with the CUDA toolkit and with Triton;
the tests compare with it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Multiprocessor:
    """What one multiprocessor has.

    Attributes:
        blocks: of threads, at a time.
        warps: of 32 threads, at a time.
        shared: bytes of shared memory.
        reserved: bytes of it that the system takes from each block.
        unit: bytes in which it is handed out.
    """

    blocks: int
    warps: int
    shared: int
    reserved: int = 1024
    unit: int = 128


KB = 1024
LIMITS = {
    75: Multiprocessor(16, 32, 64 * KB, reserved=0, unit=256),
    80: Multiprocessor(32, 64, 164 * KB),
    86: Multiprocessor(16, 48, 100 * KB),
    89: Multiprocessor(24, 48, 100 * KB),
    90: Multiprocessor(32, 64, 228 * KB),
    100: Multiprocessor(32, 64, 228 * KB),
    120: Multiprocessor(24, 48, 100 * KB),
}
PARTITIONS = 4  # of a multiprocessor; a warp lives in one of them
REGISTERS = 64 * KB // PARTITIONS  # of a partition, of 32 bits
REGISTER_UNIT = 256  # in which a warp gets its registers


@dataclass(frozen=True)
class Occupancy:
    """What a multiprocessor holds.

    Attributes:
        blocks: at a time; 0 where one does not fit.
        share: of the warps that it could hold, 0 to 1.
        limit: what would have to shrink for more: "registers", "shared memory", or "none" at what
            the hardware can hold.
    """

    blocks: int
    share: float
    limit: str


def occupancy(architecture: int, registers: int, shared: int, warps: int) -> Occupancy:
    """Of a kernel.

    Args:
        architecture: compute capability, 89 for 8.9; one of `LIMITS`.
        registers: of 32 bits, a thread; 0 to 255.
        shared: bytes of shared memory, a block.
        warps: a block, 1 to 32.

    Raises:
        ValueError: an architecture without limits here, or figures that no kernel has.
    """
    if architecture not in LIMITS:
        raise ValueError(
            f"no limits are written down for sm_{architecture}; there are some for {', '.join(f'sm_{a}' for a in LIMITS)}"
        )
    if not (0 <= registers <= 255 and 1 <= warps <= 32 and shared >= 0):
        raise ValueError(
            f"no kernel has {registers} registers a thread, {shared} bytes of shared memory and {warps} warps a block"
        )
    has = LIMITS[architecture]
    hardware = min(has.blocks, has.warps // warps)
    a_warp = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = hardware if a_warp == 0 else REGISTERS // a_warp * PARTITIONS // warps
    a_block = -(-(shared + has.reserved) // has.unit) * has.unit
    by_shared = hardware if a_block == 0 else has.shared // a_block
    blocks = min(hardware, by_registers, by_shared)
    limit = (
        "none" if blocks == hardware else "registers" if blocks == by_registers else "shared memory"
    )
    return Occupancy(blocks, blocks * warps / has.warps, limit)
